"""Are genes zero in as many cells as they should be? Mean difference of the share of zeros, ideal 0.

Also whether the share of zeros follows from a gene's mean as in real cells; for both see Cao et al.
2021 (doi:10.1038/s41467-021-27130-w) and Crowell et al. 2023 (doi:10.1186/s13059-023-02904-1).

No interval: in simulations a bootstrap of the test cells held what it should in 88 to 98 % of cases. A mean
of absolute differences is biased upwards, and by how much hangs on how far apart the sides are.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from metrics.arrays import Floats
from metrics.by_type import score_with_types
from metrics.declaration import NotApplicable, Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.gene_trends import trend, trend_error
from metrics.spaces import Csr


def zero_fractions(cells: Csr) -> Floats:
    """Share of the cells, from 0 to 1, in which each gene is zero.

    Parameters
    ----------
    cells
        n_cells × n_genes without stored zeros, as `metrics.spaces.as_csr` returns them.
    """
    return 1 - np.bincount(cells.indices, minlength=cells.shape[1]) / cells.shape[0]


def mean_and_zero_fraction(cells: Csr) -> tuple[Floats, Floats]:
    """Log10 of the mean, and the share of zeros, of the genes that any cell expresses."""
    means = np.asarray(cells.T @ np.ones(cells.shape[0])) / cells.shape[0]
    expressed = means > 0
    return np.log10(means[expressed]), zero_fractions(cells)[expressed]


def measure(real: Csr, synthetic: Csr) -> dict[str, float]:
    """Compare the shares of zeros of test and synthetic cells.

    Parameters
    ----------
    real, synthetic
        Cells × genes in the same space.

    Returns
    -------
    dict
        ``zero_fraction_error``: mean absolute difference over genes; ``zero_fraction_bias``: mean
        difference, above 0 where synthetic cells have more zeros; ``mean_zero_fraction_error``: distance
        of the trends over log10 mean, see `metrics.gene_trends.trend_error`; absent where too few genes
        are expressed for a trend.
    """
    difference = zero_fractions(synthetic) - zero_fractions(real)
    values = {
        "zero_fraction_error": float(np.abs(difference).mean()),
        "zero_fraction_bias": float(difference.mean()),
    }
    with suppress(NotApplicable):
        trends = mean_and_zero_fraction(real), mean_and_zero_fraction(synthetic)
        values["mean_zero_fraction_error"] = trend_error(*trends)
    return values


def _compute(real: RealEvidence, sample: SampleEvidence) -> Score:
    score = score_with_types(
        real, sample, lambda rows, made: measure(real.test_cells[rows], sample.cells[made]), worst=1.0
    )
    with suppress(NotApplicable):
        score.details.update(real=_trend(real.test_cells), synthetic=_trend(sample.cells))
    return score


def _trend(cells: Csr) -> dict[str, list[float]]:
    means, zeros = trend(*mean_and_zero_fraction(cells))
    return {"log10_mean": means.tolist(), "zero_fraction": zeros.tolist()}


METRIC = error_metric(
    name="zero_fraction_error",
    description="difference of the share of cells in which a gene is zero, mean over genes",
    compute=_compute,
    bounds=(0.0, 1.0),
    reference="doi:10.1186/s13059-023-02904-1",
    cost="one count of all non-zero values, once more for the types",
    # Shuffled genes keep their zeros. Poisson counts have too few.
    floors=("poisson",),
    group="marginals",
)
