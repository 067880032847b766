"""What may go wrong with a request, and the exit codes that tell it to a shell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

DONE = 0
SOME_FAILED = 1
WRONG_REQUEST = 2
INTERRUPTED = 130


def named(name: str, error: Exception) -> str:
    """Return an error's message, beginning with the name of what it is about."""
    return str(error) if str(error).startswith(f"{name}:") else f"{name}: {error}"


class RequestError(Exception):
    """The request cannot be carried out; the message is one line: the thing, the value, the remedy."""


@contextmanager
def refused(kind: type[Exception], about: str = "") -> Iterator[None]:
    """Raise what the block raises of a kind as a `RequestError`: `about`, and then what it says."""
    try:
        yield
    except kind as error:
        raise RequestError(f"{about}{getattr(error, 'strerror', None) or error}") from error
