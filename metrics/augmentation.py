"""Do synthetic cells of a rare type help a classifier to find it? F1 on held-out real cells, ideal 1.

Heydari et al. 2022 (doi:10.1093/bioinformatics/btac095), section 5.5 and figure 6.

The classifier of augmented cells weighs classes inversely to their size. Two of the baselines add
no cells and differ in just that: ``none`` has no weights, ``class_weights`` has them. No control is a floor:
none is retrained on fewer cells, and what must be beaten are these baselines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from metrics.arrays import Bools, Strings
from metrics.declaration import LEAST_CELLS, NotApplicable, Score, require_cells, share_metric
from metrics.forest import columns_of, vote_shares
from metrics.resampling import bootstrap_weights, shifted_percentile_interval
from metrics.seeds import derived_seed
from metrics.spaces import CellMatrix, Csr, as_csr, to_log_cp20k
from metrics.synthetic_cells import SyntheticCells

SMOTE_NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class AugmentationSetting:
    """The classification task that added cells are to help with.

    Parameters
    ----------
    train_counts
        Training cells × genes: the few kept cells of the type and all others.
    train_types
        Label of each training cell.
    test_counts, test_types
        Held-out real cells × genes and their labels.
    cell_type
        The type to be found.
    seed
        Everything random follows from it; the forest's trees are the same for all ways to augment.
    """

    train_counts: CellMatrix
    train_types: Sequence[str] | Strings
    test_counts: CellMatrix
    test_types: Sequence[str] | Strings
    cell_type: str
    seed: int

    @cached_property
    def is_type(self) -> Bools:
        """Which training cells are of the type."""
        return np.asarray(self.train_types, dtype=str) == self.cell_type

    @cached_property
    def is_type_in_test(self) -> Bools:
        """Which held-out cells are of the type."""
        return np.asarray(self.test_types, dtype=str) == self.cell_type

    @cached_property
    def log_train(self) -> Csr:
        """Training cells × genes, ``log_cp20k``."""
        return to_log_cp20k(self.train_counts, space="counts")

    @cached_property
    def log_test(self) -> Csr:
        """Held-out cells × genes, ``log_cp20k``."""
        return to_log_cp20k(self.test_counts, space="counts")


def augmentation_f1(
    setting: AugmentationSetting,
    added: Csr | None,
    *,
    balanced: bool = True,
    n_trees: int = 1000,
    n_threads: int | None = None,
) -> Score:
    """Train type against rest with `added` cells of the type, and score it on the held-out cells.

    Parameters
    ----------
    setting
        The cells and the type of the experiment.
    added
        Cells of the type × genes, ``log_cp20k``; None to add none.
    balanced
        Whether classes weigh alike; not only for the baseline ``none``.
    n_trees, n_threads
        See `metrics.forest.vote_shares`.

    Returns
    -------
    Score
        ``augmentation_f1`` at a threshold of one half, and ``average_precision``, which no change of
        the prior moves; with the interval of the former.

    Raises
    ------
    NotApplicable
        If training or held-out cells are all, or none, of the type, or fewer than 10 held-out ones are.
    """
    from scipy.sparse import vstack
    from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

    n_held_out = int(setting.is_type_in_test.sum())
    require_cells("augmentation_f1", n_held_out, LEAST_CELLS, of=f"held-out cells of {setting.cell_type}")
    for part, mask in (("training", setting.is_type), ("held-out", setting.is_type_in_test)):
        if mask.all() or not mask.any():
            raise NotApplicable(f"{int(mask.sum())} of {mask.size} {part} cells are {setting.cell_type}")
    n_added = 0 if added is None else added.shape[0]
    cells = setting.log_train if added is None else vstack([setting.log_train, added], format="csr")
    labels = np.append(setting.is_type, np.ones(n_added, dtype=bool))
    share = vote_shares(
        columns_of(vstack([cells, setting.log_test], format="csr")),
        np.append(labels, setting.is_type_in_test).astype(np.int64),
        kept=np.arange(labels.size),
        held_out=np.arange(labels.size, labels.size + setting.is_type_in_test.size),
        n_trees=n_trees,
        seed=derived_seed(setting.seed, "augmentation forest"),
        balanced=balanced,
        n_threads=n_threads,
    )
    truth, called = setting.is_type_in_test, share > 0.5
    return Score(
        values={
            "augmentation_f1": float(f1_score(truth, called, zero_division=0)),
            "average_precision": float(average_precision_score(truth, share)),
        },
        details={
            "precision": float(precision_score(truth, called, zero_division=0)),
            "recall": float(recall_score(truth, called, zero_division=0)),
            "kept_cells": int(setting.is_type.sum()),
            "added_cells": n_added,
            "held_out_cells_of_type": int(truth.sum()),
        },
        interval=_f1_interval(truth, called, seed=derived_seed(setting.seed, "augmentation interval")),
    )


def _f1_interval(truth: Bools, called: Bools, *, seed: int) -> tuple[float, float]:
    """Bootstrap a 95 % interval of F1 over the held-out cells, as many of the type in each resample."""
    weights = bootstrap_weights(truth.size, seed=seed, strata=truth.astype(np.int64))
    hits, errors = weights @ (truth & called), weights @ (truth != called)
    observed = 2 * np.sum(truth & called) / (2 * np.sum(truth & called) + np.sum(truth != called))
    low, high = shifted_percentile_interval(2 * hits / (2 * hits + errors), observed=float(observed))
    return max(0.0, low), min(1.0, high)


def duplicated(setting: AugmentationSetting, n_added: int) -> Csr:
    """Kept cells of the type, drawn with replacement; ``log_cp20k``."""
    rng = np.random.default_rng(derived_seed(setting.seed, "duplication"))
    return setting.log_train[rng.choice(np.flatnonzero(setting.is_type), n_added)]


def interpolated(setting: AugmentationSetting, n_added: int) -> Csr:
    """Points between a kept cell and one of its five nearest kept neighbours (SMOTE); ``log_cp20k``.

    Chawla et al. 2002 (doi:10.1613/jair.953). A single kept cell is its own neighbour.
    """
    from scipy.sparse import csr_array, diags_array
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(derived_seed(setting.seed, "smote"))
    kept = setting.log_train[np.flatnonzero(setting.is_type)]
    n_kept = kept.shape[0]
    n_neighbours = min(SMOTE_NEIGHBOURS, n_kept - 1)
    start = rng.integers(n_kept, size=n_added)
    if n_neighbours == 0:
        return kept[start]
    neighbours = NearestNeighbors(n_neighbors=n_neighbours).fit(kept).kneighbors(return_distance=False)
    end = neighbours[start, rng.integers(n_neighbours, size=n_added)]
    way = diags_array(rng.random(n_added))
    return csr_array(kept[start] + way @ (kept[end] - kept[start]), dtype=np.float32)


def poisson_counts(setting: AugmentationSetting, n_added: int) -> Csr:
    """Draw counts around kept cells: each a Poisson variable with the kept cell's count as its mean."""
    rng = np.random.default_rng(derived_seed(setting.seed, "poisson jitter"))
    chosen = as_csr(setting.train_counts)[rng.choice(np.flatnonzero(setting.is_type), n_added)]
    chosen.data = rng.poisson(chosen.data).astype(np.float32)
    return as_csr(chosen)


