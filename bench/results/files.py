"""Files of a run, read and written: whole or not at all, and damaged ones named."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar
from uuid import uuid4

from pydantic import ValidationError

from bench.errors import RequestError
from reports.facts import Facts

Kind = TypeVar("Kind", bound=Facts)
SIGNS_OF_A_NAME = 50
"""Of a file, kept in the name of what is to become it."""
DIGEST: Final = "digest"
"""The member that holds the digest of all others."""
Seal: TypeAlias = Literal["whole", "broken", "none"]


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file is either the old one or the new one, whole."""
    text = json.dumps(content, indent=1, default=plain)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write a text so that the file is either the old one or the new one, whole."""
    # Not tempfile's: its files are readable by their owner alone, and runs are shared with colleagues.
    temporary = path.with_name(f".{path.name[:SIGNS_OF_A_NAME]}.{uuid4().hex}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        # A write that fails does not tell by itself of which file.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


class DamagedFile(RequestError):
    """A file of a run folder is no JSON, or not what it should be; the message names it and the remedy."""


def damaged(
    path: Path, why: object, remedy: str = "restore it from a copy, or start a new run"
) -> DamagedFile:
    """Return the error of a damaged file: which, why, and what to do."""
    return DamagedFile(f"{path} is damaged ({why}): {remedy}")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    DamagedFile
        If it is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


def read_object(path: Path, *names: str) -> dict[str, Any]:
    """Read a JSON object that has these members.

    Raises
    ------
    DamagedFile
        If the file holds anything else.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content.keys() >= set(names):
        raise damaged(path, f"{' and '.join(names) or 'an object'} expected")
    return content


def readable(path: Path, *names: str) -> dict[str, Any] | None:
    """Read a JSON object that can be made again: None if it is missing or damaged."""
    try:
        return read_object(path, *names)
    except (FileNotFoundError, DamagedFile):
        return None


def readable_as(kind: type[Kind], path: Path, *names: str, **known: Any) -> Kind | None:
    """Read facts that can be made again: None if the file is missing, damaged, or no such facts."""
    content = readable(path, *names)
    try:
        return None if content is None else kind.model_validate(known | content)
    except ValidationError:
        return None


@contextlib.contextmanager
def named_if_damaged(path: Path, remedy: str) -> Iterator[None]:
    """Have whatever reading a file of cells raises name the file, and what to do.

    Raises
    ------
    DamagedFile
        If it is missing, cut off, or no file of cells.
    """
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, FileNotFoundError):
            raise DamagedFile(f"{path} is missing: {remedy}") from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise damaged(path, reason, remedy) from error


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `path` when the block ends well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        # Libraries that write into a temporary file first leave it readable by its owner alone.
        readable = temporary.stat().st_mode & 0o666
        for file in filter(Path.is_file, temporary.rglob("*")):
            # A hard link is somebody's file already.
            if file.stat().st_nlink == 1:
                file.chmod(file.stat().st_mode | readable)
        # Renamed aside first: killed at any moment, what stands at `path` is whole or missing.
        former = temporary.with_name(f"{temporary.name}.former")
        if path.exists():
            path.rename(former)
        temporary.rename(path)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, as a hard link where the file system allows, else as a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a digest of all else in it, by which a later change is seen."""
    write_json(path, sealed(content))


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with a digest of all else in it."""
    kept: dict[str, Any] = json.loads(json.dumps(content, default=plain))
    return kept | {DIGEST: digest_of(kept)}


def seal_of(path: Path) -> Seal:
    """Tell whether an object is as it was written; who means to deceive can write another digest.

    Returns
    -------
    str
        ``whole``, ``broken`` (no JSON object, too), or ``none`` where an earlier version wrote no digest.
    """
    content = readable(path)
    if content is None:
        return "broken"
    if DIGEST not in content:
        return "none"
    return "whole" if content[DIGEST] == digest_of(content) else "broken"


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the digest of a JSON object, without that which it holds."""
    kept = {name: value for name, value in content.items() if name != DIGEST}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Turn facts, NumPy scalars and paths into what JSON knows."""
    if isinstance(value, Facts):
        return value.plain()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
