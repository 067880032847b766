"""The attack on donors: densities as scipy has them, shares of pairs by hand, who can be told and who not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_matrix

from metrics.copula_density import SHRINKAGE, CopulaDensity
from metrics.declaration import NotApplicable
from metrics.donor_attack import METRIC, DonorSetting, attacked, auc, found_without_error
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.synthetic_cells import SyntheticCells

N_GENES = 60


def test_the_log_density_is_that_of_marginals_and_copula():
    rng = np.random.default_rng(0)
    counts = rng.negative_binomial(2, 0.3, size=(400, 5)).astype(float)
    counts[:, 1] = rng.poisson(counts[:, 0])
    density = CopulaDensity.fit(counts)
    means = (counts.sum(axis=0) + 0.1) / 401
    sizes = means**2 / (counts.var(axis=0, ddof=1) - means)
    marginal = stats.nbinom(sizes, sizes / (sizes + means))
    middle = (marginal.cdf(counts) + marginal.cdf(counts - 1)) / 2
    scores = stats.norm.ppf(middle)
    correlations = (1 - SHRINKAGE) * np.corrcoef(scores.T) + SHRINKAGE * np.eye(5)
    gaussian = stats.multivariate_normal(np.zeros(5), correlations).logpdf(scores)
    expected = marginal.logpmf(counts).sum(axis=1) + gaussian - stats.norm.logpdf(scores).sum(axis=1)
    np.testing.assert_allclose(density.log_density(counts), expected, rtol=1e-6)


def test_even_genes_are_poisson_and_unseen_ones_rare():
    counts = np.column_stack([np.tile([3.0, 4.0], 50), np.zeros(100)])
    density = CopulaDensity.fit(counts)
    assert density.sizes[0] == 1e6
    assert density.means == pytest.approx([350.1 / 101, 0.1 / 101])
    assert np.isfinite(density.log_density(np.array([[3.0, 500.0]]))).all()


def test_shares_of_pairs_by_hand():
    scores = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 1.0}
    # Of a and b against c and d: 3>2, 3>1, 1<2, 1=1.
    assert auc(scores, frozenset("ab")) == pytest.approx(2.5 / 4)
    assert found_without_error(scores, frozenset("ab")) == 0.5
    assert found_without_error(scores, frozenset("cd")) == 0.0


def cells_of(rng, tilt, n_cells, cell_type):
    """Counts of a donor: its own expression, by `tilt`, of two types."""
    base = np.full(N_GENES, 4.0)
    base[: N_GENES // 2] *= 3 if cell_type == "a" else 1
    return rng.poisson(base * np.exp(tilt) * rng.gamma(5, 1 / 5, size=(n_cells, 1)))


def setting(rng, *, spread):
    tilts = {f"d{number}": rng.normal(0, spread, N_GENES) for number in range(8)}
    cells, types, donors = [], [], []
    for name, tilt in tilts.items():
        for cell_type in "ab":
            cells.append(cells_of(rng, tilt, 150, cell_type))
            types += [cell_type] * 150
            donors += [name] * 150
    counts, types, donors = np.vstack(cells), np.array(types), np.array(donors)
    known = np.isin(donors, ["d6", "d7"])
    task = DonorSetting(
        csr_matrix(counts[known]),
        types[known],
        csr_matrix(counts[~known]),
        types[~known],
        donors[~known],
        frozenset({"d0", "d1", "d2"}),
        seed=0,
    )
    return task, tilts


def drawn_again(rng, tilts, names, n_cells):
    """New cells of some donors: none of them a copy."""
    cells = [cells_of(rng, tilts[name], n_cells, cell_type) for name in names for cell_type in "ab"]
    types = np.repeat([cell_type for _ in names for cell_type in "ab"], n_cells)
    return SyntheticCells(np.vstack(cells), space="counts", cell_types=types)


def test_donors_are_told_by_new_cells_of_theirs_and_others_are_not():
    rng = np.random.default_rng(1)
    task, tilts = setting(rng, spread=0.3)
    theirs = METRIC.compute(task, drawn_again(rng, tilts, ["d0", "d1", "d2"], 80))
    assert theirs.values["donor_attack_likelihood"] == 1.0
    assert theirs.values["donor_attack_likelihood_found"] == 1.0
    assert theirs.values["donor_attack"] == theirs.values["donor_attack_likelihood"]
    others = METRIC.compute(task, drawn_again(rng, tilts, ["d3", "d4", "d5"], 80))
    assert others.values["donor_attack_likelihood"] == 0.0
    assert theirs.details["trained"] == ["d0", "d1", "d2"]
    assert theirs.details["scores"]["likelihood"].keys() == {f"d{number}" for number in range(6)}


def test_donors_who_do_not_differ_are_told_by_copies_alone():
    rng = np.random.default_rng(2)
    task, tilts = setting(rng, spread=0.0)
    rows = np.flatnonzero(np.isin(task.candidate_donors, ["d0", "d1", "d2"]))[::2]
    copies = SyntheticCells(
        task.candidate_counts[rows], space="counts", cell_types=task.candidate_types[rows]
    )
    assert METRIC.compute(task, copies).values["donor_attack_density"] == 1.0
    shares = [
        METRIC.compute(task, drawn_again(np.random.default_rng(seed), tilts, ["d0", "d1", "d2"], 80)).values
        for seed in range(8)
    ]
    assert 0.2 < np.mean([values["donor_attack_density"] for values in shares]) < 0.8


def test_the_control_knows_nobody_in_question():
    task, _ = setting(np.random.default_rng(3), spread=0.3)
    found = [
        DonorSetting(**{name: getattr(task, name) for name in FIELDS}, seed=seed).control["likelihood"]
        for seed in range(12)
    ]
    assert 0.25 < np.mean([auc(scores, task.trained_donors) for scores in found]) < 0.75


FIELDS = [
    *("reference_counts", "reference_types", "candidate_counts", "candidate_types", "candidate_donors"),
    "trained_donors",
]


def test_distances_to_training_cells_pass_what_the_attack_finds():
    """The five that look for copies see none in new cells of the donors, whom the attack tells."""
    from metrics import authenticity, copied_share, data_copying, duplicates, near_share

    rng = np.random.default_rng(4)
    task, tilts = setting(rng, spread=0.3)
    made = drawn_again(rng, tilts, ["d0", "d1", "d2"], 80)
    inside = np.isin(task.candidate_donors, ["d0", "d1", "d2"])
    test = drawn_again(rng, tilts, ["d0", "d1", "d2"], 80)
    real = RealEvidence(
        task.candidate_counts[inside],
        test.matrix,
        train_types=task.candidate_types[inside],
        test_types=test.cell_types,
        control_pool=None,
        gene_names=[f"g{number}" for number in range(N_GENES)],
        seed=0,
    )
    sample = SampleEvidence(real, made.matrix, space="counts", cell_types=made.cell_types)
    for module in (copied_share, near_share, authenticity, duplicates, data_copying):
        metric = module.METRIC
        value = metric.compute(real, sample).headline
        if metric.alarm is not None:
            sign = 1 if metric.better == "lower" else -1
            assert sign * value < sign * metric.alarm, metric.name
    assert METRIC.compute(task, made).headline == 1.0


def test_what_has_no_number():
    rng = np.random.default_rng(5)
    task, tilts = setting(rng, spread=0.3)
    cells = drawn_again(rng, tilts, ["d0"], 80)
    normalised = SyntheticCells(cells.matrix / 2, space="cp20k", cell_types=cells.cell_types)
    with pytest.raises(NotApplicable, match="looks at whole counts, and these cells are cp20k"):
        METRIC.compute(task, normalised)
    few = (cells.matrix[:40], cells.cell_types[:40])
    with pytest.raises(NotApplicable, match="no type has 30 cells of known donors"):
        attacked(task, (few[0][:20], few[1][:20]))


def test_a_donor_without_comparable_cells_is_left_out_by_name():
    rng = np.random.default_rng(7)
    task, tilts = setting(rng, spread=0.3)
    cells = drawn_again(rng, tilts, ["d0", "d1", "d2"], 80)
    types = np.where(task.candidate_donors == "d2", "a type of their own", task.candidate_types)
    score = METRIC.compute(replace(task, candidate_types=types), cells)
    assert set(score.details["scores"]["likelihood"]) == set(task.candidate_donors) - {"d2"}
    assert set(score.details["scores"]["density"]) == set(task.candidate_donors)
    assert score.headline == 1.0
    assert "left out donors d2 by likelihood: none of their types can be compared" in score.notes
    inside = np.isin(task.candidate_donors, ["d0", "d1", "d2"])
    alone = np.where(inside, "a type of their own", task.candidate_types)
    with pytest.raises(NotApplicable, match="no donor that was trained on has a cell of a type"):
        METRIC.compute(replace(task, candidate_types=alone), cells)


def test_cells_without_labels_are_attacked_as_one_kind():
    rng = np.random.default_rng(6)
    task, tilts = setting(rng, spread=0.3)
    cells = drawn_again(rng, tilts, ["d0", "d1", "d2"], 80)
    assert METRIC.compute(task, SyntheticCells(cells.matrix, space="counts")).headline == 1.0
