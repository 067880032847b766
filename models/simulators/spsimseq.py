"""Semi-parametric marginals and a Gaussian copula of each type: the idea of SPsimSeq (Assefa 2020)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, diags_array
from scipy.special import ndtr

from models.base import GeneratorError
from models.baselines.nb_copula import shrunk_correlations
from models.baselines.shared import Parameters, library_sizes, reciprocal
from models.simulators.shared import Floats, Simulator, draw_sizes, learn_sizes

MILLION = 1e6
N_BINS = 20
DEGREE = 4
FEWEST_VALUES = 20
FEWEST_CELLS = 10
LEAST_SHARE = 0.2
N_NEWTON = 30
RIDGE = 1e-6
MOST_EXPONENT = 50.0


class SPsimSeq(Simulator):
    """Log-linear densities of log counts per million, correlated within each type through a Gaussian copula.

    Positive log(1 + CPM) of each gene of each type fall into 20 bins of equal width; their density is a
    normal one, the carrier, times exp of a polynomial of degree 4, whose coefficients Lindsey's method finds
    as those of a Poisson regression of the bins' counts (source, section 2.1; Efron & Tibshirani, Ann. Stat.
    24 (1996), 2431). A gene with fewer than 20 positive values keeps the carrier. Zeros are apart, with their
    share in the type; the source's option to let that share follow the library size is left out. The genes
    seen in more than a fifth of the type's cells follow a Gaussian copula with the correlations of log(1 +
    CPM), shrunk as Ledoit & Wolf (2004) propose; the others are independent, as are all genes of a type with
    fewer than 10 cells. Values become counts at a library size from its kernel estimate, rounded, at least 1
    where they are positive.

    Assefa et al., Bioinformatics 36 (2020), 3276.

    Parameters
    ----------
    maximum_genes
        Largest number of genes of a type that are correlated: the most widely seen ones.

    Raises
    ------
    GeneratorError
        If `maximum_genes` is below 1.
    """

    name = "spsimseq"
    framework = "scipy"
    paper = "doi:10.1093/bioinformatics/btaa105"

    def __init__(self, *, maximum_genes: int = 1000) -> None:
        if maximum_genes < 1:
            raise GeneratorError(f"maximum_genes is {maximum_genes}; give at least 1")
        self.maximum_genes = maximum_genes

    def _learn_type(self, counts: csr_matrix, rng: np.random.Generator) -> Parameters:
        logged = csr_matrix(diags_array(MILLION * reciprocal(library_sizes(counts))) @ counts)
        logged.data = np.log1p(logged.data)
        columns = logged.tocsc()
        seen = np.diff(columns.indptr) / counts.shape[0]
        edges, reached = log_linear_marginals(columns)
        widest = np.argsort(-seen, kind="stable")[: self.maximum_genes]
        genes = np.sort(widest[seen[widest] > LEAST_SHARE])
        if counts.shape[0] < FEWEST_CELLS:
            genes = genes[:0]
        scores = logged[:, genes]
        # A gene with one and the same value in every cell has no correlation.
        deviates = (
            np.asarray(scores.multiply(scores).mean(axis=0) - np.square(scores.mean(axis=0))).ravel() > 1e-12
        )
        genes = genes[deviates]
        correlations, _ = shrunk_correlations(logged[:, genes])
        values, vectors = np.linalg.eigh(correlations)
        factor = vectors * np.sqrt(np.maximum(values, 0))
        return learn_sizes(counts) | {
            "seen": seen,
            "edges": edges.astype(np.float32),
            "reached": reached.astype(np.float32),
            "genes": genes,
            "factor": (factor / np.linalg.norm(factor, axis=1, keepdims=True)).astype(np.float32),
        }

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        known = self._known(cell_type)
        seen, factor = known["seen"], known["factor"]
        ranks = rng.random((n_cells, seen.size))
        noise = rng.standard_normal((n_cells, factor.shape[1]), dtype=np.float32)
        ranks[:, known["genes"]] = ndtr(noise @ factor.T)
        cells, genes = np.nonzero(ranks > 1 - seen)
        within = (ranks[cells, genes] - (1 - seen[genes])) / seen[genes]
        logged = quantiles(known["edges"], known["reached"], genes, within)
        sizes = draw_sizes(known, n_cells, rng)[cells]
        values = np.maximum(np.rint(np.expm1(logged) * sizes / MILLION), sizes > 0)
        counts = csr_matrix((values.astype(np.float32), (cells, genes)), ranks.shape)
        counts.eliminate_zeros()
        return counts


def log_linear_marginals(columns: csr_matrix) -> tuple[Floats, Floats]:
    """Fit the density of each gene's positive values by Lindsey's method.

    Parameters
    ----------
    columns
        n_cells × n_genes, CSC, no value stored that is 0.

    Returns
    -------
    edges, reached
        n_genes × 2, the least and the largest value, between which the 20 bins lie; n_genes × 21, the
        distribution function at the edges of the bins. Zeros where a gene has no value.
    """
    n_genes, per_gene = columns.shape[1], np.diff(columns.indptr)
    gene = np.repeat(np.arange(n_genes), per_gene)
    edges = np.zeros((n_genes, 2))
    edges[:, 0] = np.inf
    np.minimum.at(edges[:, 0], gene, columns.data)
    np.maximum.at(edges[:, 1], gene, columns.data)
    edges[per_gene == 0] = 0
    width = edges[:, 1] - edges[:, 0]
    # A gene with a single value has bins of no width, all of them that value.
    position = (columns.data - edges[gene, 0]) * reciprocal(width)[gene]
    bins = np.minimum((position * N_BINS).astype(np.int64), N_BINS - 1)
    observed = np.bincount(gene * N_BINS + bins, minlength=n_genes * N_BINS).reshape(n_genes, N_BINS)
    middles = (np.arange(N_BINS) + 0.5) / N_BINS
    mean = np.bincount(gene, position, minlength=n_genes) * reciprocal(per_gene.astype(np.float64))
    square = np.bincount(gene, position**2, minlength=n_genes) * reciprocal(per_gene.astype(np.float64))
    variance = np.maximum(square - mean**2, (0.5 / N_BINS) ** 2)
    carrier = -((middles - mean[:, None]) ** 2) / (2 * variance[:, None])
    logs = carrier.copy()
    fitted = per_gene >= FEWEST_VALUES
    logs[fitted] = lindsey(observed[fitted].astype(np.float64), carrier[fitted])
    density = np.exp(logs - logs.max(axis=1, keepdims=True))
    reached = np.zeros((n_genes, N_BINS + 1))
    reached[:, 1:] = np.cumsum(density, axis=1) / density.sum(axis=1, keepdims=True)
    reached[:, -1] = 1
    return edges, reached


def lindsey(observed: Floats, carrier: Floats) -> Floats:
    """Regress counts of bins on a polynomial of degree 4 of their middles, Poisson, for many genes at once.

    Newton's method on orthogonal polynomials, with a ridge of 1e-6 that keeps the outer coefficients of genes
    with empty bins finite.

    Parameters
    ----------
    observed, carrier
        n_genes × n_bins each: counts, and the logarithm of the carrier density, the regression's offset.

    Returns
    -------
    numpy.ndarray
        n_genes × n_bins, the logarithm of the expected counts.
    """
    middles = np.linspace(-1, 1, observed.shape[1])
    design, _ = np.linalg.qr(np.vander(middles, DEGREE + 1, increasing=True))
    design *= np.sign(design[0])
    total = observed.sum(axis=1, keepdims=True)
    # Counts of all bins are right from the start: the constant is that of the carrier alone.
    offset = carrier + np.log(total) - np.log(np.exp(carrier).sum(axis=1, keepdims=True))
    logs, coefficients = offset, np.zeros((len(observed), DEGREE + 1))
    for _ in range(N_NEWTON):
        expected = np.exp(np.minimum(logs, MOST_EXPONENT))
        slope = (observed - expected) @ design - RIDGE * coefficients
        bend = np.einsum("gb,bi,bj->gij", expected, design, design) + RIDGE * np.eye(DEGREE + 1)
        step = np.linalg.solve(bend, slope[..., None])[..., 0]
        moved = step @ design.T
        # No bin changes by more than a factor e at once.
        step *= np.minimum(1, 1 / np.maximum(np.abs(moved).max(axis=1), 1e-12))[:, None]
        coefficients = coefficients + step
        logs = offset + coefficients @ design.T
    return logs


def quantiles(edges: Floats, reached: Floats, genes: np.ndarray, ranks: Floats) -> Floats:
    """Return the values below which the shares `ranks` of their genes' values lie; linear within bins.

    Parameters
    ----------
    edges, reached
        Range of the values and distribution function of each gene, from `log_linear_marginals`.
    genes, ranks
        Gene and rank of each value.
    """
    # Distribution functions end to end, one unit each: one search finds all bins.
    steps = (reached[:, 1:-1] + np.arange(len(reached))[:, None]).ravel()
    bins = np.searchsorted(steps, ranks + genes) - genes * (N_BINS - 1)
    bins = np.clip(bins, 0, N_BINS - 1)
    below, above = reached[genes, bins], reached[genes, bins + 1]
    share = np.divide(ranks - below, above - below, out=np.full(ranks.shape, 0.5), where=above > below)
    position = (bins + np.clip(share, 0, 1)) / N_BINS
    return edges[genes, 0] + position * (edges[genes, 1] - edges[genes, 0])
