"""Do synthetic cells keep the correlations between marker genes? Matrix 1-norm of the difference, ideal 0.

Heydari et al. 2022 (doi:10.1093/bioinformatics/btac095), equation 7 and figure 4.
"""

from __future__ import annotations

import numpy as np

from metrics.accelerator import products_of_columns
from metrics.arrays import AnyFloats, Bools, Floats, Ints
from metrics.declaration import Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.resampling import bootstrap_interval
from metrics.seeds import derived_seed
from metrics.training_evidence import CD_GENES_PER_TYPE


def correlation_matrix(cells: AnyFloats) -> tuple[Floats, Bools]:
    """Pearson correlations between genes; a constant gene has 0 with all others and 1 with itself.

    Parameters
    ----------
    cells
        n_cells × n_genes, dense.

    Returns
    -------
    correlations
        n_genes × n_genes.
    constant
        Which genes are constant.
    """
    values = np.asarray(cells, dtype=np.float64)
    constant = values.max(axis=0) == values.min(axis=0)
    centred = values - values.mean(axis=0)
    centred[:, constant] = 0.0
    lengths = np.linalg.norm(centred, axis=0)
    lengths[constant] = 1.0
    centred /= lengths
    correlations = np.clip(products_of_columns(centred), -1.0, 1.0)
    np.fill_diagonal(correlations, 1.0)
    return correlations, constant


def correlation_discrepancy(real: Floats, synthetic: Floats) -> float:
    """Largest column sum of absolute differences of two correlation matrices: max_j Σ_i abs(G_ij − R_ij).

    Parameters
    ----------
    real, synthetic
        n_genes × n_genes correlations over the same genes.

    Examples
    --------
    Two genes that go together among real cells, and against each other among synthetic ones:

    >>> import numpy as np
    >>> from metrics.correlation_discrepancy import correlation_discrepancy, correlation_matrix
    >>> real, synthetic = np.array([[1, 2], [2, 4], [3, 6]]), np.array([[1, 6], [2, 4], [3, 2]])
    >>> round(correlation_discrepancy(correlation_matrix(real)[0], correlation_matrix(synthetic)[0]), 9)
    2.0
    """
    return float(np.abs(synthetic - real).sum(axis=0).max())


def discrepancy_interval(cells: Floats, synthetic: Floats, *, seed: int) -> tuple[float, float]:
    """Bootstrap a 95 % interval of the discrepancy over the real cells; their order does not matter.

    It is about the expected discrepancy of other samples of as many real cells from the same synthetic
    ones, so their noise is part of it: never about 0. A maximum resamples poorly where it is mostly noise;
    in simulations between 90 and 100 % of the intervals held what they should.

    Parameters
    ----------
    cells
        Real cells, n_cells × n_genes.
    synthetic
        n_genes × n_genes correlations of the synthetic cells.
    seed
        Everything random follows from it.
    """
    ordered = cells[np.lexsort(cells.T)]

    def of_rows(rows: Ints) -> float:
        return correlation_discrepancy(correlation_matrix(ordered[rows])[0], synthetic)

    low, high = bootstrap_interval(of_rows, cells.shape[0], seed=seed)
    return max(0.0, low), high


def _compute(real: RealEvidence, sample: SampleEvidence) -> Score:
    genes = real.cd_genes
    test = real.test_cells[:, genes].toarray().astype(np.float64)
    real_correlations, real_constant = correlation_matrix(test)
    correlations, constant = correlation_matrix(sample.cells[:, genes].toarray())
    n_constant = int(np.sum(real_constant | constant))
    notes = [f"{n_constant} of {genes.size} genes are constant on one side"] if n_constant else []
    return Score(
        values={
            "cd": correlation_discrepancy(real_correlations, correlations),
            "cd_constant_genes": float(n_constant),
        },
        details={
            "genes": [str(name) for name in real.gene_names[genes]],
            "types": [name for name in real.markers for _ in range(CD_GENES_PER_TYPE)],
            "real": real_correlations.round(6).tolist(),
            "synthetic": correlations.round(6).tolist(),
        },
        notes=[*sample.notes, *notes],
        interval=discrepancy_interval(test, correlations, seed=derived_seed(real.seed, "cd interval")),
    )


METRIC = error_metric(
    name="cd",
    description="1-norm of the difference of correlations between the top five marker genes of each type",
    compute=_compute,
    reference="doi:10.1093/bioinformatics/btac095",
    cost="one rank-sum test of each gene and type, shared by all models",
    # Marker genes correlate through the types, which the other floors keep: below some hundred cells
    # their distance from real cells drowns in the noise.
    floors=("shuffle",),
    needs_types=True,
    default=True,
)
