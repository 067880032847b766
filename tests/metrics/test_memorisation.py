"""C_T, authenticity, near and copied shares, duplicates: copies are caught, narrow cells are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu

from metrics import authenticity, copied_share, data_copying, duplicates, near_share
from metrics.authenticity import is_authentic, nearest_other
from metrics.copied_share import copy_threshold, nearness
from metrics.data_copying import c_t, copying_z, region_centres
from metrics.declaration import NotApplicable
from metrics.duplicates import duplicated
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.near_share import first_percentile, share_interval
from metrics.neighbours import nearest
from metrics.roc import placements
from metrics.spaces import as_csr

MODULES = (data_copying, authenticity, near_share, copied_share, duplicates)
N_GENES = 80


def draw(rng, n_cells, *, noise=0.4):
    """Counts and types of cells of three types that vary along five programmes of genes."""
    fixed = np.random.default_rng(99)
    programmes = fixed.normal(0, 0.35, size=(5, N_GENES))
    means = fixed.normal(1.5, 0.6, size=(3, N_GENES))
    codes = rng.integers(3, size=n_cells)
    rates = means[codes] + noise * rng.normal(size=(n_cells, 5)) @ programmes
    return rng.poisson(np.exp(rates)).astype(np.float32), np.array(["B", "NK", "T"])[codes]


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    train, train_types = draw(rng, 900)
    test, test_types = draw(rng, 300)
    real = RealEvidence(
        train,
        test,
        train_types=train_types,
        test_types=test_types,
        control_pool=np.arange(900) < 450,
        gene_names=[f"gene{i}" for i in range(N_GENES)],
        seed=0,
    )
    return real, train


def scores(real, counts):
    sample = SampleEvidence(real, counts, space="counts")
    return {module.METRIC.name: module.METRIC.compute(real, sample) for module in MODULES}


@pytest.fixture(scope="module")
def honest(cells):
    return scores(cells[0], draw(np.random.default_rng(7), 300)[0])


@pytest.fixture(scope="module")
def memorised(cells):
    real, train = cells
    return scores(real, train[np.random.default_rng(1).integers(450, size=300)])


def z_of(test, synthetic):
    """Z of scipy's U, spread without ties."""
    n, m = len(test), len(synthetic)
    return (mannwhitneyu(synthetic, test).statistic - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1))
def test_z_is_that_of_scipys_mann_whitney_test_also_with_ties(test, synthetic):
    test, synthetic = np.array(test, float), np.array(synthetic, float)
    found = copying_z(
        placements(test, synthetic), n_synthetic=synthetic.size, weights=np.ones((1, test.size))
    )
    assert found[0] == pytest.approx(z_of(test, synthetic))


def test_c_t_weighs_regions_by_their_test_cells_and_leaves_small_ones_out():
    rng = np.random.default_rng(0)
    test, synthetic = rng.gamma(5.0, size=130), rng.gamma(4.0, size=100)
    test_regions, synthetic_regions = np.repeat([0, 1, 2], [30, 81, 19]), np.repeat([0, 1, 2], [20, 40, 40])
    z = [z_of(test[test_regions == r], synthetic[synthetic_regions == r]) for r in (0, 1)]
    found = c_t(test, synthetic, test_regions=test_regions, synthetic_regions=synthetic_regions)
    assert found == pytest.approx([(30 * z[0] + 81 * z[1]) / 111])
    with pytest.raises(NotApplicable, match="no region holds 20 test and 20 synthetic cells"):
        c_t(test[-19:], synthetic, test_regions=np.zeros(19), synthetic_regions=np.zeros(100))


def test_weighting_a_test_cell_twice_is_having_it_twice():
    rng = np.random.default_rng(1)
    test, synthetic, weights = rng.gamma(5.0, size=40), rng.gamma(4.0, size=60), rng.integers(1, 4, size=40)
    kept = np.repeat(test, weights)
    one = c_t(
        test,
        synthetic,
        test_regions=np.zeros(40),
        synthetic_regions=np.zeros(60),
        weights=weights[None].astype(float),
    )
    assert one == pytest.approx([z_of(kept, synthetic)])


