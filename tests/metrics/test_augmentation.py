import inspect

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score, f1_score

from metrics.augmentation import (
    METRIC,
    AugmentationSetting,
    augmentation_baselines,
    augmentation_f1,
    duplicated,
    interpolated,
    poisson_counts,
)
from metrics.declaration import NotApplicable
from metrics.evidence import SyntheticCells
from metrics.seeds import derived_seed
from metrics.spaces import to_log_cp20k

pytestmark = pytest.mark.slow

N_GENES = 40


def rare_counts(rng, n_cells):
    rates = np.full((n_cells, N_GENES), 3.0)
    rates[:, :6] = 6.0
    return rng.poisson(rates)


def setting(*, kept=4, others=200):
    rng = np.random.default_rng(0)
    return AugmentationSetting(
        train_counts=np.vstack([rare_counts(rng, kept), rng.poisson(3.0, size=(others, N_GENES))]),
        train_types=["rare"] * kept + ["other"] * others,
        test_counts=np.vstack([rare_counts(rng, 30), rng.poisson(3.0, size=(100, N_GENES))]),
        test_types=["rare"] * 30 + ["other"] * 100,
        cell_type="rare",
        seed=0,
    )


def test_good_cells_help_where_nothing_else_does_and_wrong_cells_do_not():
    task, rng = setting(), np.random.default_rng(1)
    none = augmentation_f1(task, None, balanced=False, n_trees=50)
    good = augmentation_f1(task, to_log_cp20k(rare_counts(rng, 200), space="counts"), n_trees=50)
    wrong_counts = rng.poisson(3.0, size=(200, N_GENES))
    wrong = augmentation_f1(task, to_log_cp20k(wrong_counts, space="counts"), n_trees=50)
    assert none.headline == 0
    assert good.headline > 0.8
    assert good.values["average_precision"] > none.values["average_precision"] > 0.3
    assert wrong.headline < 0.6
    assert (good.details["kept_cells"], good.details["added_cells"]) == (4, 200)
    assert good.details["held_out_cells_of_type"] == 30


@pytest.mark.parametrize(("balanced", "class_weight"), [(False, None), (True, "balanced")])
def test_scores_equal_a_plain_scikit_learn_forest(balanced, class_weight):
    task = setting(kept=30)
    added = to_log_cp20k(rare_counts(np.random.default_rng(1), 20), space="counts")
    forest = RandomForestClassifier(
        25, class_weight=class_weight, random_state=derived_seed(0, "augmentation forest")
    )
    forest.fit(np.vstack([task.log_train.toarray(), added.toarray()]), [1] * 30 + [0] * 200 + [1] * 20)
    share = forest.predict_proba(task.log_test.toarray())[:, 1]
    truth = [1] * 30 + [0] * 100
    score = augmentation_f1(task, added, balanced=balanced, n_trees=25, n_threads=2)
    assert score.headline == pytest.approx(f1_score(truth, share > 0.5))
    assert score.values["average_precision"] == pytest.approx(average_precision_score(truth, share.round(9)))


def test_f1_is_that_of_precision_and_recall():
    score = augmentation_f1(setting(kept=40), None, n_trees=25)
    precision, recall = score.details["precision"], score.details["recall"]
    assert 0 < recall < 1
    assert score.headline == pytest.approx(2 * precision * recall / (precision + recall))


def test_the_interval_is_that_of_resampled_held_out_cells():
    task = setting(kept=40)
    score = augmentation_f1(task, None, n_trees=25)
    forest = RandomForestClassifier(
        25, class_weight="balanced", random_state=derived_seed(0, "augmentation forest")
    ).fit(task.log_train.toarray(), task.is_type)
    called, truth = forest.predict_proba(task.log_test.toarray())[:, 1] > 0.5, task.is_type_in_test
    rng = np.random.default_rng(1)
    resamples = [np.r_[rng.integers(30, size=30), 30 + rng.integers(100, size=100)] for _ in range(500)]
    values = np.array([f1_score(truth[rows], called[rows]) for rows in resamples])
    expected = np.quantile(values, [0.025, 0.975]) + score.headline - values.mean()
    np.testing.assert_allclose(score.interval, np.clip(expected, 0, 1), atol=0.04)
    assert score.interval[0] < score.headline < score.interval[1]


def test_duplicates_are_kept_cells():
    task = setting()
    kept = {row.tobytes() for row in task.log_train.toarray()[:4]}
    drawn = [row.tobytes() for row in duplicated(task, 50).toarray()]
    assert set(drawn) == kept


def test_interpolated_cells_lie_between_a_kept_cell_and_a_near_neighbour():
    task = setting(kept=9)
    kept = task.log_train.toarray()[:9].astype(np.float64)
    distances = np.linalg.norm(kept[:, None] - kept[None], axis=2)
    near = np.argsort(distances, axis=1)[:, 1:6]
    pairs = set()
    for point in interpolated(task, 60).toarray():
        deviations = {}
        for a in range(9):
            for b in near[a]:
                way = kept[b] - kept[a]
                share = np.clip((point - kept[a]) @ way / (way @ way), 0, 1)
                deviations[(a, b)] = np.abs(kept[a] + share * way - point).max()
        best = min(deviations, key=deviations.get)
        assert deviations[best] < 1e-4
        pairs.add(best)
    assert len(pairs) > 15


def test_a_single_kept_cell_is_its_own_neighbour():
    task = setting(kept=1)
    np.testing.assert_array_equal(
        interpolated(task, 3).toarray(), np.repeat(task.log_train.toarray()[:1], 3, axis=0)
    )


def test_poisson_jitter_gives_counts_around_kept_cells():
    task = setting(kept=1)
    drawn = poisson_counts(task, 4000).toarray()
    np.testing.assert_array_equal(drawn, np.round(drawn))
    mean = task.train_counts[0]
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=5 * np.sqrt(mean.max() / 4000))
    np.testing.assert_allclose(drawn.var(axis=0), mean, atol=0.15 * mean.max())


def test_baselines_differ_in_what_they_add_and_in_class_weights():
    task = setting(kept=20)
    scores = augmentation_baselines(task, n_added=120, n_trees=25)
    added = {name: score.details["added_cells"] for name, score in scores.items()}
    assert added == {"none": 0, "class_weights": 0, "duplication": 120, "smote": 120, "poisson_jitter": 120}
    assert scores["none"] == augmentation_f1(task, None, balanced=False, n_trees=25)
    assert scores["class_weights"] == augmentation_f1(task, None, n_trees=25)
    jitter = to_log_cp20k(poisson_counts(task, 120), space="counts")
    assert scores["poisson_jitter"] == augmentation_f1(task, jitter, n_trees=25)
    assert scores["smote"].headline > scores["none"].headline


def test_a_type_that_is_missing_is_named():
    task = setting(kept=0)
    with pytest.raises(NotApplicable, match="0 of 200 training cells are rare"):
        augmentation_baselines(task, n_added=10)


def test_the_metric_brings_added_cells_to_log_space_and_keeps_their_notes():
    task = setting()
    counts = rare_counts(np.random.default_rng(1), 20)
    counts[0] = 0
    score = METRIC.compute(task, SyntheticCells(counts, space="counts"))
    assert score.notes == ["1 of 20 synthetic cells are all zero"]
    assert score.values == augmentation_f1(task, to_log_cp20k(counts, space="counts")).values
    assert inspect.signature(augmentation_f1).parameters["n_trees"].default == 1000
