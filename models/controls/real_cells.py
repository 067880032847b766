"""Controls that return real cells: the ceiling, the null and the cheat."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.base import TooFewCells
from models.controls.control import Control, Drawn, Integers, Labels

if TYPE_CHECKING:
    from anndata import AnnData


class RealCells(Control):
    """Controls that return cells of ``obs["control_pool"]`` as they are."""

    drawn_from = ("control_pool", 1)

    def sample_chunks(
        self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int, chunk_size: int = 2048
    ) -> Iterator[AnnData]:
        """Yield, in pieces, the very cells that `sample` returns: no cell is repeated between chunks."""
        rows = self._rows(n_cells, self._requested(n_cells, cell_types), self._rng(seed))
        for start in range(0, n_cells, chunk_size):
            chunk = rows[start : start + chunk_size]
            yield self._as_anndata(self.cells.counts[chunk], self.cells.cell_types[chunk])

    def _draw(self, n_cells: int, cell_types: Labels | None, rng: np.random.Generator) -> Drawn:
        rows = self._rows(n_cells, cell_types, rng)
        return self.cells.counts[rows], self.cells.cell_types[rows]

    def _rows(self, n_cells: int, cell_types: Labels | None, rng: np.random.Generator) -> Integers:
        """Choose which cells to return, of the requested types in the requested order."""
        if cell_types is None:
            return self._pick(n_cells, np.arange(self.cells.counts.shape[0]), "cells", rng)
        rows = np.empty(n_cells, dtype=np.int64)
        for name in np.unique(cell_types):
            asked = np.flatnonzero(cell_types == name)
            candidates = self.cells.rows_by_type[str(name)]
            rows[asked] = self._pick(len(asked), candidates, f"cells of type '{name}'", rng)
        return rows

    @abstractmethod
    def _pick(self, n_cells: int, candidates: Integers, what: str, rng: np.random.Generator) -> Integers:
        """Choose n_cells of the candidate rows; `what` names them in messages."""


class DrawnOnce(RealCells):
    """Controls that return no cell twice: a repeated one would be too easy to tell from the test cells.

    Raises `TooFewCells` when asked for more cells than there are.
    """

    def _pick(self, n_cells: int, candidates: Integers, what: str, rng: np.random.Generator) -> Integers:
        if n_cells > len(candidates):
            raise TooFewCells(
                f"{self.name}: {n_cells} {what} asked, there are {len(candidates)} to draw from "
                "and none is drawn twice; ask for fewer"
            )
        return rng.choice(candidates, n_cells, replace=False)


class Real(DrawnOnce):
    """Ceiling: training cells drawn without replacement from ``obs["control_pool"]``."""

    name = "real"
    role = "ceiling"


class Null(DrawnOnce):
    """Null: cells of one half of ``obs["control_pool"]``, which are scored against cells of the other half.

    Two samples of real cells that nothing tells apart, neither of which the PCA has seen: what a
    metric says of them is its noise. They are the cells whose ``obs["null_half"]`` is 2; those
    where it is 1 stand for the test cells.
    """

    name = "null"
    role = "null"
    drawn_from = ("null_half", 2)


class Memorise(RealCells):
    """Cheat: training cells drawn with replacement from ``obs["control_pool"]``.

    What a model that copies its training cells would return; a metric of memorisation must
    catch it.
    """

    name = "memorise"
    role = "cheat"

    def _pick(self, n_cells: int, candidates: Integers, what: str, rng: np.random.Generator) -> Integers:
        return rng.choice(candidates, n_cells, replace=True)
