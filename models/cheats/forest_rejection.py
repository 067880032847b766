"""A cheat that asks the judge beforehand: draws that a forest of the judge's kind takes for real cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from models.base import Monitor
from models.baselines.nb_copula import NbCopula
from models.baselines.shared import Parameters, log_cp20k
from models.controls.control import RememberedCells

N_TREES = 200
MOST_CELLS = 2000
DRAWS_FOR_ONE = 8
AT_ONCE = 64


class ForestRejection(NbCopula):
    """Cheat: of every eight draws of `NbCopula`, the one that a random forest takes most for a real cell.

    The forest is of the judge's kind (Gini, √n_genes a split, grown until leaves are pure or hold one cell;
    200 trees) and learns on up to 2000 log-normalised training cells and as many draws.
    """

    name = "forest_rejection"
    role = "cheat"
    libraries = ("scipy.stats", "sklearn.ensemble")

    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        from sklearn.ensemble import RandomForestClassifier

        self._parameters = super()._learn(cells, seed, monitor)
        real, drawn = self._both(cells, np.random.default_rng(seed))
        with monitor.phase("forest"):
            forest = RandomForestClassifier(N_TREES, random_state=seed % 2**32, n_jobs=1)
            forest.fit(dense_log(vstack([real, drawn])), np.repeat([0, 1], [real.shape[0], drawn.shape[0]]))
        return self._parameters | nodes_of([tree.tree_ for tree in forest.estimators_])

    def _both(self, cells: RememberedCells, rng: np.random.Generator) -> tuple[csr_matrix, csr_matrix]:
        """Return training cells, and as many draws of the same types."""
        n_known = len(cells.cell_types)
        rows = rng.choice(n_known, min(MOST_CELLS, n_known), replace=False)
        names, sizes = np.unique(cells.cell_types[rows], return_counts=True)
        drawn = [
            super(ForestRejection, self)._draw_block(str(name), int(size), rng)
            for name, size in zip(names, sizes, strict=True)
        ]
        return cells.counts[rows], vstack(drawn, format="csr")

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        kept = []
        for start in range(0, n_cells, AT_ONCE):
            n_here = min(AT_ONCE, n_cells - start)
            drawn = super()._draw_block(cell_type, DRAWS_FOR_ONE * n_here, rng)
            likeness = -share_drawn(dense_log(drawn), self._parameters).reshape(n_here, DRAWS_FOR_ONE)
            kept.append(drawn[DRAWS_FOR_ONE * np.arange(n_here) + likeness.argmax(axis=1)])
        return vstack(kept, format="csr")


def nodes_of(trees: Sequence[Any]) -> Parameters:
    """Lay the nodes of scikit-learn's trees one after the other.

    Returns
    -------
    dict
        ``starts`` of the trees; for each node ``left`` and ``right`` (counted from its tree's start, -1 below
        a leaf), ``gene``, ``threshold`` and ``drawn``, the share of drawn cells that it saw.
    """
    nodes = {
        "left": [tree.children_left for tree in trees],
        "right": [tree.children_right for tree in trees],
        "gene": [tree.feature for tree in trees],
        "threshold": [tree.threshold for tree in trees],
        "drawn": [tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1) for tree in trees],
    }
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
    return {name: np.concatenate(parts) for name, parts in nodes.items()} | {"starts": starts}


def share_drawn(cells: NDArray[np.float32], nodes: Parameters) -> NDArray[np.float64]:
    """Return the probability that the forest gives each cell of being drawn and not real.

    Parameters
    ----------
    cells
        n_cells × n_genes, as the forest learnt them.
    nodes
        Nodes of the forest, from `nodes_of`.
    """
    at = np.tile(nodes["starts"], (len(cells), 1))
    row = np.arange(len(cells))[:, None]
    while (is_inner := nodes["left"][at] >= 0).any():
        is_left = cells[row, nodes["gene"][at]] <= nodes["threshold"][at]
        child = np.where(is_left, nodes["left"][at], nodes["right"][at])
        at = np.where(is_inner, nodes["starts"] + child, at)
    return np.asarray(nodes["drawn"][at].mean(axis=1))


def dense_log(counts: csr_matrix) -> NDArray[np.float32]:
    """Return log-normalised cells, n_cells × n_genes, dense."""
    return log_cp20k(counts).toarray().astype(np.float32)
