"""Do genes vary together as in real cells? Mean difference of correlations beyond the marker genes, ideal 0.

Correlations are compared as by Crowell et al. 2023 (doi:10.1186/s13059-023-02904-1), here pair by pair.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import AnyFloats, Ints
from metrics.by_type import order_of_contents, score_with_types
from metrics.correlation_discrepancy import correlation_matrix
from metrics.declaration import NotApplicable, Score, error_metric, require_cells
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.gene_trends import gene_moments
from metrics.seeds import derived_seed
from metrics.spaces import Csr

GENES = 500


def most_variable_genes(cells: Csr, *, n_genes: int) -> Ints:
    """Positions of the genes of largest variance, ascending; of equal ones the first.

    Parameters
    ----------
    cells
        Cells × genes, at least 2 cells.
    n_genes
        Number of genes; all that vary if there are fewer.
    """
    _, variances = gene_moments(cells)
    best = np.argsort(-variances, kind="stable")[:n_genes]
    return np.sort(best[variances[best] > 0])


def correlation_errors(real: AnyFloats, synthetic: AnyFloats) -> tuple[float, float, int]:
    """Compare the Pearson correlations of all pairs of genes.

    Parameters
    ----------
    real, synthetic
        Cells × the same two or more genes, dense. A constant gene has correlation 0 with all others.

    Returns
    -------
    mean
        Mean absolute difference over pairs, from 0 to 2.
    frobenius
        Frobenius norm of the difference relative to that of the real correlations, both without the
        diagonal.
    n_constant
        How many genes are constant on a side.

    Raises
    ------
    NotApplicable
        If no two genes of the real cells are correlated at all, as where all cells are alike.
    """
    real_correlations, real_constant = correlation_matrix(real)
    correlations, constant = correlation_matrix(synthetic)
    pairs = np.triu_indices(correlations.shape[0], k=1)
    difference = correlations[pairs] - real_correlations[pairs]
    scale = float(np.linalg.norm(real_correlations[pairs]))
    if scale == 0:
        raise NotApplicable("no two genes of the test cells vary together")
    relative = float(np.linalg.norm(difference)) / scale
    return float(np.abs(difference).mean()), relative, int(np.sum(real_constant | constant))


def unbiased_squared_error(real: AnyFloats, synthetic: AnyFloats, *, seed: int) -> float:
    """Estimate the mean squared difference of correlations without the share that noise has in it.

    Correlations of few cells differ for want of cells alone, which drowns the difference that matters.
    Two random halves of either side have independent noise, so the products of their differences have
    the squared true difference as their expectation, whatever the number of cells.

    Parameters
    ----------
    real, synthetic
        Cells × the same two or more genes, dense, at least 4 cells each.
    seed
        Seed of the halves; the order of cells does not matter.

    Returns
    -------
    float
        Around 0 where correlations are the same, hence below 0 as often as above. Copies of a cell that
        fall into both halves give them common noise, so duplicates raise it.
    """
    pairs = np.triu_indices(real.shape[1], k=1)
    rng = np.random.default_rng(seed)
    parts = []
    for cells in (real, synthetic):
        # A permutation for each side: sharing one would make their noise alike.
        drawn = rng.permutation(order_of_contents(cells))
        parts.append([correlation_matrix(cells[drawn[half::2]])[0][pairs] for half in (0, 1)])
    differences = [made - found for found, made in zip(*parts, strict=True)]
    return float(np.mean(differences[0] * differences[1]))


def gene_correlation(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Compare correlations between the 500 genes that vary most over the training cells.

    Returns
    -------
    Score
        ``gene_correlation_error``, the mean absolute difference of Pearson correlations, and
        ``gene_correlation2_unbiased``, the mean squared one without the share of noise, both also within
        types; ``gene_correlation_frobenius``; ``gene_spearman_error``, the mean difference of rank
        correlations.

    Raises
    ------
    NotApplicable
        If fewer than two genes vary over the training cells, or there are fewer than two such cells.
    """
    from scipy.stats import rankdata

    require_cells("gene_correlation_error", real.train_cells.shape[0], 2, of="training cells")
    genes = most_variable_genes(real.train_cells, n_genes=GENES)
    if genes.size < 2:
        raise NotApplicable(f"{genes.size} genes vary over the training cells; a correlation needs two")
    test, synthetic = real.test_cells[:, genes].toarray(), sample.cells[:, genes].toarray()
    seed = derived_seed(real.seed, "halves of cells")

    def measure(rows: Ints, made: Ints) -> dict[str, float]:
        mean, frobenius, n_constant = correlation_errors(test[rows], synthetic[made])
        return {
            "gene_correlation_error": mean,
            "gene_correlation_frobenius": frobenius,
            "gene_correlation2_unbiased": unbiased_squared_error(test[rows], synthetic[made], seed=seed),
            "constant_genes": float(n_constant),
        }

    score = score_with_types(real, sample, measure, worst=2.0)
    ranks = (rankdata(cells, axis=0) for cells in (test, synthetic))
    score.values["gene_spearman_error"] = correlation_errors(*ranks)[0]
    by_type, name = score.details["by_type"].values(), "gene_correlation2_unbiased"
    # A lost type has none.
    if unbiased := [numbers[name] for numbers in by_type if name in numbers]:
        score.values["gene_correlation2_unbiased_by_type"] = float(np.mean(unbiased))
    score.details["n_genes"] = int(genes.size)
    return score


METRIC = error_metric(
    name="gene_correlation_error",
    description="difference of correlations between the 500 most variable genes, mean over pairs",
    compute=gene_correlation,
    bounds=(0.0, 2.0),
    reference="doi:10.1186/s13059-023-02904-1",
    cost="correlations and rank correlations of 500 genes, the former once more within types",
    floors=("shuffle", "shuffle_within_type", "poisson"),
    group="dependence",
)