def test_regions_are_those_of_k_means():
    corners = np.array([[0.0, 0], [9, 0], [0, 9]])
    points = np.repeat(corners, 20, axis=0) + np.random.default_rng(0).normal(0, 0.1, size=(60, 2))
    centres = region_centres(points, n_regions=3, seed=0)
    expected = [points[i : i + 20].mean(axis=0) for i in (20, 0, 40)]
    np.testing.assert_allclose(centres[np.argsort(-centres[:, 0])][0], expected[0])
    assert np.unique(nearest(points, centres).rows.reshape(3, 20), axis=1).shape == (3, 1)


def test_authenticity_equals_its_definition_also_among_duplicates():
    rng = np.random.default_rng(0)
    train = np.concatenate([rng.normal(size=(40, 3)), np.zeros((3, 3))])
    points = np.concatenate([rng.normal(size=(30, 3)), train[:5], np.zeros((1, 3))])
    between, within = cdist(points, train), cdist(train, train)
    np.fill_diagonal(within, np.inf)
    expected = [row.min() > within[row.argmin()].min() for row in between]
    assert is_authentic(nearest(points, train), train).tolist() == expected
    assert 0 < np.mean(expected) < 1
    np.testing.assert_allclose(nearest_other(train, np.array([42, 0])), [0, within[0].min()])
    with pytest.raises(NotApplicable, match="1 training cell; authenticity needs 2"):
        nearest_other(train[:1], np.array([0]))


def test_the_first_percentile_leaves_one_of_a_hundred_below():
    assert first_percentile(np.arange(101.0)) == 1.0
    with pytest.raises(NotApplicable, match="99 test cells; their 1st percentile needs 100"):
        first_percentile(np.arange(99.0))
    assert share_interval(np.arange(1.0, 201), np.full(50, 0.5), seed=0) == (1.0, 1.0)


def test_nearness_is_the_nearest_distance_over_the_second_nearest():
    rng = np.random.default_rng(0)
    points, among = rng.normal(size=(30, 4)), rng.normal(size=(50, 4))
    first, second = np.sort(cdist(points, among), axis=1).T[:2]
    np.testing.assert_allclose(nearness(nearest(points, among)), first / second)
    line = np.array([[0.0], [4.0], [10.0], [10.0]])
    assert nearness(nearest(np.array([[0.0], [1], [2], [10]]), line)).tolist() == [0.001 / 4, 1 / 3, 1, 1]


@pytest.mark.parametrize("n_dimensions", [2, 10])
def test_one_of_ten_thousand_honest_cells_is_below_the_threshold_in_any_dimension(n_dimensions):
    # The distances to the nearest of evenly scattered cells are, as volumes, those of a Poisson process.
    volumes = np.random.default_rng(0).exponential(size=(400_000, 2)).cumsum(axis=1)
    ratios = (volumes[:, 0] / volumes[:, 1]) ** (1 / n_dimensions)
    assert np.mean(ratios < copy_threshold(ratios[:100_000])) == pytest.approx(1e-4, abs=4e-5)


def test_duplicates_are_found_across_and_within_and_up_to_rounding():
    rng = np.random.default_rng(0)
    train = np.log1p(rng.poisson(3.0, size=(50, 40)))
    made = np.log1p(rng.poisson(3.0, size=(6, 40)))
    made[1], made[4], made[5] = train[7] * (1 + 1e-7), made[3], train[7]
    copies, repeats = duplicated(as_csr(made), as_csr(train))
    assert copies.tolist() == [False, True, False, False, False, True]
    assert repeats.tolist() == [False, True, False, True, True, True]


