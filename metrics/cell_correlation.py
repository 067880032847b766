"""Are cells as alike as real cells are? Distance between distributions of correlations of cells, ideal 0.

Cell-to-cell correlation as a summary of simulated cells: Crowell et al. 2023
(doi:10.1186/s13059-023-02904-1).
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import AnyFloats, Floats, Ints
from metrics.by_type import order_of_contents, score_with_types
from metrics.correlation_discrepancy import correlation_matrix
from metrics.declaration import NotApplicable, Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.seeds import derived_seed
from metrics.spaces import Csr

CELLS = 500


def correlations_of_pairs(cells: AnyFloats) -> Floats:
    """Pearson correlation over genes of each pair of cells; 0 where one has the same value for all genes.

    Parameters
    ----------
    cells
        n_cells × n_genes, dense; at least two cells.

    Returns
    -------
    ndarray
        n_cells · (n_cells − 1) / 2 correlations.

    Raises
    ------
    NotApplicable
        With fewer than two cells.
    """
    n_cells = cells.shape[0]
    if n_cells < 2:
        raise NotApplicable(f"{n_cells} cell makes no pair")
    correlations, _ = correlation_matrix(cells.T)
    return correlations[np.triu_indices(n_cells, k=1)]


def cell_correlation(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Compare the correlations of pairs of test cells with those of pairs of synthetic cells.

    At most 500 cells a side are paired, drawn by the seed: over all genes, and once more within types.

    Returns
    -------
    Score
        ``cell_correlation_error``, the 1-Wasserstein distance of the two distributions, and
        ``cell_correlation_bias``, the difference of their means: above 0 where synthetic cells are
        more alike than real ones.

    Raises
    ------
    NotApplicable
        With fewer than two cells a side.
    """
    from scipy.stats import wasserstein_distance

    seed = derived_seed(real.seed, "cell_correlation")

    def pairs(cells: Csr, rows: Ints) -> Floats:
        rng, members = np.random.default_rng(seed), cells[rows]
        drawn = rng.choice(order_of_contents(members), min(CELLS, rows.size), replace=False)
        return correlations_of_pairs(members[drawn].toarray())

    def measure(rows: Ints, made: Ints) -> dict[str, float]:
        among_real, among_synthetic = pairs(real.test_cells, rows), pairs(sample.cells, made)
        return {
            "cell_correlation_error": float(wasserstein_distance(among_real, among_synthetic)),
            "cell_correlation_bias": float(among_synthetic.mean() - among_real.mean()),
        }

    return score_with_types(real, sample, measure, worst=2.0)


METRIC = error_metric(
    name="cell_correlation_error",
    description="1-Wasserstein distance between correlations of pairs of test and of synthetic cells",
    compute=cell_correlation,
    bounds=(0.0, 2.0),
    reference="doi:10.1186/s13059-023-02904-1",
    cost="correlations of 500 cells over all genes, once more within types",
    # Genes drawn independently leave all cells about as alike, of whatever type.
    floors=("shuffle",),
    group="dependence",
)
