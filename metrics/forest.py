"""The random forest that rf_auc and augmentation_f1 share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from metrics.arrays import Floats, Ints
from metrics.spaces import CellMatrix, as_csr
from metrics.threads import usable_threads

if TYPE_CHECKING:
    from metrics.trees import Columns

TREES_AT_ONCE = 25
LARGEST_SEED = 2**31 - 1


def columns_of(matrix: CellMatrix) -> Columns:
    """Lay cells × genes out as trees grow fastest on them; see `metrics.trees.Columns`."""
    from scipy.sparse import csc_array

    from metrics.trees import WORD, Columns

    by_gene = csc_array(as_csr(matrix), dtype=np.float32)
    by_gene.eliminate_zeros()
    by_gene.sort_indices()
    starts, rows, values = by_gene.indptr.astype(np.int64), by_gene.indices.astype(np.int32), by_gene.data
    order = np.empty(values.size, dtype=np.int64)
    for start, end in pairwise(starts):
        order[start:end] = start + np.argsort(values[start:end])
    n_cells, n_genes = by_gene.shape
    n_words = -(-n_cells // WORD)
    word_of = np.repeat(np.arange(n_genes) * n_words, np.diff(starts)) + rows // WORD
    bits = np.bincount(word_of, weights=np.exp2(rows % WORD), minlength=n_genes * n_words).astype(np.int64)
    counts = np.bincount(word_of, minlength=n_genes * n_words)
    words = (np.cumsum(counts) - counts << WORD) | bits
    return Columns(starts, rows, values, rows[order], values[order], words.reshape(n_genes, n_words))


def vote_shares(
    columns: Columns,
    labels: Ints,
    *,
    kept: Ints,
    held_out: Ints,
    n_trees: int,
    seed: int,
    balanced: bool = False,
    n_threads: int | None = None,
) -> Floats:
    """Train the forest of the paper, and let it vote on cells that it has not seen.

    Gini, √n_genes genes a split, grown until leaves are pure, bootstrap samples: scikit-learn's
    ``RandomForestClassifier(n_trees, random_state=seed)`` on ``cells[kept]``, to the last bit.

    Parameters
    ----------
    columns
        All cells, from `columns_of`.
    labels
        Class of each cell, 0 or 1.
    kept, held_out
        Rows of the cells to learn from, and of those to vote on.
    n_trees
        Number of trees, 1000 by definition: with 100 the same fold can score 0.75 where 1000 score 0.90.
    seed
        Everything random follows from it.
    balanced
        Whether cells of either class are drawn equally often (``class_weight="balanced"``).
    n_threads
        Number of threads; None for `metrics.threads.usable_threads`. It does not change the result.

    Returns
    -------
    numpy.ndarray
        Mean over trees of the probability of class 1, for each cell that is held out. Rounded, so that ties
        do not depend on the order in which trees are added up.
    """
    from metrics.trees import votes_of_trees

    seeds = np.random.RandomState(seed).randint(LARGEST_SEED, size=n_trees)
    n_drawn = max(1, int(np.sqrt(columns.starts.size - 1)))
    odds = _balanced_odds(labels[kept]) if balanced else None

    def votes(trees: Ints) -> Floats:
        states, weights = np.empty(trees.size, dtype=np.int64), np.zeros((trees.size, labels.size))
        rng = np.random.RandomState()
        for i, tree_seed in enumerate(trees):
            rng.seed(tree_seed)
            # 0 is no state: the generator would stay there.
            states[i] = rng.randint(LARGEST_SEED) or 1
            rng.seed(tree_seed)
            drawn = rng.choice(kept.size, kept.size, p=odds)
            weights[i, kept] = np.bincount(drawn, minlength=kept.size)
        return votes_of_trees(columns, labels, weights, states, held_out, n_drawn)

    total = np.zeros(held_out.size)
    with ThreadPoolExecutor(n_threads or usable_threads()) as pool:
        for batch in pool.map(votes, np.split(seeds, range(TREES_AT_ONCE, n_trees, TREES_AT_ONCE))):
            for of_tree in batch:
                total += of_tree
    return np.round(total / n_trees, 9)


def _balanced_odds(labels: Ints) -> Floats:
    weights = labels.size / (2 * np.bincount(labels, minlength=2))
    return weights[labels] / np.sum(weights[labels])
