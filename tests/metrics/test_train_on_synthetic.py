import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence
from metrics.train_on_synthetic import METRIC, f1_by_type, learn_and_call
from tests.metrics.typed_cells import evidence, reordered, sample_of, shuffled, typed_cells

NAMES = np.array(["A", "B", "C"])


def sklearns(truth, called):
    return f1_score(truth, called, labels=NAMES, average=None, zero_division=0)


def test_f1_equals_scikit_learns_also_weighted():
    rng = np.random.default_rng(0)
    truth, called = rng.choice(["A", "B", "D"], 60), rng.choice(["A", "B", "E"], 60)
    weights = rng.integers(0, 4, size=(2, 60)).astype(float)
    np.testing.assert_allclose(f1_by_type(truth, called, NAMES), sklearns(truth, called))
    expected = [sklearns(np.repeat(truth, w.astype(int)), np.repeat(called, w.astype(int))) for w in weights]
    np.testing.assert_allclose(f1_by_type(truth, called, NAMES, weights), expected)


def test_the_score_equals_that_of_a_pipeline_of_scikit_learn():
    real = evidence()
    counts, types = typed_cells(150, seed=1)
    sample = sample_of(real, counts, types)
    score = METRIC.compute(real, sample)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(sample.pca_scores, types)
    expected = sklearns(real.test_types, model.predict(real.pca_scores))
    assert score.headline == pytest.approx(expected.mean())
    assert [score.details["by_type"][name]["tstr_f1"] for name in NAMES] == pytest.approx(expected)
    assert score.values["tstr_ratio"] == pytest.approx(score.headline / score.values["trtr_f1"])
    assert score.values["trtr_f1"] > 0.9
    assert score.interval[0] <= score.headline <= score.interval[1]
    assert "synthetic cells labelled by their generator" in score.notes
    again = METRIC.compute(real, reordered(sample, seed=0))
    assert (again.values, again.interval) == (pytest.approx(score.values), pytest.approx(score.interval))


def test_the_reference_learns_from_no_cell_that_a_control_may_draw():
    (counts, types), (test, test_types) = typed_cells(300, seed=100), typed_cells(150, seed=101)
    pool, found = np.arange(300) < 140, []
    for labels in (types, np.where(pool, "A", types)):
        real = RealEvidence(
            counts,
            test,
            train_types=labels,
            test_types=test_types,
            control_pool=pool,
            gene_names=range(counts.shape[1]),
            seed=0,
        )
        sample = sample_of(real, *typed_cells(150, seed=1))
        found.append(METRIC.compute(real, sample).values)
    assert found[0] == found[1]
    assert found[0]["trtr_f1"] > 0.9


def test_wrong_labels_teach_the_wrong_thing():
    real = evidence()
    counts, types = typed_cells(150, seed=1)
    swapped = np.select([types == "A", types == "B"], ["B", "A"], types)
    score = METRIC.compute(real, sample_of(real, counts, swapped))
    by_type = {name: values["tstr_f1"] for name, values in score.details["by_type"].items()}
    assert by_type["A"] < 0.1 and by_type["B"] < 0.1 and by_type["C"] > 0.8


def test_whose_labels_are_learnt_is_told():
    real = evidence()
    counts, types = typed_cells(150, seed=1)
    called = METRIC.compute(real, sample_of(real, counts))
    named_otherwise = METRIC.compute(real, sample_of(real, counts, np.char.add("cluster ", types)))
    assert called.values == named_otherwise.values
    assert "synthetic cells carry no types: labelled by the classifier of real cells" in called.notes
    other = "no type of the synthetic cells is a real one: labelled by the classifier of real cells"
    assert other in named_otherwise.notes


def test_a_generator_of_one_type_teaches_that_type_alone():
    assert learn_and_call(np.zeros((3, 2)), np.array(["B"] * 3), np.ones((2, 2))).tolist() == ["B", "B"]
    real = evidence()
    counts, types = typed_cells(400, seed=1)
    score = METRIC.compute(real, sample_of(real, counts[types == "A"][:150], ["A"] * 150))
    share = np.mean(real.test_types == "A")
    assert score.headline == pytest.approx(2 * share / (1 + share) / 3)


def test_shuffled_genes_teach_less():
    real = evidence()
    counts, types = typed_cells(150, seed=1)
    floor = METRIC.compute(real, sample_of(real, shuffled(counts, seed=0)))
    assert floor.headline < METRIC.compute(real, sample_of(real, counts, types)).headline


def test_small_types_are_left_out_by_name():
    real = evidence(n_cells=30)
    n_cells_of_c = int(np.sum(real.test_types == "C"))
    assert n_cells_of_c < 10
    score = METRIC.compute(real, sample_of(real, *typed_cells(30, seed=1)))
    assert list(score.details["by_type"]) == ["A", "B"]
    assert "left out C: fewer than 10 test cells" in score.notes


def test_one_type_cannot_be_told_apart():
    real = evidence(n_cells=12)
    with pytest.raises(NotApplicable, match="types of 10 test cells; telling apart needs two"):
        METRIC.compute(real, sample_of(real, *typed_cells(12, seed=1)))
    real = evidence(with_types=False)
    with pytest.raises(NotApplicable, match="the real cells carry no cell types"):
        METRIC.compute(real, sample_of(real, typed_cells(150, seed=1)[0]))
