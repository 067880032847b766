from fractions import Fraction

import numpy as np
import pytest

from datasets import DatasetError, splits


def labels_of(**sizes):
    return np.random.default_rng(0).permutation(np.repeat(list(sizes), list(sizes.values())))


def count(assigned, labels, part):
    return {name: int(np.sum((labels == name) & (assigned == part))) for name in np.unique(labels)}


def test_2000_of_20000_cells_are_shared_out_as_the_paper_does():
    # int(9000/20000·2000) = 900, int(700.1) = 700, int(399.9) = 399: 1999 in all, as the paper's 1997.
    labels = labels_of(a=9000, b=7001, c=3999)
    assigned = splits.split(labels, share=splits.held_out_share(2000, len(labels)))
    assert count(assigned, labels, "test") == {"a": 900, "b": 700, "c": 399}
    assert np.sum(assigned == "train") == 20000 - 1999


def test_7000_of_68579_cells():
    labels = labels_of(a=40000, b=28579)
    assigned = splits.split(labels, share=splits.held_out_share(7000, len(labels)))
    assert count(assigned, labels, "test") == {"a": 4082, "b": 2917}  # 4082.88 and 2917.11


def test_a_share_is_exact_where_binary_fractions_are_not():
    assert int(0.29 * 100) == 28  # what this test guards against
    labels = labels_of(a=100, b=30, c=9)
    assert count(splits.split(labels, share=Fraction("0.29")), labels, "test") == {"a": 29, "b": 8, "c": 2}
    share = splits.held_out_share(0.1, 139)
    assert count(splits.split(labels, share=share), labels, "test") == {"a": 10, "b": 3, "c": 0}


def test_a_number_meant_for_a_large_data_set_takes_a_fifth_of_a_small_one():
    assert splits.held_out_share(2000, 500) == Fraction(1, 5)
    assert splits.held_out_share(2000, 20000) == Fraction(1, 10)


def test_same_seed_same_split_other_seed_other_cells():
    labels = labels_of(a=200, b=100)
    first, again = (splits.split(labels, share=Fraction(1, 5), seed=3) for _ in range(2))
    other = splits.split(labels, share=Fraction(1, 5), seed=4)
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert count(first, labels, "test") == count(other, labels, "test") == {"a": 40, "b": 20}


def test_validation_comes_out_of_the_training_part_and_leaves_the_test_cells_alone():
    labels = labels_of(a=200, b=100)
    without = splits.split(labels, share=Fraction(1, 5), seed=1)
    with_validation = splits.split(labels, share=Fraction(1, 5), validation_share=0.25, seed=1)
    np.testing.assert_array_equal(without == "test", with_validation == "test")
    assert count(with_validation, labels, "valid") == {"a": 40, "b": 20}
    assert count(with_validation, labels, "train") == {"a": 120, "b": 60}


def test_groups_are_held_out_whole_until_about_the_share_is_reached():
    groups = np.repeat([f"d{n}" for n in range(10)], 30)
    labels = np.tile(["a", "b"], 150)
    held = {}
    for seed in range(8):
        assigned = splits.split(labels, share=Fraction(1, 5), groups=groups, seed=seed)
        held[seed] = set(groups[assigned == "test"])
        assert not held[seed] & set(groups[assigned == "train"])
        assert len(held[seed]) == 2
    assert len({frozenset(names) for names in held.values()}) > 1


def test_a_group_that_would_overshoot_is_passed_over_and_one_group_always_trains():
    groups = np.repeat(["big", "small"], [900, 100])
    for seed in range(6):
        assigned = splits.split(np.full(1000, "a"), share=Fraction(1, 10), groups=groups, seed=seed)
        assert set(groups[assigned == "test"]) == {"small"}
    with pytest.raises(DatasetError, match=r"one group \(only\).*--split-by"):
        splits.split(np.full(5, "a"), share=Fraction(1, 10), groups=np.full(5, "only"))


