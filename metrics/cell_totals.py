"""Do cells keep their depth? Distributions of library size and of the number of expressed genes.

Both are what Cao et al. 2021 (doi:10.1038/s41467-021-27130-w) and Crowell et al. 2023
(doi:10.1186/s13059-023-02904-1) look at first in simulated cells.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from metrics.arrays import Floats, Ints
from metrics.by_type import score_with_types
from metrics.declaration import NotApplicable, Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.near_share import percentiles
from metrics.resampling import bootstrap_interval
from metrics.seeds import derived_seed
from metrics.spaces import library_sizes

REPLICATES = 200


def relative_wasserstein(real: Floats, synthetic: Floats) -> float:
    """1-Wasserstein distance of two samples of numbers, in units of the mean of the real ones.

    Parameters
    ----------
    real, synthetic
        A number of each cell, none below 0.

    Raises
    ------
    NotApplicable
        If all real numbers are 0.

    Examples
    --------
    Each number is 10 too large, beside a mean of 20:

    >>> import numpy as np
    >>> from metrics.cell_totals import relative_wasserstein
    >>> relative_wasserstein(np.array([10, 30]), np.array([40, 20]))
    0.5
    """
    from scipy.stats import wasserstein_distance

    mean = real.mean()
    if mean == 0:
        raise NotApplicable("all test cells are all zero")
    return float(wasserstein_distance(real, synthetic) / mean)


def _score(
    real: RealEvidence, sample: SampleEvidence, totals: Floats, synthetic_totals: Floats, what: str
) -> Score:
    from scipy.stats import ks_2samp

    def measure(rows: Ints, made: Ints) -> dict[str, float]:
        return {
            f"{what}_wasserstein": relative_wasserstein(totals[rows], synthetic_totals[made]),
            f"{what}_ks": float(ks_2samp(totals[rows], synthetic_totals[made]).statistic),
        }

    ascending = np.sort(totals)
    interval = bootstrap_interval(
        lambda rows: relative_wasserstein(ascending[rows], synthetic_totals),
        totals.size,
        seed=derived_seed(real.seed, what),
        replicates=REPLICATES,
    )
    score = score_with_types(real, sample, measure, interval=interval, against_all=True)
    score.values[f"{what}_ratio"] = float(synthetic_totals.mean() / totals.mean())
    score.details.update(percentiles(totals, synthetic_totals))
    return score


def _library_size(real: RealEvidence, sample: SampleEvidence) -> Score:
    if sample.space != "counts":
        raise NotApplicable(f"{sample.space} has no library sizes of its own; see library_size_error")
    score = _score(real, sample, library_sizes(real.test_counts), sample.library_sizes, "library_size")
    score.values["fractional_values"] = sample.fractional_share
    return score


def _genes_per_cell(real: RealEvidence, sample: SampleEvidence) -> Score:
    test, synthetic = (np.diff(cells.indptr).astype(np.float64) for cells in (real.test_cells, sample.cells))
    return _score(real, sample, test, synthetic, "genes_per_cell")


_metric = partial(
    error_metric,
    reference="doi:10.1186/s13059-023-02904-1",
    # A sum, or a number, of genes drawn independently hardly varies from cell to cell.
    floors=("shuffle", "shuffle_within_type"),
    group="marginals",
    # A number of each cell: two cells have a distribution of it.
    least_cells=2,
)

LIBRARY_SIZE = _metric(
    name="library_size_wasserstein",
    description="1-Wasserstein distance of library sizes, in units of the test cells' mean library size",
    compute=_library_size,
    cost="one sum of each cell",
    # Sums over some of the genes are no library sizes.
    protocols=("strict", "activa2022"),
)

GENES_PER_CELL = _metric(
    name="genes_per_cell_wasserstein",
    description="1-Wasserstein distance of expressed genes per cell, in units of the test cells' mean number",
    compute=_genes_per_cell,
    cost="one count of each cell",
)
