"""Names on the command line, and names of models, of which folders, files and tables are made."""

from __future__ import annotations

from bench.errors import RequestError

MOST_SIGNS = 60
SEPARATORS = frozenset("/\\,*")
"""Of paths, of lists on the command line, and what stands for every model there."""


def names_in(option: str, text: str) -> tuple[str, ...]:
    """Return the names that an option was given by commas.

    Raises
    ------
    RequestError
        If it names nothing.
    """
    if not (names := tuple(filter(None, (name.strip() for name in text.split(","))))):
        raise RequestError(f"--{option} {text!r} names nothing: leave the option out for the default")
    return names


def require_name(name: object, *, of: str) -> str:
    """Return the name of a model, if files, tables and commands can hold it.

    Parameters
    ----------
    name
        Name from the model or its configuration.
    of
        Owner of the name, for the error message.

    Raises
    ------
    RequestError
        If it is empty, too long, begins with ``.`` or ``-``, or holds what no name may hold.
    """
    if not isinstance(name, str) or not name.strip():
        raise RequestError(f"{of} has the name {name!r}: give it one of 1 to {MOST_SIGNS} characters")
    shown = repr(name if len(name) <= MOST_SIGNS else f"{name[:MOST_SIGNS]}…")
    if len(name) > MOST_SIGNS:
        raise RequestError(
            f"{of} has a name of {len(name)} characters, {shown}: at most {MOST_SIGNS} are taken"
        )
    if not name.isprintable() or SEPARATORS.intersection(name) or name != name.strip() or name[0] in ".-":
        raise RequestError(
            f"{of} has the name {shown}: leave out / \\ , * and unprintable characters, and begin and end "
            "with another than . - or a blank"
        )
    return name
