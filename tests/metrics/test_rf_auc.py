import inspect
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

import metrics.rf_auc
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.forest import vote_shares
from metrics.rf_auc import (
    FOLDS,
    METRIC,
    METRIC_BY_TYPE,
    groups_of_identical,
    projections,
    rf_auc,
    rf_auc_by_type,
)
from metrics.spaces import as_csr, bring_to

pytestmark = pytest.mark.slow


def gamma_cells(seed, n_cells=60, n_genes=12, shift=0.0):
    return np.random.default_rng(seed).gamma(2.0, size=(n_cells, n_genes)).astype(np.float32) + np.float32(
        shift
    )


def sparse_counts(seed, *, dispersion, n_cells=400, n_genes=2000):
    """Return counts of which nine in ten are zero, each gene with a mean of its own."""
    rng = np.random.default_rng(seed)
    rates = np.random.default_rng(99).gamma(0.3, 0.5, n_genes) * rng.gamma(5.0, 0.2, (n_cells, 1))
    return as_csr(rng.poisson(rates * rng.gamma(1 / dispersion, dispersion, (n_cells, n_genes))))


def plain_loop(cells, labels, *, n_trees, seed, other_forests=0):
    seeds = np.random.SeedSequence(seed).generate_state(6)
    folds = StratifiedKFold(5, shuffle=True, random_state=int(seeds[0])).split(cells, labels)
    areas = []
    for fold, (kept, held_out) in enumerate(folds):
        forest = RandomForestClassifier(n_trees, random_state=int(seeds[1 + fold]) + other_forests)
        votes = forest.fit(cells[kept], labels[kept]).predict_proba(cells[held_out])[:, 1]
        areas.append(roc_auc_score(labels[held_out], votes))
    return areas


def test_equals_a_plain_scikit_learn_loop():
    real, synthetic = gamma_cells(0), gamma_cells(1, shift=0.3)
    cells, labels = np.vstack([real, synthetic]), np.repeat([0, 1], 60)
    order = np.argsort(projections(as_csr(cells))[:, 0])
    expected = plain_loop(cells[order], labels[order], n_trees=20, seed=7)
    result = rf_auc(real, synthetic, n_trees=20, seed=7, n_threads=2)
    np.testing.assert_allclose(result.fold_auc, expected, rtol=1e-12)
    assert result.mean == pytest.approx(np.mean(expected))
    assert result.sd == pytest.approx(np.std(expected, ddof=1))
    assert 0.55 < result.mean < 1.0


def test_fold_by_fold_as_plain_scikit_learn_at_the_size_of_a_small_data_set():
    sides = [
        bring_to(sparse_counts(seed, dispersion=d), space="counts", target="log_cp20k")
        for seed, d in ((0, 2.0), (1, 0.2))
    ]
    cells, labels = np.vstack([side.toarray() for side in sides]), np.repeat([0, 1], 400)
    order = np.argsort(projections(as_csr(cells))[:, 0])
    result = rf_auc(*sides, n_trees=30, seed=7, n_threads=2)
    expected = plain_loop(cells[order], labels[order], n_trees=30, seed=7)
    np.testing.assert_allclose(result.fold_auc, expected, rtol=1e-12)
    assert 0.55 < result.mean < 0.95


def test_scores_and_folds_give_the_areas_back():
    result = rf_auc(gamma_cells(0), gamma_cells(1, shift=0.3), n_trees=20, seed=0, n_threads=1)
    again = [
        roc_auc_score(result.labels[result.folds == fold], result.scores[result.folds == fold])
        for fold in range(5)
    ]
    np.testing.assert_allclose(result.fold_auc, again)
    assert result.labels.tolist() == [0] * 60 + [1] * 60


def test_one_distribution_scores_one_half_and_separated_ones_score_one():
    same = [rf_auc(gamma_cells(s, 150), gamma_cells(100 + s, 150), n_trees=50, seed=s).mean for s in range(4)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.05)
    assert rf_auc(gamma_cells(0), gamma_cells(1, shift=50), n_trees=20, seed=0).mean == 1.0


def test_the_order_of_cells_does_not_matter():
    real, synthetic = gamma_cells(0), gamma_cells(1, shift=0.3)
    synthetic[:20] = synthetic[20:40]
    rng = np.random.default_rng(5)
    shuffled = rng.permutation(60)
    first = rf_auc(real, synthetic, n_trees=20, seed=0)
    second = rf_auc(real[rng.permutation(60)], synthetic[shuffled], n_trees=20, seed=0)
    np.testing.assert_allclose(first.fold_auc, second.fold_auc, rtol=1e-12)
    np.testing.assert_array_equal(first.folds[60:][shuffled], second.folds[60:])


