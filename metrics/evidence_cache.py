"""What was computed of real cells, kept on disk for the next Job and the next scoring."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from scipy.sparse import csr_array

from metrics.spaces import Csr

Arrays = dict[str, "NDArray[Any]"]


class EvidenceCache:
    """Named arrays in a folder; everything is computed anew where there is none.

    Parameters
    ----------
    folder
        Folder for one version of the code that computes; None to keep nothing.
    key
        Hash of the cells and choices that the arrays depend on, as `fingerprint` gives it.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder = None if folder is None else folder / key

    def arrays(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """Return what is stored under `name`, or compute and store it: one process, while others wait for it.

        A file that cannot be read is replaced; a folder that cannot be written to costs only the time.
        """
        if self.folder is None:
            return _plain(compute())
        path = self.folder / f"{name}.npz"
        arrays = _stored(path)
        if arrays is None:
            with _alone(path):
                arrays = _stored(path)
                if arrays is None:
                    arrays = _plain(compute())
                    _store(path, arrays)
        return arrays


def remove_least_recently_used(folder: Path, *, most_bytes: int) -> None:
    """Delete files, those that were last used the longest ago first, until the rest takes `most_bytes`.

    Whoever wants what is deleted computes it again; folders that are left empty go, too.

    Parameters
    ----------
    folder
        Folder of all `EvidenceCache` objects, of whatever version of the code; it need not exist.
    most_bytes
        Total size of the files that may stay.
    """
    facts = []
    for path in folder.rglob("*.npz"):
        with suppress(FileNotFoundError):
            facts.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    left = sum(size for _, size, _ in facts)
    for _, size, path in sorted(facts):
        if left <= most_bytes:
            break
        left -= size
        # Somebody else's file, or a folder that another process has just written to.
        with suppress(OSError):
            path.unlink(missing_ok=True)
            for parent in path.parents[: len(path.relative_to(folder).parents) - 1]:
                parent.rmdir()


def fingerprint(*parts: Csr | NDArray[Any] | str | int | None) -> str:
    """Hash cells, labels and choices.

    Parameters
    ----------
    *parts
        CSR matrices, arrays of plain values, words, numbers.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for piece in (part.indptr, part.indices, part.data) if isinstance(part, csr_array) else (part,):
            if isinstance(piece, np.ndarray):
                digest.update(f"{piece.dtype}{piece.shape}".encode())
                digest.update(np.ascontiguousarray(piece).view(np.uint8).data)
            else:
                digest.update(repr(piece).encode())
    return digest.hexdigest()


def _plain(arrays: Arrays) -> Arrays:
    """Lay arrays out as they will come back from disk: sums over another order differ in the last bits."""
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _stored(path: Path) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {part: stored[part] for part in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    with suppress(OSError):
        os.utime(path)
    return arrays


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from computing the same; where nothing can be locked, each does."""
    # A lock of another kind would outlive whoever is killed, and keep the others waiting for ever.
    lock = FileLock(path.with_suffix(".lock"), fallback_to_soft=False)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        if lock.is_locked:
            # One that still waits for this file is let in, and then finds what was stored.
            with suppress(OSError):
                path.with_suffix(".lock").unlink(missing_ok=True)
            lock.release()


def _store(path: Path, arrays: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}.npz")
    # A full disk or a folder of somebody else's: the arrays are there all the same.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            np.savez(temporary, **arrays)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
