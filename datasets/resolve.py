"""From what the user names (or hands over) to a declaration, a checksum and a way to read the cells."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import sources, synthetic
from datasets.cache import printable, sha256_of
from datasets.declaration import Declaration, Progress, find_declaration, registered_names
from datasets.errors import DatasetError
from datasets.library import LocalFile, fetch_files
from datasets.readers import files_of, kind_of, read_cells
from datasets.selection import NOTES, Selection, select

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Resolved:
    """A data set that can be read now.

    Attributes
    ----------
    declaration
        Declaration of the data set; made on the spot for files and AnnData.
    origin
        Origin of the data, in words.
    checksum
        SHA-256 over everything that the data set is read from.
    read
        Function that returns the selected cells.
    read_all
        Function that returns the cells as they are stored, with all matrices.
    notes
        Notes about the source files.
    file
        The ``.h5ad`` or Zarr store that holds the whole data set, if there is one: data that are too large
        for memory can be read from it piece by piece.
    declared
        Name of the source among those that this project declares, if its files are certain to be the declared
        ones; else None. The name of a file, or of somebody else's declaration, does not count.
    """

    declaration: Declaration
    origin: str
    checksum: str
    read: Callable[[], AnnData]
    read_all: Callable[[], AnnData]
    notes: tuple[str, ...] = ()
    declared: str | None = None
    file: Path | None = None


def resolve(
    source: str | Path | AnnData,
    *,
    registry: Mapping[str, Any] | None,
    folder: Path,
    progress: Progress,
    wanted: Selection,
    label_key: str | None = None,
) -> Resolved:
    """Find out what `source` is, and fetch it if need be.

    Parameters
    ----------
    source
        A registered name, ``synthetic:CELLSxGENES[xTYPES]``, a path, or AnnData.
    registry
        Declarations by name; by default the entry points.
    folder
        Cache folder.
    progress
        Function called with the progress of downloads and drawing.
    wanted, label_key
        What to select of the cells, and a column that they should have.

    Raises
    ------
    DatasetError
        If it is none of these, or cannot be fetched.
    """
    choose = partial(_chosen, wanted=wanted, label_key=label_key)
    if not isinstance(source, (str, Path)):
        return _from_memory(source, choose)
    if isinstance(source, str):
        if (declaration := find_declaration(source, registry)) is not None:
            return _from_files(declaration, folder, progress, choose)
        if source.startswith(synthetic.PREFIX):
            draw = partial(synthetic.draw, synthetic.Recipe.parse(source), progress=progress)
            checksum = hashlib.sha256(source.encode()).hexdigest()
            return Resolved(synthetic.declared(source), source, checksum, partial(choose, draw), draw)
    path = Path(source).expanduser()
    if not path.exists():
        raise DatasetError(
            f"no data set is called {str(source)!r} and no such file exists: choose from "
            f"{', '.join(registered_names(registry))}, or give an .h5ad, a .zarr store, a 10x .h5, a 10x mtx "
            f"folder or synthetic:CELLSxGENES"
        )
    name = printable(path.stem.strip(".") or path.resolve().stem)
    kind = kind_of(path)
    declaration = Declaration(name=name, description=f"your own ({kind})", reference="")
    files = files_of(path, genome=wanted.genome)
    checksum = sha256_of(*files)
    if kind == "zarr store":
        # What a file of it is follows from its name.
        names = "".join(f"{file.relative_to(path)}\n" for file in files)
        checksum = hashlib.sha256(f"{checksum}{names}".encode()).hexdigest()
    read = partial(read_cells, path, genome=wanted.genome)
    file = path if kind in ("h5ad", "zarr store") else None
    return Resolved(declaration, str(path.resolve()), checksum, partial(choose, read), read, file=file)


def _chosen(
    read: Callable[[], AnnData], *, wanted: Selection, label_key: str | None, from_reader: bool = True
) -> AnnData:
    """Read cells, and select what is wanted of them; what their reader tells is kept.

    What a user keeps in uns under the same name is no note.
    """
    cells = read()
    told = cells.uns.get(NOTES, ()) if from_reader else ()
    notes = [told] if isinstance(told, str) else [str(note) for note in told]
    return select(cells, wanted, notes=notes, label_key=label_key)


def _from_files(
    declaration: Declaration, folder: Path, progress: Progress, choose: Callable[..., AnnData]
) -> Resolved:
    files = fetch_files(declaration, folder, progress)
    read = partial(_read_stored, declaration, files)
    is_ours = any(declaration is ours for ours in vars(sources).values())
    declared = declaration.name if is_ours and all(file.as_declared for file in files) else None
    origin = "; ".join(file.origin for file in files)
    checksum = sha256_of(*(file.path for file in files))
    notes = tuple(file.note for file in files if file.note)
    return Resolved(declaration, origin, checksum, partial(choose, read), read, notes, declared)


def _read_stored(declaration: Declaration, files: tuple[LocalFile, ...]) -> AnnData:
    try:
        return declaration.read([file.path for file in files])
    except DatasetError as error:
        stored = [str(path) for file in files if file.record for path in (file.path, file.record)]
        if not stored:
            raise
        raise DatasetError(
            f"{declaration.name}: {error}; to start clean, delete {' '.join(stored)}"
        ) from error


def _from_memory(adata: AnnData, choose: Callable[..., AnnData]) -> Resolved:
    if not hasattr(adata, "obs_names"):
        raise DatasetError(
            f"a data set of type {type(adata).__name__} cannot be read: give a name, a path or AnnData"
        )
    for name, columns in (("obs", adata.obs.columns), ("var", adata.var.columns)):
        if not columns.is_unique:
            repeated = ", ".join(sorted({str(column) for column in columns[columns.duplicated()]}))
            raise DatasetError(f"{name} has several columns called {repeated}: rename or drop all but one")
    adata = adata.to_memory() if adata.isbacked else adata
    cells = choose(lambda: adata, from_reader=False)
    declaration = Declaration(name="adata", description="AnnData from memory", reference="")
    return Resolved(declaration, "memory", _fingerprint(cells), lambda: cells, lambda: adata)


def _fingerprint(adata: AnnData) -> str:
    """Hash the counts, the notes, the names and the obs columns of selected cells."""
    digest = hashlib.sha256()
    for array in (adata.X.indptr, adata.X.indices, adata.X.data):
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    digest.update(repr(adata.uns[NOTES]).encode())
    for index in (adata.obs_names, adata.var_names, adata.obs.columns):
        digest.update(repr(list(index)).encode())
    for column in adata.obs.columns:
        digest.update(repr(adata.obs[column].tolist()).encode())
    return digest.hexdigest()
