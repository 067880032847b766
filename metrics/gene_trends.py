"""Does a gene's variance follow from its mean as in real cells? Distance between two trends, ideal 0.

Whether simulated genes keep the relations of mean, variance and share of zeros is how Cao et al. 2021
(doi:10.1038/s41467-021-27130-w) and Crowell et al. 2023 (doi:10.1186/s13059-023-02904-1) judge
simulators. Here the trends are medians of bins of equally many genes, so nothing has to be fitted.

No control is a floor: which one loses the bond of mean and variance hangs on the data. Poisson counts are off
where cells of a type vary (Kang 2018), but not where they hardly do (Zheng 2017); shuffled genes the other
way round.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Floats, Ints
from metrics.by_type import score_with_types
from metrics.declaration import NotApplicable, Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.spaces import Csr

BINS = 20
GENES_PER_BIN = 5


def gene_moments(cells: Csr) -> tuple[Floats, Floats]:
    """Compute mean and variance of each gene over cells; the variance with n - 1, exactly 0 if constant.

    Parameters
    ----------
    cells
        n_cells × n_genes, at least 2 cells.
    """
    from scipy.sparse import csc_array

    n_cells, n_genes = cells.shape
    by_gene = csc_array(cells, dtype=np.float64)
    n_stored = np.diff(by_gene.indptr)
    genes = np.repeat(np.arange(n_genes), n_stored)
    means = np.bincount(genes, weights=by_gene.data, minlength=n_genes) / n_cells
    squares = np.bincount(genes, weights=(by_gene.data - means[genes]) ** 2, minlength=n_genes)
    return means, (squares + (n_cells - n_stored) * means**2) / (n_cells - 1)


def trend(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Compute the medians of `x` and of `y` in up to 20 bins of genes that are neighbours along `x`.

    Parameters
    ----------
    x, y
        A number of each gene; the order of genes does not matter.

    Returns
    -------
    tuple
        Medians of `x`, ascending, and of `y`.

    Raises
    ------
    NotApplicable
        With fewer than 5 genes, which fill no bin.
    """
    n_bins = min(BINS, x.size // GENES_PER_BIN)
    if n_bins == 0:
        raise NotApplicable(f"only {x.size} genes vary over the cells; a trend needs {GENES_PER_BIN}")
    bins = np.array_split(np.lexsort((y, x)), n_bins)
    at, found = (np.array([np.median(values[genes]) for genes in bins]) for values in (x, y))
    return at, found


def trend_error(real: tuple[Floats, Floats], synthetic: tuple[Floats, Floats]) -> float:
    """Mean absolute distance between two trends at the real genes' places along x.

    Between medians the trends are straight lines, beyond the outermost ones they are level.

    Parameters
    ----------
    real, synthetic
        x and y of the genes on either side; they need not be the same genes.

    Raises
    ------
    NotApplicable
        As for `trend`.
    """
    at = real[0]
    return float(np.abs(np.interp(at, *trend(*synthetic)) - np.interp(at, *trend(*real))).mean())


def mean_and_variance(cells: Csr) -> tuple[Floats, Floats]:
    """Log10 of the mean and of the variance of the genes that are not constant.

    Raises
    ------
    NotApplicable
        With fewer than 2 cells.
    """
    if cells.shape[0] < 2:
        raise NotApplicable(f"{cells.shape[0]} cells have no variance")
    means, variances = gene_moments(cells)
    varies = variances > 0
    return np.log10(means[varies]), np.log10(variances[varies])


def _compute(real: RealEvidence, sample: SampleEvidence) -> Score:
    def measure(rows: Ints, made: Ints) -> dict[str, float]:
        pair = mean_and_variance(real.test_cells[rows]), mean_and_variance(sample.cells[made])
        return {"mean_variance_error": trend_error(*pair)}

    score = score_with_types(real, sample, measure, against_all=True)
    sides = {"real": real.test_cells, "synthetic": sample.cells}
    for name, cells in sides.items():
        means, variances = trend(*mean_and_variance(cells))
        score.details[name] = {"log10_mean": means.tolist(), "log10_variance": variances.tolist()}
    return score


METRIC = error_metric(
    name="mean_variance_error",
    description="mean distance between the trends of log10 variance over log10 mean of genes",
    compute=_compute,
    reference="doi:10.1186/s13059-023-02904-1",
    cost="two passes over all non-zero values, once more for the types",
    group="marginals",
)
