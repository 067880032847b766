"""What may go wrong with a request, and the exit codes that tell it to a shell."""

DONE = 0
SOME_FAILED = 1
WRONG_REQUEST = 2
INTERRUPTED = 130


def named(name: str, error: Exception) -> str:
    """Return an error's message, beginning with the name of what it is about."""
    return str(error) if str(error).startswith(f"{name}:") else f"{name}: {error}"


class RequestError(Exception):
    """The request cannot be carried out; the message is one line: the thing, the value, the remedy."""
