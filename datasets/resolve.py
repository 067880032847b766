"""From what the user names (or hands over) to a declaration, a checksum and a way to read the cells."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets import synthetic
from datasets.cache import printable, sha256_of
from datasets.declaration import Declaration, Progress, find_declaration, registered_names
from datasets.errors import DatasetError
from datasets.library import LocalFile, fetch_files
from datasets.readers import files_of, kind_of, read_cells

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Resolved:
    """A data set that can be read now.

    Attributes
    ----------
    declaration
        What it is; made up on the spot for files and AnnData.
    origin
        Where it comes from, in words.
    checksum
        SHA-256 over all that it is read from.
    read
        Returns the raw cells.
    notes
        What fetching it brought to light.
    declared
        Name of the source among those that this project declares, where its files are certain to be it; else
        None. A file's name says nothing, nor does that of somebody else's declaration.
    """

    declaration: Declaration
    origin: str
    checksum: str
    read: Callable[[], AnnData]
    notes: tuple[str, ...] = ()
    declared: str | None = None


def resolve(
    source: str | Path | AnnData, *, registry: Mapping[str, Any] | None, folder: Path, progress: Progress
) -> Resolved:
    """Find out what `source` is, and fetch it if need be.

    Parameters
    ----------
    source
        A registered name, ``synthetic:CELLSxGENES[xTYPES]``, a path, or AnnData.
    registry
        Names → declarations; by default the entry points.
    folder
        The cache folder.
    progress
        Told about downloads and drawing.

    Raises
    ------
    DatasetError
        If it is none of these, or cannot be fetched.
    """
    if not isinstance(source, (str, Path)):
        return _from_memory(source)
    if isinstance(source, str):
        if (declaration := find_declaration(source, registry)) is not None:
            return _from_files(declaration, folder, progress)
        if source.startswith(synthetic.PREFIX):
            return _drawn(source, progress)
    path = Path(source).expanduser()
    if not path.exists():
        raise DatasetError(
            f"no data set is called {str(source)!r} and no such file exists: choose from "
            f"{', '.join(registered_names(registry))}, or give an .h5ad, a 10x .h5, a 10x mtx folder or "
            f"synthetic:CELLSxGENES"
        )
    kind = kind_of(path)
    declaration = Declaration(
        name=printable(path.stem.strip(".") or path.resolve().stem),
        description=f"your own ({kind})",
        reference="",
    )
    return Resolved(declaration, str(path.resolve()), sha256_of(*files_of(path)), partial(read_cells, path))


def _from_files(declaration: Declaration, folder: Path, progress: Progress) -> Resolved:
    files = fetch_files(declaration, folder, progress)
    return Resolved(
        declaration,
        "; ".join(file.origin for file in files),
        sha256_of(*(file.path for file in files)),
        partial(_read_stored, declaration, files),
        tuple(file.note for file in files if file.note),
        declaration.name if _is_ours(declaration) and all(file.as_declared for file in files) else None,
    )


def _is_ours(declaration: Declaration) -> bool:
    from datasets import sources

    return any(declaration is ours for ours in vars(sources).values())


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


def _drawn(source: str, progress: Progress) -> Resolved:
    recipe = synthetic.Recipe.parse(source)
    declaration = Declaration(
        name=source,
        description="drawn from negative-binomial types",
        reference="",
        label_key="cell_type",
        label_source="the types that the cells were drawn from",
        expected={"cells": recipe.n_cells, "genes": recipe.n_genes, "types": recipe.n_types},
        notes=("synthetic cells: for speed and scale, never for quality claims",),
    )
    draw = partial(synthetic.draw, recipe, progress=progress)
    return Resolved(declaration, source, hashlib.sha256(source.encode()).hexdigest(), draw)


def _from_memory(adata: AnnData) -> Resolved:
    if not hasattr(adata, "obs_names"):
        raise DatasetError(
            f"a data set of type {type(adata).__name__} cannot be read: give a name, a path or AnnData"
        )
    columns = adata.obs.columns
    if not columns.is_unique:
        repeated = ", ".join(sorted({str(name) for name in columns[columns.duplicated()]}))
        raise DatasetError(f"obs has several columns called {repeated}: rename or drop all but one")
    adata = adata.to_memory() if adata.isbacked else adata
    declaration = Declaration(name="adata", description="AnnData from memory", reference="")
    return Resolved(declaration, "memory", _fingerprint(adata), lambda: adata)


def _fingerprint(adata: AnnData) -> str:
    """Hash the matrices, the names and the obs columns of AnnData."""
    digest = hashlib.sha256()
    for matrix in (adata.X, adata.layers.get("counts")):
        parts = [matrix.indptr, matrix.indices, matrix.data] if hasattr(matrix, "indptr") else [matrix]
        for part in parts:
            array = np.asarray(part)
            digest.update(f"{array.dtype}{array.shape}".encode())
            # An array of objects holds addresses, which tell nothing about the values.
            digest.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    for index in (adata.obs_names, adata.var_names, adata.obs.columns):
        digest.update(repr(list(index)).encode())
    for column in adata.obs.columns:
        digest.update(repr(adata.obs[column].tolist()).encode())
    return digest.hexdigest()
