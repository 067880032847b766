"""Does each gene keep its distribution over cells? Distances between test and synthetic cells, gene by gene.

The 1-Wasserstein distance says how far expression must be moved, the Kolmogorov–Smirnov distance how
far the two cumulative shares of cells are ever apart. Comparing simulated with real cells gene by
gene follows Crowell et al. 2023 (doi:10.1186/s13059-023-02904-1).
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Floats
from metrics.by_type import Rows, score_with_types
from metrics.declaration import Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.spaces import CellMatrix, as_csr


def gene_distances(real: CellMatrix, synthetic: CellMatrix) -> tuple[Floats, Floats]:
    """Compute the 1-Wasserstein and the Kolmogorov–Smirnov distance of every gene.

    Only stored values are sorted: all zeros of a gene are one step of its cumulative shares.

    Parameters
    ----------
    real, synthetic
        n_cells × n_genes and m_cells × n_genes in the same space, no value below 0.

    Returns
    -------
    wasserstein
        Of each gene, in units of the space: the area between the cumulative shares of cells.
    kolmogorov_smirnov
        Of each gene, from 0 to 1: the largest difference of the cumulative shares.

    Raises
    ------
    ValueError
        If the genes differ in number.
    """
    from scipy.sparse import csc_array, vstack

    (n_real, n_genes), (n_synthetic, n_synthetic_genes) = real.shape, synthetic.shape
    if n_genes != n_synthetic_genes:
        raise ValueError(f"real cells have {n_genes} genes, synthetic {n_synthetic_genes}")
    stored = csc_array(vstack([as_csr(real), as_csr(synthetic)]))
    # In units of 1 / (n_real · n_synthetic) shares of cells are whole numbers: their sums are exact.
    steps = np.where(stored.indices < n_real, n_synthetic, -n_real)
    genes = np.repeat(np.arange(n_genes), np.diff(stored.indptr))
    steps_at_zero = -np.bincount(genes, weights=steps, minlength=n_genes).astype(np.int64)

    values = np.append(np.zeros(n_genes), stored.data)
    genes = np.append(np.arange(n_genes), genes)
    order = np.lexsort((values, genes))
    # At a gene's largest value both cumulative shares are 1: the running sum starts each gene at 0.
    apart = np.abs(np.cumsum(np.append(steps_at_zero, steps)[order])) / (n_real * n_synthetic)
    widths = np.diff(values[order], append=0.0)
    starts = stored.indptr[:-1] + np.arange(n_genes)
    wasserstein = np.add.reduceat(apart * widths, starts)
    # Among equal values the shares are known only after the last one.
    return wasserstein, np.maximum.reduceat(np.where(widths > 0, apart, 0.0), starts)


def _compute(real: RealEvidence, sample: SampleEvidence) -> Score:
    def measure(rows: Rows, made: Rows) -> dict[str, float]:
        wasserstein, kolmogorov_smirnov = gene_distances(real.test_cells[rows], sample.cells[made])
        return {"gene_wasserstein": float(wasserstein.mean()), "gene_ks": float(kolmogorov_smirnov.mean())}

    return score_with_types(real, sample, measure, against_all=True)


METRIC = error_metric(
    name="gene_wasserstein",
    description="1-Wasserstein distance between a gene's values in test and synthetic cells, mean over genes",
    compute=_compute,
    reference="doi:10.1186/s13059-023-02904-1",
    cost="one sort of all non-zero values, once more for the types",
    # Within types, shuffled genes keep their values, and are off by other cells' library sizes alone.
    floors=("shuffle", "poisson"),
    group="marginals",
)
