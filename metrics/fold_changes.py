"""Do types differ by as much in synthetic cells as in real ones? Slope of log-fold changes, ideal 1.

A model that blurs types, or draws cells too near to their common mean, keeps which genes mark a type and
flattens how much: no generator in a recent comparison kept log-fold changes
(https://openreview.net/forum?id=fA0T9ujlQr). Whether simulated cells keep the signals between groups of real
ones is asked by Cao et al. 2021 (doi:10.1038/s41467-021-27130-w).

Each type against the rest, as in `metrics.differential_expression`: synthetic cells typed by the classifier
that no generator was trained with, training cells by their labels. Below 1, differences are too small; above
it, too large. Controls that draw within types keep every type's means, so that ``shuffle`` alone is a floor.
No interval: test cells only say which types are large enough.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from metrics.arrays import Floats
from metrics.by_type import types_to_score
from metrics.declaration import Metric, Score
from metrics.differential_expression import TOP_GENES, check_number_of_genes
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.marker_genes import log_fold_changes
from metrics.spaces import Space, to_linear

IDEAL = 1.0


def slope_and_correlation(x: Floats, y: Floats) -> tuple[float, float]:
    """Least-squares slope of `y` on `x`, and their correlation; both 0 if either is constant."""
    x, y = x - x.mean(), y - y.mean()
    if not x.any() or not y.any():
        return 0.0, 0.0
    return float(x @ y / (x @ x)), float(x @ y / np.sqrt((x @ x) * (y @ y)))


def fold_change_slope(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Regress log-fold changes of synthetic cells on those of training cells, for each type.

    Over the genes that are among the top 50 markers of any scored type. Types count alike. Types with fewer
    than 10 test cells are left out; a type without synthetic cells differs from nothing: its slope is 0.

    Returns
    -------
    Score
        ``fold_change_slope``, the mean over types; ``fold_change_error``, the mean over types of
        abs(slope − 1), where a type too flat does not make up for one too steep; and
        ``fold_change_correlation``.

    Raises
    ------
    NotApplicable
        With fewer than 100 genes, fewer than two types, or no type of 10 test cells.
    """
    check_number_of_genes(real)
    names, notes = types_to_score(real)
    genes = np.unique(np.concatenate([real.markers[name].genes[:TOP_GENES] for name in names]))
    # No protocol of another space has this metric.
    linear = to_linear(sample.cells, space=cast("Space", real.protocol.space))
    found = {}
    for name, changes in zip(names, log_fold_changes(linear, sample.calls, np.array(names)), strict=True):
        markers = real.markers[name]
        real_changes = np.empty_like(changes)
        real_changes[markers.genes] = markers.log_fold_changes
        slope, correlation = slope_and_correlation(real_changes[genes], changes[genes])
        found[name] = {"slope": slope, "correlation": correlation}
        if not np.any(sample.calls == name):
            notes.append(f"0 for {name}: no synthetic cells")
    slopes = np.array([of_type["slope"] for of_type in found.values()])
    values = {
        "fold_change_slope": float(slopes.mean()),
        "fold_change_error": float(np.abs(slopes - IDEAL).mean()),
        "fold_change_correlation": float(np.mean([of_type["correlation"] for of_type in found.values()])),
    }
    return Score(values, {"by_type": found}, [*sample.notes, *notes])


METRIC = Metric(
    name="fold_change_slope",
    description="slope of synthetic on real log-fold changes of marker genes, mean over types",
    compute=fold_change_slope,
    better="higher",
    ideal=IDEAL,
    bounds=(float("-inf"), float("inf")),
    reference="doi:10.1038/s41467-021-27130-w",
    cost="mean expression of each gene in each type",
    floors=("shuffle",),
    needs_types=True,
    group="biology",
)
