"""Files to AnnData: .h5ad, 10x .h5 (both layouts), 10x mtx folders, archives of such a folder.

What a file is, is told from its content, never from its name, and nothing is ever unpickled.
"""

from __future__ import annotations

import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datasets.cache import full_disk_told
from datasets.errors import DatasetError

if TYPE_CHECKING:
    from anndata import AnnData

Kind = Literal["h5ad", "10x h5", "10x mtx folder", "archive of a 10x mtx folder"]

_MTX_FILES = {"matrix.mtx", "genes.tsv", "features.tsv", "barcodes.tsv"}
_TENX_PARTS = {"barcodes", "data", "indices", "indptr", "shape"}
_REMEDY = "give an .h5ad, a 10x .h5 or a 10x mtx folder"


def kind_of(path: Path) -> Kind:
    """Tell from its content what a file or folder is.

    Raises
    ------
    DatasetError
        If it does not exist, is truncated, or is none of the formats.
    """
    import h5py

    if not path.exists():
        raise DatasetError(f"{path} does not exist: {_REMEDY}")
    with _damage_told(path):
        if path.is_dir():
            if any(_plain_name(file.name) == "matrix.mtx" for file in path.iterdir()):
                return "10x mtx folder"
        elif h5py.is_hdf5(path):
            with h5py.File(path) as file:
                if {"obs", "var"} <= set(file):
                    return "h5ad"
                groups = [group for group in file.values() if isinstance(group, h5py.Group)]
                if any(set(group) >= _TENX_PARTS for group in groups):
                    return "10x h5"
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                if any(_plain_name(name) == "matrix.mtx" for name in archive.getnames()):
                    return "archive of a 10x mtx folder"
    raise DatasetError(f"{path} is none of the formats that can be read: {_REMEDY}")


def read_cells(path: Path) -> AnnData:
    """Read cells in any of the formats, as they are: nothing is filtered or renamed.

    Raises
    ------
    DatasetError
        If the file is missing, truncated or foreign.
    """
    kind = kind_of(path)
    with warnings.catch_warnings():
        # Duplicate names are made unique, and noted, where the cells are preprocessed.
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        for category in (FutureWarning, PendingDeprecationWarning):
            # What anndata says of files in its older formats, which it reads all the same.
            warnings.simplefilter("ignore", category)
        with _damage_told(path):
            if kind == "h5ad":
                return _read_h5ad(path)
            import scanpy

            if kind == "10x h5":
                return scanpy.read_10x_h5(path)
            if kind == "10x mtx folder":
                return scanpy.read_10x_mtx(path, make_unique=False)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".unpacked-") as folder:
                return scanpy.read_10x_mtx(_unpacked(path, Path(folder)), make_unique=False)


def files_of(path: Path) -> list[Path]:
    """Return the files that `read_cells` reads: the file itself, or those of a 10x mtx folder."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.iterdir() if _plain_name(file.name) in _MTX_FILES)


def read_labels(path: Path, *, cell_column: str, label_column: str) -> dict[str, str]:
    """Read a tab-separated table with a header; return label by cell name.

    Raises
    ------
    DatasetError
        If the table lacks one of the columns.
    """
    import pandas

    with _damage_told(path):
        table = pandas.read_csv(path, sep="\t", dtype=str)
    if missing := {cell_column, label_column} - set(table.columns):
        raise DatasetError(
            f"{path} has no column {', '.join(sorted(missing))} (found {', '.join(table.columns)}): "
            f"fetch it anew, or hand over the right file"
        )
    return dict(zip(table[cell_column], table[label_column], strict=True))


def _read_h5ad(path: Path) -> AnnData:
    import anndata
    from anndata._io.specs.registry import IORegistryError  # anndata shows it, but exports it nowhere

    try:
        return anndata.read_h5ad(path)
    except (IORegistryError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _unpacked(archive_path: Path, folder: Path) -> Path:
    """Extract the one 10x mtx folder of an archive, and nothing else, below `folder`."""
    with tarfile.open(archive_path) as archive:
        members = [m for m in archive if m.isfile() and _plain_name(m.name) in _MTX_FILES]
        archive.extractall(folder, members=members, filter="data")
    found = sorted({file.parent for file in folder.rglob("matrix.mtx*")})
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        raise DatasetError(
            f"{archive_path} holds {len(found)} mtx folders ({names}): give one of them as a folder"
        )
    return found[0]


def _plain_name(name: str) -> str:
    return Path(name).name.removesuffix(".gz")


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        with full_disk_told(path.parent):
            yield
    except DatasetError:
        raise
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(
            f"{path} is truncated or foreign ({reason}): fetch it anew, or {_REMEDY}"
        ) from error
