"""The cache folder: atomic files, locks, checksums, and a full disk told as such."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datasets.errors import DatasetError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cache_folder() -> Path:
    """Return where downloads and prepared data sets are kept: ``$BENCH_CACHE``, or the user's cache folder.

    The folder is not created here.
    """
    if folder := os.environ.get("BENCH_CACHE"):
        return Path(folder).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("scgenbench"))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of the files in a folder, as hex."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file_path in sorted(p for p in path.iterdir() if p.is_file()):
        digest.update(f"{file_path.name}:{sha256_of(file_path)}\n".encode())
    return digest.hexdigest()


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target` that takes its place only if the block succeeds.

    Raises
    ------
    DatasetError
        If the disk is full. Nothing is left behind, whatever went wrong.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".writing-", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with full_disk_told(target.parent):
            yield temporary
        # mkstemp is private to the user; a cache on a shared file system should obey the umask instead.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Let one process at a time work on `target`; the others wait. The lock file goes when the work is done."""
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    lock_file = target.with_name(f".{target.name}.lock")
    with FileLock(lock_file):
        try:
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
        # HDF5 wraps the errno of a failed write into the text of its own exception.
        code = getattr(error, "errno", None)
        if code in _DISK_FULL or any(os.strerror(known) in str(error) for known in _DISK_FULL):
            raise _disk_full(folder) from error
        raise


def require_space(folder: Path, n_bytes: int) -> None:
    """Raise a `DatasetError` if fewer than `n_bytes` are free where `folder` (which exists) lies."""
    if shutil.disk_usage(folder).free < n_bytes:
        raise _disk_full(folder, n_bytes)


def _disk_full(folder: Path, n_bytes: int | None = None) -> DatasetError:
    needed = "" if n_bytes is None else f" ({n_bytes / 1e6:,.0f} MB needed)"
    return DatasetError(
        f"the disk of the cache folder {folder} is full{needed}: free some space, or set BENCH_CACHE to a larger disk"
    )