def test_who_memorises_is_caught_by_all_five(memorised):
    assert memorised["c_t"].headline < -10
    assert memorised["authenticity"].headline == 0
    assert memorised["near_share"].headline == memorised["copied_share"].headline == 1
    assert memorised["duplicates"].headline == 1
    assert memorised["near_share"].values["nearest_training_cell"] == pytest.approx(0, abs=1e-3)
    assert 0.3 < memorised["duplicates"].values["repeats"] < 0.7
    assert memorised["copied_share"].headline > copied_share.METRIC.alarm
    assert copied_share.METRIC.catches == ("memorise",)


def test_who_draws_new_cells_is_not(honest):
    assert abs(honest["c_t"].headline) < 3
    low, high = honest["c_t"].interval
    assert low < honest["c_t"].headline < high
    authentic = honest["authenticity"].values
    assert authentic["authenticity"] == pytest.approx(authentic["authenticity_test"], abs=0.1)
    assert honest["near_share"].headline < 0.04
    assert honest["copied_share"].headline < 0.01 < copied_share.METRIC.alarm
    assert set(honest["duplicates"].values.values()) == {0.0}


def test_each_type_is_scored(memorised):
    for name in set(memorised) - {"near_share"}:
        by_type = memorised[name].details["by_type"]
        assert set(by_type) == {"B", "NK", "T"}
        mean = np.mean([numbers[name] for numbers in by_type.values()])
        assert memorised[name].values[f"{name}_by_type"] == pytest.approx(mean)


def test_a_type_needs_100_test_cells_for_a_percentile_of_its_own(cells, memorised):
    names, sizes = np.unique(cells[0].test_calls, return_counts=True)
    assert set(memorised["near_share"].details["by_type"]) == set(names[sizes >= 100])
    assert 0 < np.sum(sizes >= 100) < 3


def test_some_copies_among_new_cells_are_counted(cells):
    real, train = cells
    mixed = draw(np.random.default_rng(3), 300)[0]
    mixed[:60] = train[:60]
    found = scores(real, mixed)
    assert found["duplicates"].headline == 0.2
    assert found["copied_share"].headline == pytest.approx(0.2, abs=0.03)
    assert found["copied_share"].headline > copied_share.METRIC.alarm


def test_copies_with_noise_of_their_own_are_still_caught(cells):
    real, train = cells
    drawn = train[np.random.default_rng(4).integers(450, size=300)]
    # Every tenth count lost.
    found = scores(real, np.random.default_rng(6).binomial(drawn.astype(int), 0.9))
    assert found["duplicates"].headline == 0
    assert found["copied_share"].headline > 0.5


def test_cells_drawn_towards_their_types_mean_look_near_but_not_copied(cells):
    new, types = draw(np.random.default_rng(5), 300)
    logged = np.log1p(new)
    middle = np.stack([logged[types == cell_type].mean(axis=0) for cell_type in types])
    found = scores(cells[0], np.expm1(middle + 0.5 * (logged - middle)))
    assert found["near_share"].headline > 0.3
    assert found["c_t"].headline < -5
    assert found["copied_share"].headline < copied_share.METRIC.alarm


def test_the_order_of_cells_does_not_matter(cells, honest):
    shuffled = draw(np.random.default_rng(7), 300)[0][np.random.default_rng(2).permutation(300)]
    for name, score in scores(cells[0], shuffled).items():
        assert score.values == pytest.approx(honest[name].values)
        assert score.interval == (honest[name].interval and pytest.approx(honest[name].interval))


def test_figures_find_the_percentiles_of_both_sides(cells, honest):
    details = honest["near_share"].details
    assert len(details["percentiles"]) == len(details["percentiles_test"]) == 101
    assert details["percentiles_test"][50] == pytest.approx(np.median(cells[0].test_to_train.distances))


def test_no_metric_of_memorisation_scores_controls_that_are_real_cells():
    assert all(module.METRIC.exempt == ("real", "null") for module in MODULES)
    assert all(module.METRIC.group == "memorisation" for module in MODULES)
