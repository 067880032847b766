"""Two-state kinetics of transcription and capture: the idea of SymSim (Zhang 2019)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from models.baselines.shared import Parameters, library_sizes
from models.simulators.shared import Floats, Simulator, draw_sizes, learn_sizes, mean_shares, poisson_cells

LEAST_RATE = 1e-3


class SymSim(Simulator):
    """Genes that switch on and off, with kinetics of their own in each type, captured at a cell's efficiency.

    The number of transcripts of a gene is Poisson around s × Beta(k_on, k_off), the stationary law of the
    two-state model (source, equation 1; degradation rate 1). The source then copies the process of measuring
    step by step: capture at the cell's efficiency, amplification rounds with their biases, fragments,
    sequencing, each molecule told by its UMI. Here capture and all that follows are one: thinned Poisson
    counts are Poisson, at the cell's efficiency, which is its library size over the mean of its type.
    Efficiencies are drawn from the kernel estimate of log library sizes. The source's extrinsic variation
    (effects of genes and cells along a tree) lies between types here, whose parameters are their own.

    The source finds parameters by matching its simulations to the data; here they have a closed form in the
    first three factorial moments (Peccoud & Ycart, Theor. Popul. Biol. 48 (1995), 222), divided by those of
    the efficiencies. Where no switch has the three moments of a gene, rates are Gamma with its first two (the
    limit of rare, short bursts), and constant where they vary no more than that.

    Zhang et al., Nat. Commun. 10 (2019), 2611.
    """

    name = "symsim"
    paper = "doi:10.1038/s41467-019-10500-w"

    def _learn_type(self, counts: csr_matrix, rng: np.random.Generator) -> Parameters:
        k_on, k_off = kinetics(counts)
        return learn_sizes(counts) | {"shares": mean_shares(counts), "k_on": k_on, "k_off": k_off}

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        known = self._known(cell_type)
        rates = np.outer(draw_sizes(known, n_cells, rng), known["shares"])
        k_on, k_off = known["k_on"], known["k_off"]
        switches = np.flatnonzero(np.isfinite(k_off))
        bursts = np.flatnonzero(np.isinf(k_off) & np.isfinite(k_on))
        on_share = rng.beta(k_on[switches], k_off[switches], (n_cells, switches.size))
        rates[:, switches] *= on_share * (1 + k_off[switches] / k_on[switches])
        rates[:, bursts] *= rng.gamma(k_on[bursts], 1 / k_on[bursts], (n_cells, bursts.size))
        return poisson_cells(rates, rng)


def kinetics(counts: csr_matrix) -> tuple[Floats, Floats]:
    """Estimate the rates of switching of each gene from factorial moments.

    With eₖ = Σᵢ xᵢ(xᵢ − 1)…(xᵢ − k + 1) / Σᵢ fᵢᵏ, where fᵢ is the efficiency of cell i, and the ratios
    r₁ = e₁, r₂ = e₂/e₁, r₃ = e₃/e₂:

    k_on = 2 r₁(r₃ − r₂) / (r₁r₂ − 2r₁r₃ + r₂r₃),
    k_off = 2 (r₂ − r₁)(r₁ − r₃)(r₃ − r₂) / ((r₁r₂ − 2r₁r₃ + r₂r₃)(r₁ − 2r₂ + r₃)).

    Parameters
    ----------
    counts
        n_cells × n_genes of one type.

    Returns
    -------
    k_on, k_off
        n_genes each, in units of the degradation rate; k_off is infinite where rates are Gamma of shape k_on,
        both where they are constant.
    """
    sizes = library_sizes(counts)
    efficiencies = sizes / max(sizes.mean(), 1)
    product, moments = counts.astype(np.float64), []
    for order in (1, 2, 3):
        sums = np.asarray(product.sum(axis=0)).ravel()
        moments.append(sums / max((efficiencies**order).sum(), 1))
        product.data *= counts.data - order
    first, second, third = moments
    with np.errstate(divide="ignore", invalid="ignore"):
        r_1, r_2, r_3 = first, second / first, third / second
        below, bend = r_1 * r_2 - 2 * r_1 * r_3 + r_2 * r_3, r_1 - 2 * r_2 + r_3
        k_on = 2 * r_1 * (r_3 - r_2) / below
        k_off = 2 * (r_2 - r_1) * (r_1 - r_3) * (r_3 - r_2) / (below * bend)
        burst = first**2 / (second - first**2)
    switches = (k_on > LEAST_RATE) & (k_off > LEAST_RATE) & np.isfinite(k_on) & np.isfinite(k_off)
    bursts = ~switches & (burst > 0) & np.isfinite(burst)
    return np.where(switches, k_on, np.where(bursts, burst, np.inf)), np.where(switches, k_off, np.inf)
