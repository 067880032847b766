"""Cells that a generator made, with the space they are declared to be in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metrics.arrays import Floats, Strings
from metrics.declaration import NotApplicable
from metrics.shared_cost import SharedProperty, SharesWork
from metrics.spaces import (
    LIBRARY_SIZE,
    CellMatrix,
    Csr,
    Space,
    as_csr,
    library_sizes,
    to_linear,
    to_log_cp20k,
)


def invalid_values(cells: Csr) -> str | None:
    """Say how many values no expression can have, or return None."""
    not_finite = int(np.sum(~np.isfinite(cells.data)))
    negative = int(np.sum(cells.data < 0))
    if not_finite or negative:
        return f"{not_finite} NaN or infinite and {negative} negative values"
    return None


def checked_labels(types: Sequence[str] | Strings | None, n_cells: int, what: str) -> Strings | None:
    """Return labels as an array, or None.

    Raises
    ------
    ValueError
        If there is not one for each of the n_cells cells, which `what` names.
    """
    if types is None:
        return None
    labels = np.asarray(types, dtype=str)
    if labels.shape != (n_cells,):
        raise ValueError(f"{labels.size} cell types for {n_cells} {what} cells; give one for each")
    return labels


class SyntheticCells(SharesWork):
    """Cells that a generator made, with the space they are declared to be in.

    Impossible values are reported when a metric first needs the cells, so that they fail metrics
    and not the run.

    Parameters
    ----------
    matrix
        Cells × genes.
    space
        ``"counts"``, ``"cp20k"`` or ``"log_cp20k"``.
    cell_types
        Label of each cell, or None.

    Raises
    ------
    ValueError
        If labels and cells differ in number.
    """

    def __init__(
        self, matrix: CellMatrix, *, space: Space, cell_types: Sequence[str] | Strings | None = None
    ) -> None:
        self.space = space
        self.matrix = as_csr(matrix)
        self.cell_types = checked_labels(cell_types, self.matrix.shape[0], "synthetic")

    def _linear(self) -> Csr:
        if problem := invalid_values(self.matrix):
            raise NotApplicable(f"the synthetic cells hold {problem}")
        linear = to_linear(self.matrix, space=self.space)
        if overflown := int(np.sum(~np.isfinite(library_sizes(linear)))):
            raise NotApplicable(f"{overflown} synthetic cells hold values too large for {self.space}")
        return linear

    @SharedProperty
    def library_sizes(self) -> Floats:
        """Sum of each cell over all genes, without logarithm, before cells are rescaled.

        Raises
        ------
        NotApplicable
            If a value is negative, NaN or infinite, or so large that the sum is.
        """
        return library_sizes(self._linear())

    @property
    def library_size_error(self) -> float | None:
        """Median of abs(library size / 20 000 − 1); None for counts, which promise no library size."""
        if self.space == "counts":
            return None
        return float(np.median(np.abs(self.library_sizes / LIBRARY_SIZE - 1)))

    @property
    def n_empty_cells(self) -> int:
        """How many cells are all zero."""
        return int(np.sum(np.diff(self.matrix.indptr) == 0))

    @property
    def fractional_share(self) -> float:
        """Share of the non-zero values that are not whole numbers."""
        values = self.matrix.data
        return float(np.mean(values != np.round(values))) if values.size else 0.0

    @SharedProperty
    def cells(self) -> Csr:
        """Cells × genes, ``log_cp20k``, rescaled to 20 000; all-zero cells stay zero.

        Raises
        ------
        NotApplicable
            As for `library_sizes`.
        """
        return to_log_cp20k(self._linear(), space="cp20k")

    @property
    def notes(self) -> list[str]:
        """What a reader of any number about these cells must know."""
        notes = []
        if self.n_empty_cells:
            notes.append(f"{self.n_empty_cells} of {self.matrix.shape[0]} synthetic cells are all zero")
        if self.space == "counts" and (share := self.fractional_share):
            notes.append(
                f"{share:.1%} of the non-zero values are not whole numbers, though counts are declared"
            )
        return notes
