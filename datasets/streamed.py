"""Cells that do not fit into memory, put under the contract piece by piece: the same file as in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

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

TIMES_IN_MEMORY = 4
"""How often what a file holds is in memory, at most, where cells are prepared or trained on there."""


def is_too_large(path: Path, *, memory: int) -> bool:
    """Tell whether a file or store is read piece by piece where so many bytes of memory may be taken."""
    with store_of(path) as store:
        return TIMES_IN_MEMORY * bytes_in_memory(store) > memory


def prepare_streamed(
    path: Path,
    target: Path,
    *,
    wanted: Selection,
    declaration: Declaration,
    parameters: Parameters,
    progress: Progress,
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Check, filter, normalise and split the cells of an ``.h5ad`` or a Zarr store into an ``.h5ad``.

    All is read twice, `ROWS_AT_ONCE` cells at a time; what comes out is what `datasets.assemble` makes
    of cells in memory.

    Parameters
    ----------
    path, target
        What is read, and what is written.
    wanted
        What to take of it.
    declaration, parameters
        As for `datasets.assemble.assemble`.
    progress
        Told how many of the cells are done.
    tell
        Adds to uns["bench"] what there is to say about the source.

    Raises
    ------
    DatasetError
        For every input that cannot be used, and where clusters would be needed.
    """
    import pandas as pd

    with ExitStack() as stack:
        source = stack.enter_context(_Source(path, wanted, label_key=parameters.label_key))
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
        obs, uns = annotate(
            obs[keep_cells[seen.labelled]],
            declaration,
            parameters,
            notes,
            n_genes=n_genes,
            counts=None,
            progress=progress,
        )
        tell(uns["bench"])
        writer.annotate(obs=obs, var=pd.DataFrame(index=genes[seen.keep_genes]), uns=uns)


@dataclass(frozen=True)
class _Seen:
    """What one pass over all cells tells.

    Attributes
    ----------
    genes, notes
        Names as they are selected, and what there is to tell of the selection.
    labelled, keep_cells
        Of each cell: whether it has a label where it needs one, and whether enough genes are detected in it.
    keep_genes
        Of each gene: whether enough of these cells have it.
    n_values
        Values that are left.
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
    return _Seen(
        genes=first.var_names,
        notes=[*first.uns[NOTES], *told],
        labelled=labelled,
        keep_cells=keep_cells,
        keep_genes=keep_genes,
        n_values=int(cells_of_gene[keep_genes].sum()),
    )


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
    path
        The file or folder.
    wanted
        What to take of it.
    label_key
        A column that cells should have.
    """

    def __init__(self, path: Path, wanted: Selection, *, label_key: str | None) -> None:
        self._path, self._wanted, self._label_key = path, wanted, label_key
        self._open = ExitStack()

    def __enter__(self) -> Self:
        from anndata.io import read_elem

        with damage_told(self._path):
            self._file = self._open.enter_context(store_of(self._path))
            self.obs: pd.DataFrame = read_elem(self._file["obs"])
            self._var: pd.DataFrame = read_elem(self._file["var"])
            self._with_raw = self._holds("raw")
            self._raw_var = read_elem(self._file["raw/var"]) if self._with_raw else None
        self._places = {"X": "X"} if self._holds("X") else {}
        self._places |= {name: f"layers/{name}" for name in self._file.get("layers", ())}
        self._names = list(dict.fromkeys([*self._places, *([RAW] if self._with_raw else [])]))
        self._name = find_matrix(self._names_alone(), self._wanted.layer)
        return self

    def __exit__(self, *_ending: object) -> None:
        self._open.close()

    @property
    def n_cells(self) -> int:
        """Cells in the file."""
        return len(self.obs)

    def _holds(self, name: str) -> bool:
        """Tell whether there is such a part; AnnData writes some that are nothing."""
        return name in self._file and self._file[name].attrs.get("encoding-type") != "null"

    def pieces(self, progress: Progress, what: str) -> Iterator[tuple[slice, AnnData]]:
        """Yield which cells these are, and what `datasets.selection.select` takes of them."""
        for start in range(0, self.n_cells, ROWS_AT_ONCE):
            rows = slice(start, min(start + ROWS_AT_ONCE, self.n_cells))
            progress(what, start, self.n_cells)
            # By the others, where they can be read, a remedy is found if this one holds no counts.
            others = [name for name in self._names if name != self._name and self._is_by_row(name)]
            piece = self._piece(rows, [self._name, *(others if start == 0 else ())])
            yield (
                rows,
                select(
                    piece,
                    replace(self._wanted, layer=self._name),
                    label_key=self._label_key,
                    first_cell=start,
                ),
            )
        progress(what, self.n_cells, self.n_cells)

    def _names_alone(self) -> AnnData:
        """Return all matrices by name, with nothing in them."""
        from anndata import AnnData
        from scipy.sparse import csr_matrix

        cells = self._cells(slice(0, 0), {name: csr_matrix((0, self._width(name))) for name in self._names})
        if self._raw_var is not None:
            # Beside a layer of the same name, too: which of them is meant must be asked for.
            cells.raw = AnnData(csr_matrix((0, len(self._raw_var))), obs=cells.obs, var=self._raw_var)
        return cells

    def _piece(self, rows: slice, names: list[str]) -> AnnData:
        """Read some of the matrices of some cells."""
        return self._cells(rows, {name: self._rows(name, rows) for name in names})

    def _cells(self, rows: slice, matrices: dict[str, Any]) -> AnnData:
        from anndata import AnnData

        obs = self.obs.iloc[rows]
        raw = None if RAW in self._places else matrices.pop(RAW, None)
        cells = AnnData(matrices.pop("X", None), obs=obs, var=self._var, layers=matrices)
        if raw is not None:
            cells.raw = AnnData(raw, obs=obs, var=self._raw_var)
        return cells

    def _width(self, name: str) -> int:
        is_raw = name == RAW and name not in self._places
        return len(self._raw_var if is_raw and self._raw_var is not None else self._var)

    def _place(self, name: str) -> str:
        return self._places.get(name, "raw/X")

    def _is_by_row(self, name: str) -> bool:
        matrix = self._file[self._place(name)]
        return hasattr(matrix, "shape") or matrix.attrs.get("encoding-type") == "csr_matrix"

    def _rows(self, name: str, rows: slice) -> Any:
        from anndata.io import sparse_dataset

        matrix = self._file[self._place(name)]
        if not self._is_by_row(name):
            raise DatasetError(
                f"{self._path} does not fit into memory, and {self._place(name)} is not stored row by row "
                f"(as csr_matrix): write it so, or give more memory"
            )
        with damage_told(self._path):
            return matrix[rows] if hasattr(matrix, "shape") else sparse_dataset(matrix)[rows]