@pytest.mark.parametrize(
    ("sizes", "share", "held"),
    [
        ([50, 50, 190, 710], "0.1", {100}),  # 190 alone is nearer to 100 than none, but both 50 fit
        ([80, 130, 790], "0.1", {80}),  # 80 + 130 is farther off than 80
        ([60, 70, 870], "0.1", {70, 130}),  # 60 is 40 off, with the other 30; 70 is 30 off already
        ([300, 310, 390], "0.1", {300}),  # none fits: the smallest
        ([500, 500], "0.8", {500}),  # one group always trains
    ],
)
def test_groups_come_as_near_to_the_share_as_whole_groups_can(sizes, share, held):
    groups = np.repeat([f"d{n}" for n in range(len(sizes))], sizes)
    for seed in range(12):
        assigned = splits.split(np.full(1000, "a"), share=Fraction(share), groups=groups, seed=seed)
        assert int(np.sum(assigned == "test")) in held


def test_a_split_without_a_cell_is_an_error():
    with pytest.raises(DatasetError, match=r"9 cells in 1 types .* too few to hold out 10%"):
        splits.split(np.full(9, "a"), share=Fraction(1, 10))
    with pytest.raises(DatasetError, match=r"validation share of 0\.01"):
        splits.split(np.full(20, "a"), share=Fraction(1, 10), validation_share=0.01)


def test_a_type_without_training_cells_is_named():
    with pytest.raises(DatasetError, match=r"no training cell of b \(2 cells\)"):
        splits.require_training_cells(["a", "b", "b"], np.array(["train", "test", "test"]))


def test_the_control_pool_is_a_random_half_of_the_training_cells():
    assigned = np.array(["train"] * 101 + ["test"] * 30 + ["valid"] * 20)
    pool = splits.control_pool(assigned, seed=0)
    assert pool.sum() == 50
    assert set(assigned[pool]) == {"train"}
    np.testing.assert_array_equal(pool, splits.control_pool(assigned, seed=0))
    assert np.any(pool != splits.control_pool(assigned, seed=1))


def test_the_null_halves_divide_the_pool():
    pool = np.arange(200) % 3 == 0
    half = splits.null_half(pool, seed=0)
    assert [int(np.sum(half == value)) for value in (0, 1, 2)] == [134, 33, 33]
    assert pool[half > 0].all()
    # One of the 67 cells is left over.
    assert np.sum(pool & (half == 0)) == 1
    np.testing.assert_array_equal(half, splits.null_half(pool, seed=0))
    assert np.any(half != splits.null_half(pool, seed=1))


def test_kept_cells_floors_but_for_what_binary_fractions_lose():
    assert splits.kept_cells(192, 0.05) == 9  # 9.6: not 10, which the experiment asks for
    assert splits.kept_cells(200, 0.05) == 10
    assert int(100 * 0.29) == 28  # what this test guards against
    assert splits.kept_cells(100, 0.29) == 29
    assert splits.kept_cells(5, 0.01) == 1
    labels = labels_of(rare=192, other=20)
    kept = splits.keep_fraction(labels, cell_type="rare", fraction=0.05, seed=0)
    assert np.sum(labels[kept] == "rare") == 9
    for fraction in (0, -0.1, 1.1):
        with pytest.raises(DatasetError, match="not above 0 and at most 1"):
            splits.kept_cells(10, fraction)


def test_keep_fraction_thins_one_type_and_nests():
    labels = labels_of(rare=200, other=300)
    kept = {
        f: splits.keep_fraction(labels, cell_type="rare", fraction=f, seed=7)
        for f in (0.1, 0.05, 0.01, 0.001)
    }
    assert [int(np.sum(labels[i] == "rare")) for i in kept.values()] == [20, 10, 2, 1]
    for indices in kept.values():
        np.testing.assert_array_equal(indices[labels[indices] == "other"], np.flatnonzero(labels == "other"))
        assert np.all(np.diff(indices) > 0)
    assert set(kept[0.001]) <= set(kept[0.01]) <= set(kept[0.05]) <= set(kept[0.1])
    other_seed = splits.keep_fraction(labels, cell_type="rare", fraction=0.1, seed=8)
    assert set(other_seed) != set(kept[0.1])
    np.testing.assert_array_equal(
        splits.keep_fraction(labels, cell_type="rare", fraction=1, seed=7), np.arange(len(labels))
    )


def test_keep_fraction_names_what_is_wrong():
    with pytest.raises(DatasetError, match="of type 'x': choose from a, b"):
        splits.keep_fraction(["a", "b"], cell_type="x", fraction=0.5, seed=0)
    with pytest.raises(DatasetError, match="fraction 0 "):
        splits.keep_fraction(["a", "b"], cell_type="a", fraction=0, seed=0)
