"""Files to AnnData: .h5ad, 10x .h5 (both layouts), 10x mtx folders, archives of such a folder.

What a file is, is told from its content, never from its name, and nothing is ever unpickled.
"""

from __future__ import annotations

import csv
import gzip
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets.counts import require_sound
from datasets.errors import DatasetError

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import DataFrame

NOTES = "reading_notes"
"""The key of uns under which a reader tells what the user of the cells should know."""

Kind = Literal["h5ad", "10x h5", "10x mtx folder", "archive of a 10x mtx folder"]

_MTX_FILES = {"matrix.mtx", "genes.tsv", "features.tsv", "barcodes.tsv"}
_TENX_PARTS = ("barcodes", "data", "indices", "indptr", "shape")
_TENX_LAYOUTS = (
    (*_TENX_PARTS, "genes", "gene_names"),
    (*_TENX_PARTS, "features/id", "features/name", "features/feature_type"),
)
_GENE = "Gene Expression"
_PIECE = 1 << 20
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
                layouts = [(group, layout) for group in groups for layout in _TENX_LAYOUTS]
                if any(all(part in group for part in layout) for group, layout in layouts):
                    return "10x h5"
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                names = archive.getnames()
                _read_to_the_end(archive)
                if any(_plain_name(name) == "matrix.mtx" for name in names):
                    return "archive of a 10x mtx folder"
    raise DatasetError(f"{path} is none of the formats that can be read: {_REMEDY}")


def read_cells(path: Path) -> AnnData:
    """Read cells in any of the formats, as they are: nothing is filtered or renamed.

    But for features of 10x files that are no genes (antibodies, guides): ``uns["reading_notes"]`` tells
    how many were left out.

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
            if kind == "10x h5":
                import scanpy

                return _only_genes(scanpy.read_10x_h5(path, gex_only=False), path)
            return _only_genes(_read_mtx(path), path)


def require_readable(path: Path, *, name: str) -> None:
    """Raise a `DatasetError` if a file is not what a source file called `name` promises by its ending."""
    if name.endswith(".tsv"):
        _read_table(path)
    elif Path(name).suffix in ("", ".h5", ".h5ad") or name.endswith(".tar.gz"):
        kind_of(path)


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
        If it is no such table, or lacks one of the columns.
    """
    table = _read_table(path)
    if missing := {cell_column, label_column} - set(table.columns):
        raise DatasetError(
            f"{path} has no column {', '.join(sorted(missing))} (found {', '.join(table.columns)}): "
            f"hand over the right file"
        )
    return dict(zip(table[cell_column], table[label_column], strict=True))


def _read_h5ad(path: Path) -> AnnData:
    import anndata
    from anndata._io.specs.registry import IORegistryError  # anndata shows it, but exports it nowhere

    try:
        return anndata.read_h5ad(path)
    except (IORegistryError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _read_mtx(path: Path) -> AnnData:
    """Read the parts of a 10x mtx folder, or archive, under the names of any Cell Ranger, packed or not."""
    import pandas
    from anndata import AnnData
    from scipy.io import mmread
    from scipy.sparse import csr_matrix

    with _mtx_parts(path) as parts:
        named = "features.tsv" if "features.tsv" in parts else "genes.tsv"
        if missing := {"matrix.mtx", "barcodes.tsv", named} - set(parts):
            raise ValueError(f"without {' and '.join(sorted(missing))}")
        # A gene may be called NA, or bear a quotation mark.
        as_text: Any = dict(sep="\t", header=None, dtype=str, na_filter=False, quoting=csv.QUOTE_NONE)
        genes = pandas.read_csv(parts[named], **as_text)
        barcodes = pandas.read_csv(parts["barcodes.tsv"], **as_text)
        matrix = csr_matrix(mmread(parts["matrix.mtx"]).T)
    adata = AnnData(matrix)
    adata.obs_names, adata.var_names = barcodes[0].to_numpy(), genes[1].to_numpy()
    if 2 in genes:
        adata.var["feature_types"] = genes[2].to_numpy()
    return adata


@contextmanager
def _mtx_parts(path: Path) -> Iterator[dict[str, Any]]:
    """Open the files of a 10x mtx folder, or of the one inside an archive: plain name → content."""
    with ExitStack() as stack:
        files: dict[Path, Any] = {}
        if path.is_dir():
            files = {file: stack.enter_context(file.open("rb")) for file in files_of(path)}
        else:
            archive = stack.enter_context(tarfile.open(path))
            members = {Path(member.name): member for member in archive if member.isfile()}
            folders = sorted({str(name.parent) for name in members if _plain_name(name.name) == "matrix.mtx"})
            if len(folders) != 1:
                raise DatasetError(
                    f"{path} holds {len(folders)} mtx folders ({', '.join(folders)}): "
                    f"unpack it and give one of them"
                )
            files = {
                name: archive.extractfile(member)
                for name, member in members.items()
                if str(name.parent) == folders[0]
            }
        yield {
            _plain_name(file.name): gzip.GzipFile(fileobj=content) if file.suffix == ".gz" else content
            for file, content in files.items()
        }


def _only_genes(adata: AnnData, path: Path) -> AnnData:
    require_sound(adata.X, where=str(path))
    if "feature_types" not in adata.var or (adata.var["feature_types"] == _GENE).all():
        return adata
    genes = (adata.var["feature_types"] == _GENE).to_numpy()
    others = ", ".join(sorted(set(adata.var["feature_types"][~genes].astype(str))))
    if not genes.any():
        raise DatasetError(f"{path} has no feature of type {_GENE!r}, only {others}: {_REMEDY} with genes")
    note = f"{int((~genes).sum())} of {len(genes)} features are no genes ({others}) and are left out"
    adata = adata[:, genes].copy()
    adata.uns[NOTES] = [note]
    return adata


def _read_table(path: Path) -> DataFrame:
    import pandas

    with _damage_told(path):
        table = pandas.read_csv(path, sep="\t", dtype=str)
        if table.shape[1] < 2:
            raise ValueError("not a tab-separated table with a header")
    return table


def _read_to_the_end(archive: tarfile.TarFile) -> None:
    """Read what follows the last member, so that gzip compares its checksum."""
    while archive.fileobj is not None and archive.fileobj.read(_PIECE):
        pass


def _plain_name(name: str) -> str:
    return Path(name).name.removesuffix(".gz")


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except DatasetError:
        raise
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path} is truncated or foreign ({reason}): replace it, or {_REMEDY}") from error
