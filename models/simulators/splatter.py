"""The Splat simulation of Splatter (Zappia 2017): Gamma means, outliers, trended variation, dropout."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import digamma, expit, gammainc, polygamma

from models.baselines.shared import BLOCK, Parameters, library_sizes
from models.simulators.shared import Floats, Simulator, excess_variance, mean_shares

WINSORISED = 0.1
MADS = 2
MAD_OF_NORMAL = 1.4826
LEAST_DROPOUT = 0.02
FEWEST_GENES = 10
MOST_NOISE = 0.25
MOST_COMMON = 10.0
N_HALVINGS = 50
BLOCK_OF_GENES = 256


class Splatter(Simulator):
    """Gamma-Poisson counts whose parameters are Splatter's, estimated for each type apart.

    Gene means are Gamma, fitted to the winsorised means of the type's genes; log-normal factors times the
    median make some of them outliers. Library sizes are log-normal. A gene's mean m in a cell varies by the
    biological coefficient of variation (φ + 1/√m) √(d/χ²_d), where χ²_d is one value for each gene; counts
    are Poisson. Dropout turns a count into 0 with a probability logistic in log m. (Source: methods, "The
    Splat simulation model" and "Splat estimation".) The simulated means of a type are given to its genes by
    rank, and genes that the type's cells never show stay silent, so that genes keep their names.

    As in the source are the winsorised Gamma fit by the distance of Cramér and von Mises, outliers beyond two
    median absolute deviations above the median log mean, the log-normal fit and dropout's logistic
    through the shares of zeros. Instead of edgeR's estimates and the linear correction (0.1 + 0.25 φ) that
    they need under this trend, φ and d are those under which the genes' excess variances follow the model
    itself: by the two moments of their logarithms, as Smyth's prior (Stat. Appl. Genet. Mol. Biol. 3 (2004),
    3), which edgeR uses.

    Parameters
    ----------
    dropout
        ``"off"``, as in the source, or ``"fitted"``: on in each type whose share of zeros is more than 0.02
        above that of cells simulated without it.
    """

    name = "splatter"
    framework = "scipy"
    libraries = ("scipy.optimize",)
    paper = "doi:10.1186/s13059-017-1305-0"

    def __init__(self, *, dropout: Literal["off", "fitted"] = "off") -> None:
        self.dropout = dropout

    def _learn_type(self, counts: csr_matrix, rng: np.random.Generator) -> Parameters:
        sizes, n_genes = library_sizes(counts), counts.shape[1]
        expressed = np.flatnonzero(counts.sum(axis=0))
        known: Parameters = {
            "library": np.zeros(3),
            "means": np.zeros(n_genes),
            "variation": np.ones(n_genes),
        }
        if not expressed.size:
            return known
        positive = np.log(sizes[sizes > 0])
        known["library"] = np.array([positive.mean(), positive.std(), np.mean(sizes > 0)])
        means = normalised_means(counts[:, expressed], sizes)
        known["mean_fit"], known["outlier_fit"] = fit_means(means), fit_outliers(means)
        common, freedom = fit_variation(counts[:, expressed])
        known["variation_fit"] = np.array([common, freedom])
        simulated = draw_means(known["mean_fit"], known["outlier_fit"], expressed.size, rng)
        # The smallest simulated mean belongs to the gene of the smallest real one, and so on.
        known["means"][expressed[np.argsort(means, kind="stable")]] = np.sort(simulated)
        if np.isfinite(freedom):
            known["variation"] = freedom / rng.chisquare(freedom, n_genes)
        if self.dropout == "fitted":
            zeros = 1 - np.asarray((counts[:, expressed] > 0).mean(axis=0)).ravel()
            as_seen = np.zeros(n_genes)
            as_seen[expressed] = means
            without = simulate(known | {"means": as_seen}, BLOCK, rng)[:, expressed]
            if zeros.mean() > 1 - without.nnz / np.prod(without.shape) + LEAST_DROPOUT:
                known["dropout_fit"] = fit_dropout(np.log(means), zeros)
        return known

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        return simulate(self._known(cell_type), n_cells, rng)


def simulate(known: Parameters, n_cells: int, rng: np.random.Generator) -> csr_matrix:
    """Draw cells of one type, n_cells × n_genes, from what was learnt of it."""
    means = known["means"]
    if not means.any():
        return csr_matrix((n_cells, means.size), dtype=np.float32)
    location, scale, share = known["library"]
    sizes = np.exp(rng.normal(location, scale, n_cells)) * (rng.random(n_cells) < share)
    expressed = np.flatnonzero(means)
    cell_means = np.outer(sizes, means[expressed] / means.sum())
    varied = np.zeros_like(cell_means)
    alive = cell_means > 0
    deviation = known["variation_fit"][0] + 1 / np.sqrt(cell_means[alive])
    squared = deviation**2 * np.broadcast_to(known["variation"][expressed], cell_means.shape)[alive]
    varied[alive] = rng.gamma(1 / squared) * squared * cell_means[alive]
    drawn = rng.poisson(varied)
    if "dropout_fit" in known:
        middle, slope = known["dropout_fit"]
        with np.errstate(divide="ignore"):
            drawn[rng.random(drawn.shape) < expit(slope * (np.log(varied) - middle))] = 0
    counts = csr_matrix(drawn.astype(np.float32))
    return csr_matrix((counts.data, expressed[counts.indices], counts.indptr), (n_cells, means.size))


def normalised_means(counts: csr_matrix, sizes: Floats) -> Floats:
    """Mean of each gene over cells that are scaled to the median library size."""
    filled = sizes > 0
    weights = np.divide(np.median(sizes[filled]), sizes, out=np.zeros_like(sizes), where=filled)
    return (counts.T @ weights) / filled.sum()


def fit_means(means: Floats) -> Floats:
    """Fit a Gamma distribution to winsorised means by the distance of Cramér and von Mises.

    Returns
    -------
    numpy.ndarray
        Shape and rate.
    """
    from scipy.optimize import minimize

    clipped = np.sort(np.clip(means, *np.quantile(means, [WINSORISED, 1 - WINSORISED])))
    reached = (np.arange(clipped.size) + 0.5) / clipped.size
    variance = clipped.var()
    if variance == 0:
        return np.array([np.inf, np.inf])
    start = np.log([clipped.mean() ** 2 / variance, clipped.mean() / variance])

    def distance(logs: Floats) -> float:
        shape, rate = np.exp(logs)
        return float(np.square(gammainc(shape, rate * clipped) - reached).sum())

    found = minimize(distance, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    return np.exp(found.x)


def fit_outliers(means: Floats) -> Floats:
    """Find means far above the median, and how far.

    Returns
    -------
    numpy.ndarray
        Their share among the genes; mean and standard deviation of the log of their factor over the median.
    """
    logs = np.log(means)
    median = np.median(logs)
    bound = median + MADS * MAD_OF_NORMAL * np.median(np.abs(logs - median))
    factors = np.log(means[logs > bound] / np.median(means))
    if factors.size < 2:
        return np.zeros(3)
    return np.array([factors.size / means.size, factors.mean(), factors.std()])


def draw_means(gamma: Floats, outliers: Floats, n_genes: int, rng: np.random.Generator) -> Floats:
    """Draw gene means: Gamma, and in their share outliers, log-normal factors times the median."""
    shape, rate = gamma
    means = rng.gamma(shape, 1 / rate, n_genes) if np.isfinite(shape) else np.ones(n_genes)
    share, location, scale = outliers
    chosen = rng.random(n_genes) < share
    means[chosen] = np.median(means) * np.exp(rng.normal(location, scale, int(chosen.sum())))
    # Small shapes draw numbers that are no longer above 0; every gene here has been seen.
    return np.maximum(means, np.finfo(np.float64).tiny)


def fit_variation(counts: csr_matrix) -> tuple[float, float]:
    """Estimate the common coefficient of variation φ and the degrees of freedom d.

    Where a gene's mean in cell i is mᵢ, the sum of its squared deviations beyond Poisson is F Σᵢ (φ mᵢ +
    √mᵢ)² on average, with F = d/χ²_d. Over genes, log F has the mean log(d/2) − ψ(d/2) and the variance
    ψ′(d/2); to the variance of its estimate comes that of sampling, which is taken off. Genes whose sampling
    variance is above 0.25 do not count.

    Returns
    -------
    common, freedom
        φ, at least 0; d, infinite where F does not vary, or where fewer than 10 genes count.
    """
    shares, sizes = mean_shares(counts), library_sizes(counts)
    excess = excess_variance(counts, shares)
    sums = [shares**power * (sizes**power).sum() for power in (1, 1.5, 2)]
    noise = _noise_of_logs(counts, shares, sizes, excess)
    used = noise < MOST_NOISE
    if used.sum() < FEWEST_GENES:
        return _common_of_ratio(excess.sum(), *(part.sum() for part in sums)), np.inf
    linear, bent, squared = (part[used] for part in sums)
    logs = np.log(excess[used]) + noise[used] / 2

    def freedom_and_gap(common: float) -> tuple[float, float]:
        factors = logs - np.log(linear + 2 * common * bent + common**2 * squared)
        half = _inverse_trigamma(factors.var() - noise[used].mean())
        return 2 * half, factors.mean() - (np.log(half) - digamma(half) if np.isfinite(half) else 0)

    low, high = 0.0, MOST_COMMON
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if freedom_and_gap(middle)[1] > 0 else (low, middle)
    return low, freedom_and_gap(low)[0]


def _common_of_ratio(excess: float, linear: float, bent: float, squared: float) -> float:
    """Solve linear + 2 φ bent + φ² squared = excess for φ; 0 if there is no positive solution."""
    if excess <= linear or squared == 0:
        return 0.0
    return float((np.sqrt(bent**2 + squared * (excess - linear)) - bent) / squared)


def _noise_of_logs(counts: csr_matrix, shares: Floats, sizes: Floats, excess: Floats) -> Floats:
    """Sampling variance of the log of each gene's excess variance; infinite where that is not above 0."""
    noise = np.full(shares.size, np.inf)
    columns, candidates = counts.tocsc(), np.flatnonzero(excess > 0)
    weights = sizes**2 / max(float(sizes @ sizes), 1.0)
    for start in range(0, candidates.size, BLOCK_OF_GENES):
        genes = candidates[start : start + BLOCK_OF_GENES]
        means = np.outer(sizes, shares[genes])
        terms = (columns[:, genes].toarray() - means) ** 2 - means
        terms -= weights[:, None] * terms.sum(axis=0)
        noise[genes] = np.square(terms).sum(axis=0) / excess[genes] ** 2
    return noise


def _inverse_trigamma(value: float) -> float:
    """Solve ψ′(x) = value for x by Newton's steps in 1/ψ′ (Smyth 2004, appendix); infinite up to 0."""
    if value <= 0:
        return np.inf
    x = 0.5 + 1 / value
    for _ in range(N_HALVINGS):
        trigamma = polygamma(1, x)
        x += trigamma * (1 - trigamma / value) / polygamma(2, x)
    return float(x)


def fit_dropout(log_means: Floats, zeros: Floats) -> Floats:
    """Fit 1/(1 + exp(−k(x − x₀))) to shares of zeros over log means by least squares.

    Returns
    -------
    numpy.ndarray
        x₀ and k, which is at most 0.
    """
    from scipy.optimize import least_squares

    def errors(parameters: Floats) -> Floats:
        return expit(parameters[1] * (log_means - parameters[0])) - zeros

    return np.asarray(least_squares(errors, [0.0, -1.0], bounds=([-np.inf, -np.inf], [np.inf, 0])).x)
