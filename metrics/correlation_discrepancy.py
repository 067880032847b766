"""Do synthetic cells keep the correlations between marker genes? Matrix 1-norm of the difference, ideal 0.

Heydari et al. 2022 (doi:10.1093/bioinformatics/btac095), equation 7 and figure 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metrics.declaration import Metric, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metrics.evidence import RealEvidence, SampleEvidence


def correlation_matrix(
    cells: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
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
    correlations = np.clip(centred.T @ centred, -1.0, 1.0)
    np.fill_diagonal(correlations, 1.0)
    return correlations, constant


def correlation_discrepancy(real: NDArray[np.float64], synthetic: NDArray[np.float64]) -> float:
    """Largest column sum of absolute differences of two correlation matrices: max_j Σ_i abs(G_ij − R_ij).

    Parameters
    ----------
    real, synthetic
        n_genes × n_genes correlations over the same genes.
    """
    return float(np.abs(synthetic - real).sum(axis=0).max())


def _compute(real: RealEvidence, sample: SampleEvidence) -> Score:
    genes = real.cd_genes
    real_correlations, real_constant = correlation_matrix(real.log_test[:, genes].toarray())
    correlations, constant = correlation_matrix(sample.log_matrix[:, genes].toarray())
    n_constant = int(np.sum(real_constant | constant))
    notes = [f"{n_constant} of {genes.size} genes are constant on one side"] if n_constant else []
    return Score(
        values={
            "cd": correlation_discrepancy(real_correlations, correlations),
            "cd_constant_genes": float(n_constant),
        },
        details={
            "genes": [str(name) for name in real.gene_names[genes]],
            "real": real_correlations.round(6).tolist(),
            "synthetic": correlations.round(6).tolist(),
        },
        notes=[*sample.notes, *notes],
    )


METRIC = Metric(
    name="cd",
    description="1-norm of the difference of correlations between the top five marker genes of each type",
    compute=_compute,
    better="lower",
    ideal=0.0,
    bounds=(0.0, float("inf")),
    reference="doi:10.1093/bioinformatics/btac095",
    cost="one rank-sum test of each gene and type, shared by all models",
    # Marker genes correlate through the types, which the other floors keep: below some hundred cells
    # their distance from real cells drowns in the noise.
    floors=("shuffle",),
    needs_types=True,
)
