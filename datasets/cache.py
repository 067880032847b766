"""The cache folder: atomic files, locks, checksums, and a full disk told as such."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from uuid import uuid4

from datasets.errors import DatasetError

MOST_SIGNS = 60
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cache_folder() -> Path:
    """Return where downloads and prepared data sets are kept: ``$BENCH_CACHE``, or the user's cache folder.

    The folder is not created here.
    """
    if folder := os.environ.get("BENCH_CACHE"):
        return Path(folder).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("scgenbench"))


def prepared_path(name: str, key: str, folder: Path) -> Path:
    """Return where the prepared data set `name` with content key `key` lies in the cache folder."""
    return folder / "prepared" / f"{file_name(name)}-{key}.h5ad"


def printable(name: str) -> str:
    """Return a file's name as that of a data set: control characters, which tables cannot hold, as ``_``."""
    return "".join(sign if sign.isprintable() else "_" for sign in name) or "data"


def file_name(name: str) -> str:
    """Return a data set's name as part of the name of a file or a folder: short, without unusual signs."""
    return re.sub("[^A-Za-z0-9._-]+", "_", name).strip(".")[:MOST_SIGNS] or "data"


def prepared_copies(name: str, folder: Path) -> list[Path]:
    """Return all prepared copies of a data set, whatever their key."""
    return sorted(folder.glob(f"prepared/{prepared_path(name, '*', folder).name}"))


def sha256_of(*paths: Path) -> str:
    """Return the SHA-256 of a file as hex, or of the checksums of several."""
    if len(paths) > 1:
        return hashlib.sha256("".join(sha256_of(path) for path in paths).encode()).hexdigest()
    with paths[0].open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target` that takes its place only if the block succeeds.

    Raises
    ------
    DatasetError
        If the disk is full. Nothing is left behind, whatever went wrong.
    """
    _make_folder(target.parent)
    temporary = target.with_name(f".{target.name}.writing-{uuid4().hex}{target.suffix}")
    try:
        with full_disk_told(target.parent):
            yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Let one process at a time work on `target`; the others wait. The lock file goes with the work.

    What a killed process left half written of `target`, or of its record, is removed.
    """
    from filelock import FileLock

    _make_folder(target.parent)
    lock_file = target.with_name(f".{target.name}.lock")
    with FileLock(lock_file):
        try:
            for leftover in target.parent.glob(f".{escape(target.name)}.*writing-*"):
                leftover.unlink()
            yield
        finally:
            # filelock sees that the file it waited for is gone, and takes a fresh one.
            with suppress(OSError):
                lock_file.unlink()


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Turn the operating system's (or HDF5's) words for a full disk into a `DatasetError`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if is_disk_full(error):
            raise DatasetError(
                f"the disk of the cache folder {folder} is full: free some space, "
                f"or set BENCH_CACHE to a folder on a larger disk"
            ) from error
        raise


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error, or what it came from, is a full disk or a quota that is used up.

    HDF5 wraps the errno of a failed write into the text of its own exception.
    """
    cause: BaseException | None = error
    while cause is not None:
        told = str(cause) if isinstance(cause, (OSError, RuntimeError)) else ""
        if getattr(cause, "errno", None) in _DISK_FULL or any(os.strerror(n) in told for n in _DISK_FULL):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def require_space(folder: Path, n_bytes: int) -> None:
    """Raise a `DatasetError` if `n_bytes` more do not fit where `folder` (which exists) lies."""
    with full_disk_told(folder):
        try_space(folder, n_bytes)


def try_space(folder: Path, n_bytes: int) -> None:
    """Raise an `OSError` if `n_bytes` more do not fit where `folder` (which exists) lies.

    The space is really taken for a moment, because quotas of shared file systems show only then.
    """
    if n_bytes <= 0:
        return
    if not hasattr(os, "posix_fallocate"):
        if shutil.disk_usage(folder).free < n_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return
    with tempfile.TemporaryFile(dir=folder) as probe:
        os.posix_fallocate(probe.fileno(), 0, n_bytes)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"the cache folder {folder} cannot be made ({error}): set BENCH_CACHE to another"
        ) from error
    if not os.access(folder, os.W_OK):
        raise DatasetError(f"the cache folder {folder} cannot be written to: set BENCH_CACHE to another")
