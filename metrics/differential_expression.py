"""Would an analysis of synthetic cells find the same genes? Overlap of marker genes, ideal 1.

Each type against the rest by the rank-sum test: on synthetic cells, typed by the classifier that no
generator was trained with, against the training cells' labels. Ranked lists are compared by the Jaccard
index of their tops and by the rank-biased overlap of Webber et al. 2010 (doi:10.1145/1852102.1852106).
No interval: test cells only say which types are large enough.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Floats, Ints
from metrics.by_type import types_to_score
from metrics.declaration import NotApplicable, Score, share_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.marker_genes import Markers, rank_sum_scores

TOP_GENES = 50
# The first 20 ranks carry 86 % of the weight.
PERSISTENCE = 0.95


def jaccard(genes: Ints, others: Ints) -> float:
    """Genes that both lists hold, over genes that either holds.

    Parameters
    ----------
    genes, others
        Lists without repeats, not both empty.

    Examples
    --------
    >>> import numpy as np
    >>> from metrics.differential_expression import jaccard
    >>> jaccard(np.array([1, 2, 3]), np.array([3, 4]))
    0.25
    """
    common = np.intersect1d(genes, others, assume_unique=True).size
    return common / (genes.size + others.size - common)


def rank_biased_overlap(genes: Ints, others: Ints, *, persistence: float = PERSISTENCE) -> float:
    """Overlap of two rankings, the first ranks weighing most, extrapolated beyond their ends.

    RBO_ext of Webber et al. 2010, section 4.3, for lists of equal length k: with X_d genes common to the
    first d of either, X_k / k · p^k + (1 − p) / p · Σ_d X_d / d · p^d.

    Parameters
    ----------
    genes, others
        Best first, without repeats, equally many.
    persistence
        p: the probability that a reader goes on from one rank to the next.

    Returns
    -------
    float
        From 0, nothing in common, to 1, the same list.
    """
    depths = np.arange(1, genes.size + 1)
    # A gene is common from the later one of its two ranks on.
    _, rank, other_rank = np.intersect1d(genes, others, assume_unique=True, return_indices=True)
    common = np.cumsum(np.bincount(np.maximum(rank, other_rank), minlength=genes.size))
    agreement = common / depths
    weights = (1 - persistence) * persistence ** (depths - 1)
    return float(weights @ agreement + agreement[-1] * persistence**genes.size)


def compare_markers(markers: Markers, scores: Floats | None) -> dict[str, float]:
    """Compare the top 50 marker genes of one type of real and of synthetic cells.

    Parameters
    ----------
    markers
        Marker genes of the type among real cells.
    scores
        Rank-sum statistic of each gene in the synthetic cells; None where they have no such type or no other.

    Returns
    -------
    dict
        ``jaccard`` and ``rbo``; 0 without `scores`: a lost type has no marker genes.
    """
    if scores is None:
        return {"jaccard": 0.0, "rbo": 0.0}
    top, synthetic_top = markers.genes[:TOP_GENES], np.argsort(-scores, kind="stable")[:TOP_GENES]
    return {"jaccard": jaccard(top, synthetic_top), "rbo": rank_biased_overlap(top, synthetic_top)}


def check_number_of_genes(real: RealEvidence) -> None:
    """Raise `NotApplicable` where there are fewer than twice as many genes as make up a top."""
    if real.gene_names.size < 2 * TOP_GENES:
        raise NotApplicable(f"{real.gene_names.size} genes; a top {TOP_GENES} of them says little below 100")


def marker_overlap(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Compare the marker genes of each type in synthetic cells with those in training cells.

    Types count alike. Types with fewer than 10 test cells are left out; a type without synthetic cells
    counts as 0, so that losing a type is no way to a better score.

    Returns
    -------
    Score
        ``de_overlap``, the mean Jaccard index of the top 50 genes; ``de_rbo``, their rank-biased overlap.

    Raises
    ------
    NotApplicable
        With fewer than 100 genes, fewer than two types, or no type of 10 test cells.
    """
    check_number_of_genes(real)
    names, notes = types_to_score(real)
    called, scores = rank_sum_scores(sample.cells, sample.calls)
    score_of = dict(zip(called.tolist(), scores, strict=True)) if called.size > 1 else {}
    found = {name: compare_markers(real.markers[name], score_of.get(name)) for name in names}
    notes += [f"0 for {name}: no synthetic cells" for name in names if name not in score_of]
    overlaps, rbos = ([of_type[key] for of_type in found.values()] for key in ("jaccard", "rbo"))
    values = {"de_overlap": float(np.mean(overlaps)), "de_rbo": float(np.mean(rbos))}
    return Score(values, {"by_type": found}, [*sample.notes, *notes])


METRIC = share_metric(
    name="de_overlap",
    description="Jaccard index of the top 50 marker genes of synthetic and training cells, mean over types",
    compute=marker_overlap,
    reference="doi:10.1145/1852102.1852106",
    cost="one rank-sum test of each gene and type",
    # Genes drawn independently mark no type.
    floors=("shuffle",),
    needs_types=True,
    group="biology",
)
