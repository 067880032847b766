"""What the field prints since 2025, after the evaluation that CFGen's authors published: means over types.

Within each type that cells are labelled with: the squared maximum mean discrepancy under five Gaussians of
fixed widths, and Wasserstein distances (`metrics.optimal_transport`), both on 30 principal components of the
real test cells; then the plain mean over types. Under ``cfgen2025`` the synthetic cells are projected as they
were until the authors' commit ``dff2259`` of 26 July 2026, without subtracting the real cells' means first:
they lie elsewhere than real cells, and empty ones at the origin. ``cfgen2026`` is the evaluation as mended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from metrics.accelerator import squared_distances
from metrics.arrays import Floats, Strings
from metrics.declaration import NotApplicable, Score
from metrics.evidence import RealEvidence, SampleEvidence

SIGMAS: Final = (0.01, 0.1, 1.0, 10.0, 100.0)
FEWEST_OF_TYPE: Final = 2


def five_gaussians(left: Floats, right: Floats) -> Floats:
    """Sum of five Gaussians exp(−‖a−b‖²/2σ²), σ ∈ {0.01, 0.1, 1, 10, 100}.

    Parameters
    ----------
    left, right
        n × n_components and m × n_components.

    Returns
    -------
    numpy.ndarray
        n × m, values between 0 and 5.
    """
    squared = squared_distances(left, right)
    return np.asarray(sum(np.exp(squared / (-2 * sigma**2)) for sigma in SIGMAS))


def mmd2(real: Floats, synthetic: Floats) -> float:
    """Squared discrepancy, biased (V-statistic), of the first cells of either, as many as the fewer.

    Parameters
    ----------
    real, synthetic
        n × n_components and m × n_components, neither without cells.
    """
    n = min(len(real), len(synthetic))
    pairs = ((real[:n], real[:n]), (synthetic[:n], synthetic[:n]), (real[:n], synthetic[:n]))
    of_real, of_synthetic, across = (float(five_gaussians(*pair).mean()) for pair in pairs)
    return max(0.0, of_real + of_synthetic - 2 * across)


def mean_over_types(
    distance: Callable[[Floats, Floats], float],
    real: tuple[Floats, Strings],
    synthetic: tuple[Floats, Strings],
) -> tuple[float, dict[str, float], list[str]]:
    """Measure each type that has two cells or more on both sides, and take the plain mean.

    Parameters
    ----------
    distance
        Function that takes the real and the synthetic cells of a type and returns their distance.
    real, synthetic
        Places of the cells, n_cells × n_components, and their labels.

    Returns
    -------
    mean, by_type, notes
        The mean; the distance of each type; a line for each type that is left out.

    Raises
    ------
    NotApplicable
        If no type has two cells on both sides.
    """
    (real_places, real_types), (places, types) = real, synthetic
    by_type, notes = {}, []
    for name in np.union1d(real_types, types).tolist():
        of_type = real_places[real_types == name], places[types == name]
        if min(map(len, of_type)) >= FEWEST_OF_TYPE:
            by_type[name] = distance(*of_type)
        else:
            notes.append(f"left out {name}: {len(of_type[0])} test and {len(of_type[1])} synthetic cells")
    if not by_type:
        raise NotApplicable(f"no cell type has {FEWEST_OF_TYPE} cells on both sides")
    return float(np.mean(list(by_type.values()))), by_type, notes


def score_over_types(
    name: str,
    distance: Callable[[Floats, Floats], float],
    real: RealEvidence,
    sample: SampleEvidence,
) -> Score:
    """Score a sample under a protocol whose metrics are means over types.

    Parameters
    ----------
    name
        Name of the metric.
    distance
        Function that takes the real and the synthetic cells of a type and returns their distance.
    real, sample
        Evidence of the real cells and of the sample.

    Raises
    ------
    NotApplicable
        If either side has no labels, or no type has two cells on both sides.
    """
    test_types, types = real.test_types, sample.cell_types
    if test_types is None or types is None:
        side = "test" if test_types is None else "synthetic"
        raise NotApplicable(f"{real.protocol.name} is a mean over types, and the {side} cells have none")
    sides = (real.pca_scores, test_types), (sample.pca_scores, types)
    mean, by_type, notes = mean_over_types(distance, *sides)
    return Score({name: mean}, {"by_type": by_type}, [*sample.notes, *real.pca_notes, *notes])
