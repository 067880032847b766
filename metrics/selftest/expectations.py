"""Which metrics must answer which ladder. A metric that is not named may answer or not: that is measured.

Metrics of other distributions are run and reported, without expectations.
"""

from __future__ import annotations

from metrics.declaration import Metric

MUST_ANSWER: dict[str, tuple[str, ...]] = {
    # Not gene_correlation_error: chance alone makes most of it at some hundred cells. And where half of the
    # genes keep their cell's depth, normalising makes correlations that no real cell has: 50 % can be worse
    # than 100 %. Nor rf_auc_by_type: a type's cells are too few.
    "lost_correlations": ("rf_auc", "mmd", "library_size_wasserstein", "genes_per_cell_wasserstein"),
    "wrong_zeros": (
        "rf_auc",
        "rf_auc_by_type",
        "mmd",
        "sliced_wasserstein",
        "gene_wasserstein",
        "zero_fraction_error",
        "mean_variance_error",
        "genes_per_cell_wasserstein",
        "cell_correlation_error",
    ),
    # Some per cent of the cells are lost here: below what chance does to any headline.
    "lost_rare_type": ("scarcest_type",),
    "lost_common_type": ("type_tv", "mmd", "sliced_wasserstein", "wasserstein2", "wasserstein1"),
    "copied_cells": ("c_t", "authenticity", "near_share", "copied_share", "duplicates"),
    "repeated_cells": ("coverage", "gene_correlation_error"),
    "shallow_cells": (
        "rf_auc",
        "mmd",
        "precision",
        "density",
        "wasserstein2",
        "wasserstein1",
        "zero_fraction_error",
        "mean_variance_error",
        "library_size_wasserstein",
        "genes_per_cell_wasserstein",
    ),
    "wrong_library_size": ("library_size_error",),
    # Not rf_auc: prototypes are held out with all their copies, so that it lands anywhere.
    "collapsed_modes": (
        "mmd",
        "cd",
        "recall",
        "coverage",
        "mixing",
        "sliced_wasserstein",
        "wasserstein2",
        "wasserstein1",
        "gene_wasserstein",
        "gene_correlation_error",
        "cell_correlation_error",
        "type_tv",
        "de_overlap",
        "fold_change_slope",
        "tstr_f1",
    ),
}
"""Ladder → metrics that must answer it with a monotone ``worse``."""

MUST_NOT_ANSWER: dict[str, tuple[str, ...]] = {
    "wrong_library_size": (
        "rf_auc",
        "rf_auc_by_type",
        "mmd",
        "sliced_wasserstein",
        "wasserstein2",
        "wasserstein1",
        "gene_wasserstein",
        "zero_fraction_error",
        "genes_per_cell_wasserstein",
    )
}
"""Ladder → metrics that cannot see it, because ``strict`` rescales cells to one library size."""


NEEDS_CELLS = {"lost_correlations": 300, "lost_rare_type": 300, "repeated_cells": 300}
"""Ladder → cells a side below which its answers drown in chance."""

COSTLY = ("rf_auc_by_type",)
"""Metrics that climb no ladder for curiosity's sake."""


def expected(metric: str, ladder: str, *, n_cells: int) -> str | None:
    """Return the answer that a metric must give to a ladder, or None where there is no expectation."""
    if n_cells < NEEDS_CELLS.get(ladder, 0):
        return None
    if metric in MUST_ANSWER[ladder]:
        return "worse"
    return "none" if metric in MUST_NOT_ANSWER.get(ladder, ()) else None


def asked_about(metric: Metric, ladder: str) -> bool:
    """Return whether a metric climbs a ladder: any does, but what is costly only where it must."""
    named = metric.name in (*MUST_ANSWER[ladder], *MUST_NOT_ANSWER.get(ladder, ()))
    return named or metric.name not in COSTLY
