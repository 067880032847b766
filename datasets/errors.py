"""The one error that users of this package meet."""

from __future__ import annotations


class DatasetError(ValueError):
    """A data set cannot be used; the message is one line naming the thing, the value and the remedy."""
