"""Do synthetic cells tell which donors a generator was trained on? AUC, ideal 0.5.

Threat model: whoever attacks sees the synthetic cells and the real cells of other donors, and has the cells
of donors in question, of whom some were trained on and others were not. No cell of these enters a model that
scores them. Two attacks, each with a score for every donor, the mean over the donor's cells:

- log-density under `CopulaDensity` fitted to synthetic cells, less that fitted to the known donors' cells,
  within each type that both have, on the 200 genes that vary most among the known donors' cells;
- the ratio of densities of DOMIAS (van Breugel et al. 2023, arXiv:2302.12580) on 30 principal components,
  each density by the distance to the nearest cell, as many cells on both sides.

Distances to training cells see copying, not this (arXiv:2505.01524); scMAMA-MIA (bioRxiv, January 2026)
attacks generators of single cells in the first way. With few donors little can be resolved, and an AUC near
0.5 is no proof of privacy. The control is the same attack where one half of the known donors' cells stands
for the synthetic ones: nobody in question was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from metrics.arrays import Floats, Ints, Strings
from metrics.copula_density import CopulaDensity
from metrics.declaration import Metric, NotApplicable, Score
from metrics.principal_components import fitted_pca, restored_pca
from metrics.seeds import derived_seed
from metrics.spaces import CellMatrix, Csr, as_csr, to_log_cp20k
from metrics.synthetic_cells import SyntheticCells

GENES: Final = 200
COMPONENTS: Final = 30
LEAST_OF_TYPE: Final = 30
LIKELIHOOD, DENSITY = "likelihood", "density"


@dataclass(frozen=True, eq=False)
class DonorSetting:
    """What an attack knows, and whom it asks about.

    Parameters
    ----------
    reference_counts, reference_types
        Cells × genes of donors that the attacker knows, and their labels.
    candidate_counts, candidate_types, candidate_donors
        Cells × genes of the donors in question, their labels and donors.
    trained_donors
        Donors among the candidates that the generator was trained on.
    seed
        Everything random follows from it.
    """

    reference_counts: CellMatrix
    reference_types: Strings
    candidate_counts: CellMatrix
    candidate_types: Strings
    candidate_donors: Strings
    trained_donors: frozenset[str]
    seed: int

    @cached_property
    def control(self) -> dict[str, dict[str, float]]:
        """Score of each donor by each attack where half of the known cells stands for synthetic ones."""
        counts, types = as_csr(self.reference_counts), self.reference_types
        rows = np.random.default_rng(derived_seed(self.seed, "donor control")).permutation(len(types))
        known, stands_in = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        half = (counts[stands_in], types[stands_in])
        return attacked(self, half, known=(counts[known], types[known]))


def auc(scores: dict[str, float], members: frozenset[str]) -> float:
    """Return the share of pairs in which a member scores higher than another; ties count half.

    Raises
    ------
    NotApplicable
        If no member, or nobody else, has a score.
    """
    inside = np.array([score for donor, score in scores.items() if donor in members])
    outside = np.array([score for donor, score in scores.items() if donor not in members])
    if not (inside.size and outside.size):
        who = "that was trained on" if outside.size else "that was left out"
        raise NotApplicable(f"no donor {who} has a cell of a type that the attack can compare")
    difference = inside[:, None] - outside[None]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def found_without_error(scores: dict[str, float], members: frozenset[str]) -> float:
    """Return the share of members that score higher than everybody else does: no false positive."""
    highest = max(score for donor, score in scores.items() if donor not in members)
    return float(np.mean([scores[donor] > highest for donor in members if donor in scores]))


def attacked(
    setting: DonorSetting,
    synthetic: tuple[Csr, Strings | None],
    *,
    known: tuple[Csr, Strings] | None = None,
) -> dict[str, dict[str, float]]:
    """Return the score of each candidate by either attack: the higher, the likelier trained on.

    Parameters
    ----------
    setting
        What the attacker knows.
    synthetic
        Cells × genes, counts, and their labels or None.
    known
        Cells × genes and labels that stand for the reference donors' cells; None for all of these.

    Raises
    ------
    NotApplicable
        If no type has 30 cells on both sides.
    """
    reference = known or (as_csr(setting.reference_counts), setting.reference_types)
    candidates = as_csr(setting.candidate_counts)
    found = {
        LIKELIHOOD: _likelihood_ratios(reference, synthetic, (candidates, setting.candidate_types)),
        DENSITY: _density_ratios(reference[0], synthetic[0], candidates, seed=setting.seed),
    }
    return {attack: _means(values, setting.candidate_donors) for attack, values in found.items()}


def _means(values: Floats, donors: Strings) -> dict[str, float]:
    """Return the mean of each donor's cells that have a value; a donor without one has no score."""
    known = np.isfinite(values)
    return {str(name): float(values[known & (donors == name)].mean()) for name in np.unique(donors[known])}