def test_identical_cells_share_a_fold_also_across_sides():
    real, synthetic = gamma_cells(0), gamma_cells(1)
    synthetic[:30] = synthetic[30:]
    synthetic[0] = np.nextafter(real[0], np.float32(9))
    result = rf_auc(real, synthetic, n_trees=5, seed=0)
    folds = result.folds
    np.testing.assert_array_equal(folds[61:90], folds[91:120])
    assert folds[60] == folds[0]
    for label in (0, 1):
        sizes = np.bincount(folds[result.labels == label], minlength=5)
        assert sizes.min() >= 9 and sizes.max() <= 15


def test_duplicates_do_not_leak():
    real = gamma_cells(0, 120)
    synthetic = np.repeat(gamma_cells(1, 24), 5, axis=0)
    cells, labels = np.vstack([real, synthetic]), np.repeat([0, 1], 120)
    leaking = np.mean(plain_loop(cells, labels, n_trees=50, seed=0))
    assert leaking > 0.9
    assert rf_auc(real, synthetic, n_trees=50, seed=0).mean < 0.75


@pytest.mark.parametrize("n_distinct", [2, 4])
def test_few_distinct_cells_make_fewer_folds_and_a_note(n_distinct):
    collapsed = np.resize(gamma_cells(1, n_distinct, shift=9), (60, 12))
    result = rf_auc(gamma_cells(0), collapsed, n_trees=5, seed=0)
    assert result.fold_auc.tolist() == [1.0] * n_distinct
    assert np.unique(result.folds[60 : 60 + n_distinct]).size == n_distinct
    assert result.notes == [f"only {n_distinct} distinct synthetic cells, so {n_distinct} folds instead of 5"]


def test_few_distinct_real_cells_count_as_well():
    result = rf_auc(np.resize(gamma_cells(1, 3), (60, 12)), gamma_cells(0), n_trees=5, seed=0)
    assert result.fold_auc.size == 3
    assert result.notes == ["only 3 distinct real cells, so 3 folds instead of 5"]


def test_total_collapse_is_named():
    collapsed = np.resize(gamma_cells(1, 1), (60, 12))
    with pytest.raises(NotApplicable, match=r"^collapsed: all synthetic cells are identical$"):
        rf_auc(gamma_cells(0), collapsed, n_trees=5, seed=0)


def test_five_distinct_cells_are_enough():
    few = np.resize(gamma_cells(1, 5, shift=9), (60, 12))
    result = rf_auc(gamma_cells(0), few, n_trees=5, seed=0)
    assert (result.fold_auc.tolist(), result.notes) == ([1.0] * 5, [])


def test_sides_must_be_equal():
    with pytest.raises(ValueError, match="as many of either"):
        rf_auc(gamma_cells(0), gamma_cells(1, 59), n_trees=5, seed=0)


def test_cells_are_told_apart_by_value_and_by_gene():
    cells = np.array([[1, 0, 2], [1, 2, 0], [1, 0, 2], [1, 0, 2.01], [0, 0, 0]], dtype=np.float32)
    assert groups_of_identical(projections(as_csr(cells))).tolist() == [0, 1, 0, 2, 3]


@pytest.mark.parametrize("space", ["log_cp20k", "cp20k"])
def test_copies_that_went_through_another_space_stay_identical(space):
    counts = np.random.default_rng(0).poisson(0.5, size=(200, 300)).astype(np.float32)
    # One gene that takes half of each cell, and a neighbour of each cell that has one count more.
    counts[:, 0] = 150
    counts = np.vstack([counts, counts + np.eye(300, dtype=np.float32)[np.resize(np.arange(1, 300), 200)]])
    cells = bring_to(counts, space="counts", target=space)
    log_cp10k = np.log1p(counts / counts.sum(axis=1, keepdims=True) * np.float32(10_000))
    copies = bring_to(np.expm1(log_cp10k), space="cp20k", target=space)
    assert np.mean(np.any(cells.toarray() != copies.toarray(), axis=1)) > 0.5
    groups = groups_of_identical(projections(as_csr(np.vstack([cells.toarray(), copies.toarray()]))))
    assert groups.tolist() == [*range(400)] * 2


def test_the_forest_is_the_papers():
    defaults = {name: p.default for name, p in inspect.signature(rf_auc).parameters.items()}
    assert (defaults["n_trees"], defaults["split"], defaults["features"]) == (1000, "five_folds", "genes")
    assert FOLDS == 5
    assert inspect.signature(rf_auc_by_type).parameters["n_trees"].default == 1000


