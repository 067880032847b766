"""What the simulators share: parameters of each cell type apart, library sizes, counts around given means."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.base import Monitor
from models.baselines.shared import Baseline, Parameters, library_sizes
from models.controls.control import RememberedCells

Floats = NDArray[np.float64]


class Simulator(Baseline):
    """A baseline that learns the cells of each type apart, and nothing from the other types."""

    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        rng = np.random.default_rng(seed)
        parameters: Parameters = {}
        with monitor.phase("types"):
            for code, rows in enumerate(cells.rows_by_type.values()):
                parts = self._learn_type(cells.counts[rows], rng)
                parameters |= {f"{part}_{code}": values for part, values in parts.items()}
        return parameters

    def _known(self, cell_type: str) -> Parameters:
        """Return what was learnt of a type."""
        code = str(list(self.cells.rows_by_type).index(cell_type))
        named = ((*name.rpartition("_")[::2], values) for name, values in self._parameters.items())
        return {part: values for part, of, values in named if of == code}

    @abstractmethod
    def _learn_type(self, counts: csr_matrix, rng: np.random.Generator) -> Parameters:
        """Return what is drawn from for the cells of one type, n_cells × n_genes, as named arrays."""


def learn_sizes(counts: csr_matrix) -> Parameters:
    """Estimate the density of log library sizes with a Gaussian kernel.

    The bandwidth is Silverman's rule of thumb (1.06 σ n^(−1/5)). Cells without counts have no logarithm:
    their share is kept apart.

    Parameters
    ----------
    counts
        n_cells × n_genes.

    Returns
    -------
    dict
        ``log_sizes`` of the cells with counts; ``empty``, the share of the others.
    """
    sizes = library_sizes(counts)
    return {"log_sizes": np.log(sizes[sizes > 0]), "empty": np.asarray(np.mean(sizes == 0))}


def draw_sizes(known: Parameters, n_cells: int, rng: np.random.Generator) -> Floats:
    """Draw library sizes from what `learn_sizes` estimated.

    Values are drawn towards their mean so that the kernel does not widen them (Silverman & Young, Biometrika
    74 (1987), 469): mean and variance of the logarithms are those of the training cells.
    """
    logs, sizes = known["log_sizes"], np.zeros(n_cells)
    if logs.size == 0:
        return sizes
    width = 1.06 * logs.size**-0.2
    spread = logs.std() * width * rng.standard_normal(n_cells)
    smoothed = logs.mean() + (rng.choice(logs, n_cells) - logs.mean() + spread) / np.sqrt(1 + width**2)
    holds_counts = rng.random(n_cells) >= known["empty"]
    sizes[holds_counts] = np.exp(smoothed[holds_counts])
    return sizes


def mean_shares(counts: csr_matrix) -> Floats:
    """Share of each gene in all counts; zeros where there are none."""
    totals = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel()
    return totals / max(totals.sum(), 1)


def excess_variance(counts: csr_matrix, shares: Floats) -> Floats:
    """Sum of squared deviations of each gene beyond those of Poisson counts.

    Parameters
    ----------
    counts
        n_cells × n_genes.
    shares
        n_genes; a gene's mean in a cell is its share times the cell's library size m = shares × size.

    Returns
    -------
    numpy.ndarray
        n_genes; n/(n − 1) Σᵢ (xᵢ − mᵢ)² − Σᵢ mᵢ, which estimates Σᵢ mᵢ² φ where the variance is m + φ m².
    """
    n_cells, sizes = counts.shape[0], library_sizes(counts)
    squares = np.asarray(counts.multiply(counts).sum(axis=0, dtype=np.float64)).ravel()
    deviations = squares - 2 * shares * (counts.T @ sizes) + shares**2 * (sizes @ sizes)
    return deviations * (n_cells / max(n_cells - 1, 1)) - shares * sizes.sum()


def poisson_cells(rates: Floats, rng: np.random.Generator) -> csr_matrix:
    """Draw Poisson counts, float32, with the given rates, n_cells × n_genes."""
    return csr_matrix(rng.poisson(rates).astype(np.float32))
