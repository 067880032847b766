"""Files to AnnData: .h5ad, .zarr, 10x .h5 (both layouts), 10x mtx folders, archives of such a folder.

What a file is, is told from its content, never from its name, and nothing is ever unpickled.
"""

from __future__ import annotations

import tarfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datasets.counts import require_sound
from datasets.errors import DatasetError
from datasets.features import only_genes
from datasets.mtx import holds_mtx, mtx_files, read_mtx, unpacked_start
from datasets.selection import NOTES
from datasets.stored import store_of
from datasets.tenx import read_tenx, tenx_groups

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import DataFrame

Kind = Literal["h5ad", "zarr store", "10x h5", "10x mtx folder", "archive of a 10x mtx folder", "mtx file"]

_PIECE = 1 << 20
_REMEDY = "give an .h5ad, a .zarr store, a 10x .h5 or a 10x mtx folder"


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
    kind: Kind | None = None
    with damage_told(path):
        if _is_zarr(path):
            kind = "zarr store"
        elif path.is_dir():
            kind = "10x mtx folder" if holds_mtx(path) else None
        elif h5py.is_hdf5(path):
            kind = _kind_of_hdf5(path)
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                _read_to_the_end(archive)
            kind = "archive of a 10x mtx folder" if holds_mtx(path) else None
        elif holds_mtx(path):
            kind = "mtx file"
        elif unpacked_start(path, 8) == b"\x89HDF\r\n\x1a\n":
            raise DatasetError(f"{path} is packed: unpack it with gunzip and give what comes out")
    if kind is not None:
        return kind
    raise DatasetError(f"{path} is none of the formats that can be read: {_REMEDY}")


def read_cells(path: str | Path, *, genome: str | None = None) -> AnnData:
    """Read cells in any of the formats, as they are: nothing is filtered or renamed.

    But for features of 10x files that are no genes (antibodies, guides), which are left out.
    ``uns["reading_notes"]`` tells what there is to know of the reading, never what the file has under that
    name.

    Parameters
    ----------
    path
        File or folder to read.
    genome
        Genome to read, if the file stores several separately.

    Raises
    ------
    DatasetError
        If the file is missing, truncated, foreign or several in one.
    """
    path = Path(path).expanduser()
    kind = kind_of(path)
    notes: list[str] = []
    with warnings.catch_warnings():
        # Duplicate names are made unique, and noted, where the cells are preprocessed.
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        for category in (FutureWarning, PendingDeprecationWarning):
            # What anndata says of files in its older formats, which it reads all the same.
            warnings.simplefilter("ignore", category)
        with damage_told(path):
            if kind in ("h5ad", "zarr store"):
                adata = _read_anndata(path)
            else:
                tenx = kind == "10x h5"
                adata = read_tenx(path, genome=genome) if tenx else read_mtx(path, genome=genome, notes=notes)
                require_sound(adata.X, where=str(path))
                adata = only_genes(adata, notes, where=str(path))
    adata.uns[NOTES] = notes
    return adata


def require_readable(path: Path, *, name: str) -> None:
    """Raise a `DatasetError` if a file is not what a source file called `name` promises by its ending."""
    if name.endswith(".tsv"):
        _read_table(path)
    elif Path(name).suffix in ("", ".h5", ".h5ad") or name.endswith(".tar.gz"):
        kind_of(path)


def files_of(path: Path, *, genome: str | None = None) -> list[Path]:
    """Return what `read_cells` reads: the file, all of a Zarr store, a matrix with its genes and barcodes."""
    kind = kind_of(path)
    if kind == "zarr store":
        return sorted(file for file in path.rglob("*") if file.is_file())
    return mtx_files(path, genome=genome) if kind in ("10x mtx folder", "mtx file") else [path]


def read_labels(path: Path, *, cell_column: str, label_column: str) -> dict[str, str]:
    """Read a tab-separated table with a header; return label by cell name.

    Raises
    ------
    DatasetError
        If it is no such table, or lacks one of the columns.
    """
    table = _read_table(path)
    if missing := {cell_column, label_column} - set(table.columns):
        raise DatasetError(
            f"{path} has no column {', '.join(sorted(missing))} (found {', '.join(table.columns)}): "
            f"hand over the right file"
        )
    return dict(zip(table[cell_column], table[label_column], strict=True))


def _is_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr store of cells, in either of Zarr's versions."""
    is_store = any((path / name).is_file() for name in ("zarr.json", ".zgroup"))
    return is_store and all((path / part).is_dir() for part in ("obs", "var"))


def _read_anndata(path: Path) -> AnnData:
    import anndata
    from anndata._io.specs.registry import IORegistryError  # anndata shows it, but exports it nowhere

    try:
        if not path.is_dir():
            return anndata.read_h5ad(path)
        with store_of(path):
            # Nothing is missing.
            return anndata.read_zarr(path)
    except (IORegistryError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _kind_of_hdf5(path: Path) -> Kind | None:
    import h5py

    with h5py.File(path) as file:
        if "mod" in file and isinstance(file["mod"], h5py.Group):
            raise _mudata(path, list(file["mod"]))
        if {"obs", "var"} <= set(file):
            return "h5ad"
        return "10x h5" if tenx_groups(file) else None


def _mudata(path: Path, modalities: list[str]) -> DatasetError:
    names = " and ".join(sorted(modalities)) or "none"
    first = next((name for name in modalities if name.lower() in ("rna", "gex")), (modalities or ["rna"])[0])
    return DatasetError(
        f"{path} is MuData (.h5mu) with the modalities {names}: write the one with genes as .h5ad and give "
        f"that: mudata.read_h5mu({path.name!r})[{first!r}].write_h5ad('{first}.h5ad')"
    )


def _read_table(path: Path) -> DataFrame:
    import pandas

    with damage_told(path):
        table = pandas.read_csv(path, sep="\t", dtype=str)
        if table.shape[1] < 2:
            raise ValueError("not a tab-separated table with a header")
    return table


def _read_to_the_end(archive: tarfile.TarFile) -> None:
    """Read what follows the last member, so that gzip compares its checksum."""
    while archive.fileobj is not None and archive.fileobj.read(_PIECE):
        pass


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Tell what goes wrong in reading a file in one line that names it."""
    try:
        yield
    except DatasetError:
        raise
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path} is truncated or foreign ({reason}): replace it, or {_REMEDY}") from error