def evidence(n_of_types, synthetic_types, rates):
    """Two genes' worth of types; synthetic counts drawn with `rates` by type."""
    rng = np.random.default_rng(0)
    types = np.repeat(list(n_of_types), list(n_of_types.values()))
    counts = rng.poisson(4.0, size=(types.size, 15))
    real = RealEvidence(
        counts,
        counts,
        train_types=types,
        test_types=types,
        control_pool=None,
        gene_names=[*"abcdefghijklmno"],
        seed=0,
    )
    made = rng.poisson([np.r_[[rates[t]] * 7, [4.0] * 8] for t in synthetic_types])
    return real, called(SampleEvidence(real, made, space="counts"), synthetic_types)


def called(sample, synthetic_types):
    """Have the classifier call all cells as they were made; the counts alone would not tell."""
    sample.real.test_calls, sample.calls = sample.real.test_types, np.array(synthetic_types)
    return sample


def test_by_type_scores_each_type_and_names_what_it_left_out():
    n_of_types = {"B": 40, "NK": 30, "T": 9, "DC": 21}
    made_types = ["B"] * 55 + ["NK"] * 30 + ["T"] * 9 + ["DC"] * 6
    real, sample = evidence(n_of_types, made_types, {"B": 4.0, "NK": 40.0, "T": 4.0, "DC": 4.0})
    score = rf_auc_by_type(real, sample, n_trees=30)
    by_type = score.details["by_type"]
    assert list(by_type) == ["B", "NK", "DC"]
    assert by_type["DC"]["rf_auc"] == 1.0  # lost: a type that is hard to make must not be left out
    assert by_type["NK"]["rf_auc"] > 0.97
    assert abs(by_type["B"]["rf_auc"] - 0.5) < 0.2
    assert (by_type["B"]["test_cells"], by_type["B"]["synthetic_cells"]) == (40, 55)
    distances = [abs(by_type[name]["rf_auc"] - 0.5) for name in ("B", "NK", "DC")]
    assert score.headline == pytest.approx(0.5 + np.mean(distances))
    assert score.notes == [
        "left out T: 9 test and 9 synthetic cells",
        "counted at its worst DC, which is lost: 21 test and 6 synthetic cells",
    ]


def test_a_type_below_one_half_does_not_make_up_for_one_above(monkeypatch):
    found = iter([SimpleNamespace(notes=[], values={"rf_auc": area}) for area in (0.2, 0.8)])
    monkeypatch.setattr(metrics.rf_auc, "rf_auc", lambda *_, **__: next(found))
    real, sample = evidence({"B": 10, "T": 10}, ["B"] * 10 + ["T"] * 10, {"B": 4.0, "T": 4.0})
    assert rf_auc_by_type(real, sample).headline == pytest.approx(0.8)


def test_by_type_draws_the_same_cells_in_whatever_order_they_come():
    """Of B there are more synthetic than test cells, so that some are drawn."""
    made_types = np.repeat(["B", "NK"], [55, 30])
    real, sample = evidence({"B": 40, "NK": 45}, made_types, {"B": 4.0, "NK": 5.0})
    order = np.random.default_rng(1).permutation(made_types.size)
    moved = called(SampleEvidence(real, sample.cells[order], space="log_cp20k"), made_types[order])
    there, moved_there = (rf_auc_by_type(real, cells, n_trees=20).headline for cells in (sample, moved))
    assert moved_there == pytest.approx(there, rel=1e-12)


def test_by_type_needs_types_and_one_large_enough():
    real, sample = evidence({"T": 9}, ["T"] * 9, {"T": 4.0})
    with pytest.raises(NotApplicable, match="left out T: 9 test"):
        rf_auc_by_type(real, sample)
    del sample.calls, real.test_calls
    with pytest.raises(NotApplicable, match=r"not by type: .*types"):
        rf_auc_by_type(real, sample)


def test_the_floors_by_type_are_controls_that_carry_types():
    assert METRIC_BY_TYPE.floors == ("shuffle_within_type", "poisson")


def test_by_type_says_which_type_is_collapsed():
    real, sample = evidence(
        {"B": 20, "T": 20, "NK": 20},
        ["B"] * 20 + ["T"] * 20 + ["NK"] * 20,
        dict.fromkeys(["B", "T", "NK"], 4.0),
    )
    made = sample.matrix.toarray()
    made[20:40] = np.resize(made[20:23], (20, 15))
    made[40:] = made[40]
    sample = called(SampleEvidence(real, made, space="counts"), sample.calls)
    score = rf_auc_by_type(real, sample, n_trees=5)
    assert list(score.details["by_type"]) == ["B", "T"]
    assert score.notes == [
        "left out NK: collapsed: all synthetic cells are identical",
        "T: only 3 distinct synthetic cells, so 3 folds instead of 5",
    ]