def augmentation_baselines(
    setting: AugmentationSetting, *, n_added: int, n_trees: int = 1000, n_threads: int | None = None
) -> dict[str, Score]:
    """Score what needs no generator: nothing, class weights, duplicates, interpolation, Poisson jitter.

    Parameters
    ----------
    setting
        The cells and the type of the experiment.
    n_added
        Number of cells to add, as many as the generators add.
    n_trees, n_threads
        See `metrics.forest.vote_shares`.

    Returns
    -------
    dict
        `Score` by the name of the augmenter: ``none``, ``class_weights``, ``duplication``, ``smote``,
        ``poisson_jitter``.

    Raises
    ------
    NotApplicable
        As for `augmentation_f1`.
    """

    def score(added: Csr | None, *, balanced: bool = True) -> Score:
        return augmentation_f1(setting, added, balanced=balanced, n_trees=n_trees, n_threads=n_threads)

    # The first score also checks that there are kept cells to build the others from.
    return {
        "none": score(None, balanced=False),
        "class_weights": score(None),
        "duplication": score(duplicated(setting, n_added)),
        "smote": score(interpolated(setting, n_added)),
        "poisson_jitter": score(to_log_cp20k(poisson_counts(setting, n_added), space="counts")),
    }


def _compute(setting: AugmentationSetting, sample: SyntheticCells) -> Score:
    return replace(augmentation_f1(setting, sample.cells), notes=sample.notes)


METRIC = share_metric(
    name="augmentation_f1",
    description="F1 on held-out cells of a rare type, learnt from few real cells and added synthetic ones",
    compute=_compute,
    reference="doi:10.1093/bioinformatics/btac095",
    cost="a retrained generator, and one forest of 1000 trees",
    experiment="augmentation",
    needs_types=True,
    # It compares trainings on the same cells, always all genes in log_cp20k.
    protocols=("strict",),
    default=True,
)
