"""What may go wrong with a request, and the exit codes that tell it to a shell."""

DONE = 0
SOME_FAILED = 1
WRONG_REQUEST = 2
INTERRUPTED = 130


class RequestError(Exception):
    """The request cannot be carried out; the message is one line: the thing, the value, the remedy."""