def _likelihood_ratios(
    reference: tuple[Csr, Strings],
    synthetic: tuple[Csr, Strings | None],
    candidates: tuple[Csr, Strings],
) -> Floats:
    """Return log p(cell | synthetic) - log p(cell | known) of each candidate cell; NaN of other types."""
    genes = _most_variable(reference[0])
    known, made, asked = (cells[:, genes].toarray() for cells, _ in (reference, synthetic, candidates))
    made_types, known_types, asked_types = synthetic[1], reference[1], candidates[1]
    if made_types is None:
        # Without labels all cells are of one kind.
        made_types, known_types, asked_types = (np.full(len(cells), "") for cells in (made, known, asked))
    ratios = np.full(len(asked), np.nan)
    for name in np.unique(known_types):
        of_known, of_made = known[known_types == name], made[made_types == name]
        if min(len(of_known), len(of_made)) >= LEAST_OF_TYPE:
            rows = asked_types == name
            cells = asked[rows]
            by_made, by_known = (CopulaDensity.fit(of).log_density(cells) for of in (of_made, of_known))
            ratios[rows] = by_made - by_known
    if np.isnan(ratios).all():
        raise NotApplicable(
            f"no type has {LEAST_OF_TYPE} cells of known donors and {LEAST_OF_TYPE} synthetic"
        )
    return ratios


def _most_variable(counts: Csr) -> Ints:
    logged = to_log_cp20k(counts, space="counts").astype(np.float64)
    variances = logged.power(2).mean(axis=0) - np.square(logged.mean(axis=0))
    return np.sort(np.argsort(-variances, kind="stable")[:GENES])


def _density_ratios(reference: Csr, synthetic: Csr, candidates: Csr, *, seed: int) -> Floats:
    """Return log distance to the nearest known cell less that to the nearest synthetic one."""
    from scipy.sparse import vstack
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(derived_seed(seed, "donor density"))
    # The nearest of more cells is nearer.
    n_cells = min(reference.shape[0], synthetic.shape[0])
    known, made = (
        to_log_cp20k(cells[np.sort(rng.choice(cells.shape[0], n_cells, replace=False))], space="counts")
        for cells in (reference, synthetic)
    )
    pca = restored_pca(
        fitted_pca(as_csr(vstack([known, made])), most_components=COMPONENTS, seed=derived_seed(seed, "pca"))
    )
    asked = pca.transform(to_log_cp20k(candidates, space="counts"))
    to_known, to_made = (
        NearestNeighbors(n_neighbors=1).fit(pca.transform(cells)).kneighbors(asked)[0][:, 0]
        for cells in (known, made)
    )
    # A copy lies at no distance.
    least = 1e-3 * float(np.median(to_known))
    return np.asarray(np.log(to_known + least) - np.log(to_made + least))


def _compute(setting: DonorSetting, sample: SyntheticCells) -> Score:
    if sample.space != "counts":
        raise NotApplicable(f"the attack looks at whole counts, and these cells are {sample.space}")
    members = setting.trained_donors
    found = attacked(setting, (sample.matrix, sample.cell_types))
    values = {"donor_attack": auc(found[LIKELIHOOD], members)}
    kinds = (("", found, auc), ("_found", found, found_without_error), ("_control", setting.control, auc))
    for kind, by_attack, number in kinds:
        for attack, scores in by_attack.items():
            values[f"donor_attack_{attack}{kind}"] = number(scores, members)
    details = {"trained": sorted(members), "scores": found, "control": setting.control}
    return Score(values=values, details=details, notes=[*sample.notes, *_without_score(setting, found)])


def _without_score(setting: DonorSetting, found: dict[str, dict[str, float]]) -> list[str]:
    asked = set(map(str, np.unique(setting.candidate_donors)))
    return [
        f"left out donors {', '.join(sorted(missing))} by {attack}: none of their types can be compared"
        for attack, scores in found.items()
        if (missing := asked - scores.keys())
    ]


METRIC = Metric(
    name="donor_attack",
    description="AUC of telling donors that were trained on from others, by the synthetic cells",
    compute=_compute,
    better="lower",
    ideal=0.5,
    bounds=(0.0, 1.0),
    reference="doi:10.48550/arXiv.2302.12580",
    cost="five retrained generators, and copulas of 200 genes for each",
    experiment="donors",
    needs_types=True,
    protocols=("strict",),
    group="memorisation",
)