def test_the_headline_metric_notes_a_collapse(monkeypatch):
    real, sample = evidence({"T": 30}, ["T"] * 30, {"T": 40.0})
    few = np.resize(sample.matrix.toarray()[:3], (30, 15))
    monkeypatch.setattr(
        metrics.rf_auc, "vote_shares", lambda *cells, **given: vote_shares(*cells, **given | {"n_trees": 10})
    )
    score = METRIC.compute(real, SampleEvidence(real, few, space="counts"))
    assert score.headline > 0.95
    assert score.notes == ["only 3 distinct synthetic cells, so 3 folds instead of 5"]


def test_the_metric_compares_log_cells_and_keeps_what_the_figure_needs(monkeypatch):
    real, sample = evidence({"T": 30}, ["T"] * 30, {"T": 12.0})
    asked = []

    def smaller(*cells, n_trees, **options):
        asked.append(n_trees)
        return vote_shares(*cells, n_trees=10, **options)

    monkeypatch.setattr(metrics.rf_auc, "vote_shares", smaller)
    score = METRIC.compute(real, sample)
    assert asked == [1000] * 5
    assert list(score.values) == ["rf_auc", "rf_auc_sd"]
    folds, labels, votes = (np.array(score.details[key]) for key in ("folds", "labels", "scores"))
    areas = [roc_auc_score(labels[folds == fold], votes[folds == fold]) for fold in range(5)]
    assert score.headline == pytest.approx(np.mean(areas))
    low, high = score.interval
    assert low < score.headline < high
    assert 0 < score.p_value < 0.01


def test_components_are_fitted_on_the_training_part_and_one_split_is_scored():
    rng = np.random.default_rng(0)
    real, synthetic = (
        rng.poisson(2.0, size=(100, 80)),
        rng.poisson([*[3.0] * 20, *[2.0] * 60], size=(100, 80)),
    )
    result = rf_auc(real, synthetic, n_trees=30, split="70/30", features="pca", seed=3, n_threads=1)
    cells, labels = np.vstack([real, synthetic]).astype(np.float64), np.repeat([0, 1], 100)
    held_out, kept = np.flatnonzero(result.folds == 0), np.flatnonzero(result.folds == -1)
    assert (held_out.size, kept.size) == (60, 140)
    mean = cells[kept].mean(axis=0)
    axes = np.linalg.svd(cells[kept] - mean, full_matrices=False)[2][:50].T
    forest = RandomForestClassifier(300, random_state=0)
    forest.fit((cells[kept] - mean) @ axes, labels[kept])
    votes = forest.predict_proba((cells[held_out] - mean) @ axes)[:, 1]
    assert result.mean == pytest.approx(roc_auc_score(labels[held_out], result.scores[held_out]))
    assert result.mean == pytest.approx(roc_auc_score(labels[held_out], votes), abs=0.1)
    assert 0.7 < result.mean < 1
    assert np.isnan(result.scores[kept]).all()
    assert (result.sd, result.values, result.notes) == (None, {"rf_auc": result.mean}, [])


def test_few_cells_leave_fewer_components_and_a_note():
    result = rf_auc(gamma_cells(0), gamma_cells(1), n_trees=5, split="70/30", features="pca", seed=0)
    assert result.notes == ["11 principal components instead of 50"]


def test_the_metric_follows_the_protocol(monkeypatch):
    asked = {}

    def spied(*cells, **options):
        asked.update(options)
        return rf_auc(*cells, n_trees=5, **options)

    monkeypatch.setattr(metrics.rf_auc, "rf_auc", spied)
    counts = np.random.default_rng(0).poisson(3.0, size=(80, 15))
    given = {
        "train_types": None,
        "test_types": None,
        "control_pool": None,
        "gene_names": range(15),
        "seed": 0,
    }
    real = RealEvidence(counts, counts[:40], **given, protocol="groundgan2024")
    score = METRIC.compute(real, SampleEvidence(real, counts[40:], space="counts"))
    assert (asked["split"], asked["features"]) == ("70/30", "pca")
    assert list(score.values) == ["rf_auc"]
    assert set(score.details["folds"]) == {0} and len(score.details["scores"]) == 24


def test_chance_alone_seldom_looks_like_a_difference():
    p_values = [
        rf_auc(gamma_cells(2 * s), gamma_cells(2 * s + 1), n_trees=8, seed=s, n_threads=1).p_value
        for s in range(60)
    ]
    # At most 5 %: of 60 such draws, 8 or more are below 0.05 once in a hundred times.
    assert np.sum(np.array(p_values) < 0.05) <= 7
    assert rf_auc(gamma_cells(0), gamma_cells(1, shift=0.5), n_trees=8, seed=0, n_threads=1).p_value < 0.01
