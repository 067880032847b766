import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from metrics.declaration import NotApplicable
from metrics.folds import assign_folds, hold_out


def test_without_duplicates_folds_are_plain_stratified_ones():
    labels = np.repeat([0, 1], 25)
    folds, notes = assign_folds(labels, np.arange(50), n_folds=5, seed=3)
    assert notes == []
    plain = StratifiedKFold(5, shuffle=True, random_state=3).split(labels, labels)
    for fold, (_, held_out) in enumerate(plain):
        np.testing.assert_array_equal(np.flatnonzero(folds == fold), held_out)


def test_folds_become_fewer_until_each_holds_both_sides():
    labels = np.repeat([0, 1], 50)
    copied = np.repeat(np.arange(5), [23, 5, 13, 1, 8])
    identical = np.concatenate([np.arange(50), copied])
    folds, notes = assign_folds(labels, identical, n_folds=5, seed=0)
    assert notes == ["only 5 distinct synthetic cells, so 4 folds instead of 5"]
    assert np.unique(folds[:50]).tolist() == np.unique(folds[50:]).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(folds[50:], folds[copied])


def test_cells_that_fill_no_two_folds_are_named():
    labels, identical = np.repeat([0, 1], 60), np.repeat([0, 1, 0, 2], 30)
    with pytest.raises(NotApplicable, match="only 2 distinct real cells; they fill no two folds"):
        assign_folds(labels, identical, n_folds=5, seed=0)


def test_three_of_ten_cells_are_held_out_without_regard_to_their_side():
    labels, real = np.repeat([0, 1], 50), []
    for seed in range(400):
        folds, notes = hold_out(labels, np.arange(100), seed=seed)
        assert (int(np.sum(folds == 0)), int(np.sum(folds == -1)), notes) == (30, 70, [])
        real.append(np.sum(folds[:50] == 0))
    # Hypergeometric: mean 15, variance 30 · ½ · ½ · 70/99; stratified it would be 0.
    assert np.mean(real) == pytest.approx(15, abs=0.4)
    assert np.var(real) == pytest.approx(30 / 4 * 70 / 99, rel=0.25)


def test_a_draw_without_one_side_is_refused():
    labels = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    with pytest.raises(NotApplicable, match="the held-out part of a split of 70 to 30 has cells of one side"):
        for seed in range(20):
            hold_out(labels, np.arange(10), seed=seed)


def test_identical_cells_are_held_out_together():
    labels = np.repeat([0, 1], 60)
    identical = np.concatenate([np.arange(60), np.repeat(np.arange(12), 5)])
    folds, _ = hold_out(labels, identical, seed=0)
    np.testing.assert_array_equal(folds[60:], folds[identical[60:]])
    assert 0.2 < np.mean(folds[60:] == 0) < 0.45


@pytest.mark.parametrize(("n_distinct", "held_out"), [(2, 1), (3, 1), (5, 2)])
def test_few_distinct_cells_still_leave_some_to_learn_from(n_distinct, held_out):
    labels = np.repeat([0, 1], 30)
    identical = np.concatenate([np.arange(30), 30 + np.resize(np.arange(n_distinct), 30)])
    folds, notes = hold_out(labels, identical, seed=0)
    assert np.unique(identical[30:][folds[30:] == 0]).size == held_out
    assert notes == [f"only {n_distinct} distinct synthetic cells, so {n_distinct} folds instead of 10"]
