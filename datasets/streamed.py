"""Cells that do not fit into memory, put under the contract piece by piece: the same file as in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets import preprocessing
from datasets.assemble import Parameters, annotate, has_label, label_column, tell_dropped
from datasets.cache import require_space
from datasets.counts import RAW, find_matrix, require_counts
from datasets.declaration import Declaration, Progress
from datasets.errors import DatasetError
from datasets.readers import damage_told
from datasets.selection import NOTES, Selection, select, unique_names
from datasets.stored import ROWS_AT_ONCE, CellWriter, bytes_in_memory, store_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_RAW_X = "raw/X"
TIMES_IN_MEMORY = 4
"""How often what a file holds is in memory, at most, where cells are prepared or trained on there."""


def is_too_large(path: Path, *, memory: int) -> bool:
    """Tell whether a file or store is read piece by piece where so many bytes of memory may be taken."""
    with store_of(path) as store:
        return TIMES_IN_MEMORY * bytes_in_memory(store) > memory


def prepare_streamed(
    path: Path,
    target: Path,
    declaration: Declaration,
    parameters: Parameters,
    *,
    tell: Callable[[dict[str, Any]], None],
    progress: Progress,
) -> None:
    """Check, filter, normalise and split the cells of an ``.h5ad`` or a Zarr store into an ``.h5ad``.

    All is read twice, `ROWS_AT_ONCE` cells at a time; what comes out is what `datasets.assemble` makes
    of cells in memory.

    Parameters
    ----------
    path, target
        File or store to read, and file to write.
    declaration, parameters
        Declaration of the data set, and how its cells are labelled and split.
    tell
        Function that adds to uns["bench"] what there is to say about the source.
    progress
        Function called with the number of cells that are done.

    Raises
    ------
    DatasetError
        For every input that cannot be used, and where clusters would be needed.
    """
    import pandas as pd

    with ExitStack() as stack:
        with damage_told(path):
            store = stack.enter_context(store_of(path))
        source = _Source(path, store, parameters)
        seen = _seen(source, declaration, parameters, progress)
        n_genes = int(seen.keep_genes.sum())
        # A full disk crashes the process inside HDF5, too late for any error: look before it starts.
        require_space(target.parent, 16 * seen.n_values + 100 * (source.n_cells + n_genes) + 1_000_000)
        writer = stack.enter_context(CellWriter(target, n_values=seen.n_values, n_genes=n_genes))
        keep_cells = _write_matrices(source, seen, writer, progress)
        notes = [*declaration.notes, *seen.notes]
        genes = unique_names(seen.genes, "gene", notes)
        obs = source.obs[seen.labelled]
        obs = obs.set_axis(unique_names(obs.index, "cell", notes))
        tell_dropped(keep_cells[seen.labelled], seen.keep_genes, notes)
        obs = obs[keep_cells[seen.labelled]]
        obs, uns = annotate(
            obs, declaration, parameters, notes, n_genes=n_genes, counts=None, progress=progress
        )
        tell(uns["bench"])
        writer.annotate(obs=obs, var=pd.DataFrame(index=genes[seen.keep_genes]), uns=uns)


@dataclass(frozen=True)
class _Seen:
    """What one pass over all cells tells.

    Attributes
    ----------
    genes, notes
        Names of the selected genes, and notes about the selection.
    labelled, keep_cells
        Whether each cell has a label where it needs one, and whether enough genes are also detected in it.
    keep_genes
        Whether each gene is detected in enough of the cells that stay.
    n_values
        Number of non-zero values that are left.
    """

    genes: pd.Index
    notes: list[str]
    labelled: np.ndarray
    keep_cells: np.ndarray
    keep_genes: np.ndarray
    n_values: int


def _seen(source: _Source, declaration: Declaration, parameters: Parameters, progress: Progress) -> _Seen:
    told: list[str] = []
    labelled = np.ones(source.n_cells, dtype=bool)
    if parameters.drop_unlabelled:
        labelled = has_label(source.obs, label_column(source.obs, parameters), told)
    keep_cells, n_values, cells_of_gene, first = labelled.copy(), 0, None, None
    for rows, cells in source.pieces(progress, "filtering"):
        first = cells if first is None else first
        n_values += cells.X.nnz
        keep_cells[rows] &= np.diff(cells.X.indptr) >= preprocessing.MIN_GENES
        found = np.bincount(cells.X[keep_cells[rows]].indices, minlength=cells.n_vars)
        cells_of_gene = found if cells_of_gene is None else cells_of_gene + found
    if first is None or cells_of_gene is None:
        raise DatasetError(f"{declaration.name}: there are no cells: give another file")
    require_counts(n_values, (source.n_cells, first.n_vars), where=f"{declaration.name}: ")
    keep_genes = cells_of_gene >= preprocessing.MIN_CELLS
    notes, n_values = [*first.uns[NOTES], *told], int(cells_of_gene[keep_genes].sum())
    return _Seen(first.var_names, notes, labelled, keep_cells, keep_genes, n_values)


def _write_matrices(source: _Source, seen: _Seen, writer: CellWriter, progress: Progress) -> np.ndarray:
    """Write counts and ``cp20k`` of all cells that stay; return which these are."""
    keep_cells = seen.keep_cells.copy()
    for rows, cells in source.pieces(progress, "normalising"):
        counts = cells.X[seen.keep_cells[rows]][:, seen.keep_genes]
        # No gene loses a cell with those that have no count left.
        left = np.diff(counts.indptr) > 0
        keep_cells[rows.start + np.flatnonzero(seen.keep_cells[rows])[~left]] = False
        counts = counts[left]
        writer.append(X=preprocessing.normalise(counts), counts=counts)
    return keep_cells


class _Source:
    """An ``.h5ad`` or a Zarr store of which a piece at a time is in memory.

    Parameters
    ----------
    path, store
        File or folder, and the store opened from it.
    parameters
        What to select of the store, and the column that cells should have.
    """

    def __init__(self, path: Path, store: Any, parameters: Parameters) -> None:
        from anndata.io import read_elem

        self._path, self._store, self._label_key = path, store, parameters.label_key
        with damage_told(path):
            self.obs: pd.DataFrame = read_elem(store["obs"])
            self._var: pd.DataFrame = read_elem(store["var"])
            self._raw_var = read_elem(store["raw/var"]) if self._holds("raw") else None
        self.n_cells = len(self.obs)
        self._places = {"X": "X"} if self._holds("X") else {}
        self._places |= {name: f"layers/{name}" for name in store.get("layers", ())}
        if self._raw_var is not None:
            self._places.setdefault(RAW, _RAW_X)
        self._name = find_matrix(self._names_alone(), parameters.layer)
        self._wanted = Selection(self._name, parameters.gene_names, parameters.genome)

    def _holds(self, name: str) -> bool:
        """Tell whether there is such a part; AnnData writes some that are nothing."""
        return name in self._store and self._store[name].attrs.get("encoding-type") != "null"

    def pieces(self, progress: Progress, what: str) -> Iterator[tuple[slice, AnnData]]:
        """Yield which cells these are, and what `datasets.selection.select` takes of them."""
        for start in range(0, self.n_cells, ROWS_AT_ONCE):
            rows = slice(start, min(start + ROWS_AT_ONCE, self.n_cells))
            progress(what, start, self.n_cells)
            # By the others, where they can be read, a remedy is found if this one holds no counts.
            others = [name for name in self._places if name != self._name and self._is_by_row(name)]
            names = [self._name, *(others if start == 0 else ())]
            piece = self._cells(rows, {name: self._rows(name, rows) for name in names})
            yield rows, select(piece, self._wanted, label_key=self._label_key, first_cell=start)
        progress(what, self.n_cells, self.n_cells)

    def _names_alone(self) -> AnnData:
        """Return all matrices by name, with nothing in them."""
        from anndata import AnnData
        from scipy.sparse import csr_matrix

        empty = csr_matrix((0, len(self._var)))
        names = [name for name, place in self._places.items() if place != _RAW_X]
        cells = self._cells(slice(0, 0), dict.fromkeys(names, empty))
        if self._raw_var is not None:
            # Beside a layer of the same name, too: which of them is meant must be asked for.
            cells.raw = AnnData(csr_matrix((0, len(self._raw_var))), obs=cells.obs, var=self._raw_var)
        return cells

    def _cells(self, rows: slice, matrices: dict[str, Any]) -> AnnData:
        from anndata import AnnData

        obs = self.obs.iloc[rows]
        raw = matrices.pop(RAW, None) if self._places.get(RAW) == _RAW_X else None
        cells = AnnData(matrices.pop("X", None), obs=obs, var=self._var, layers=matrices)
        if raw is not None:
            cells.raw = AnnData(raw, obs=obs, var=self._raw_var)
        return cells

    def _is_by_row(self, name: str) -> bool:
        matrix = self._store[self._places[name]]
        return hasattr(matrix, "shape") or matrix.attrs.get("encoding-type") == "csr_matrix"

    def _rows(self, name: str, rows: slice) -> Any:
        from anndata.io import sparse_dataset

        matrix = self._store[self._places[name]]
        if not self._is_by_row(name):
            raise DatasetError(
                f"{self._path} does not fit into memory, and {self._places[name]} is not stored row by row "
                f"(as csr_matrix): write it so, or give more memory"
            )
        with damage_told(self._path):
            return matrix[rows] if hasattr(matrix, "shape") else sparse_dataset(matrix)[rows]
