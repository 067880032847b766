import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import binom, kstest
from sklearn.neighbors import NearestNeighbors

import metrics.mmd
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.mmd import (
    METRIC,
    biased_interval,
    bootstrap_bandwidth,
    discrepancy,
    kernel,
    mmd,
    pooled_kernel,
    same_distribution_p_value,
)
from metrics.neighbours import neighbour_bandwidth
from metrics.resampling import bootstrap_interval


def gaussian(seed, n_cells=40, n_components=5, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, size=(n_cells, n_components))


def naive(real, synthetic, bandwidth):
    def k(a, b):
        squared = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
        return sum(math.exp(-squared / s**2) for s in (bandwidth / 2, bandwidth, 2 * bandwidth))

    n, m = len(real), len(synthetic)
    across = sum(k(a, b) for a in real for b in synthetic) / (n * m)
    biased = sum(k(a, b) for a in real for b in real) / n**2
    biased += sum(k(a, b) for a in synthetic for b in synthetic) / m**2
    unbiased = sum(k(real[i], real[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    unbiased += sum(k(synthetic[i], synthetic[j]) for i in range(m) for j in range(m) if i != j) / (
        m * (m - 1)
    )
    return biased - 2 * across, unbiased - 2 * across


def test_both_estimates_equal_their_definitions(monkeypatch):
    monkeypatch.setattr(metrics.mmd, "BLOCK", 7)
    real, synthetic = gaussian(0, 20), gaussian(1, 15, shift=0.5)
    result = mmd(real, synthetic, bandwidth=1.7)
    biased, unbiased = naive(real, synthetic, 1.7)
    assert result.biased == pytest.approx(biased, rel=1e-10)
    assert result.unbiased == pytest.approx(unbiased, rel=1e-10)


def test_the_kernel_at_known_distances():
    values = kernel(np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [3.0, 4.0]]), bandwidth=5.0)
    assert values[0, 0] == 3.0
    assert values[0, 1] == pytest.approx(math.exp(-4) + math.exp(-1) + math.exp(-0.25))


def test_bandwidth_is_the_median_over_all_neighbour_distances():
    line = np.arange(26.0)[:, None]
    pairs = [abs(i - j) for i in range(26) for j in range(26) if i != j]
    assert neighbour_bandwidth(line) == np.median(pairs)
    cells = gaussian(0, 90)
    nearest = np.sort(cdist(cells, cells), axis=1)[:, 1:26]
    assert neighbour_bandwidth(cells) == pytest.approx(np.median(nearest))


def test_bandwidth_needs_26_cells_that_do_not_coincide():
    with pytest.raises(NotApplicable, match="25 test cells; the kernel's bandwidth needs 26"):
        neighbour_bandwidth(gaussian(0, 25))
    with pytest.raises(NotApplicable, match="bandwidth is 0"):
        neighbour_bandwidth(np.ones((30, 2)))


def test_identity_is_zero_and_opposite_worlds_reach_the_bound():
    cells = gaussian(0)
    assert mmd(cells, cells, bandwidth=1.0).biased == 0
    far = mmd(np.zeros((10, 2)), np.full((10, 2), 1e6), bandwidth=1.0)
    assert far.biased == pytest.approx(6.0)
    assert mmd(np.zeros((10, 2)), np.full((10, 2), 1e6), bandwidth=1.0, weight=3.0).biased == METRIC.bounds[1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_symmetric_and_indifferent_to_the_order_of_cells(seed):
    rng = np.random.default_rng(seed)
    real, synthetic = rng.normal(size=(12, 3)), rng.normal(size=(9, 3))
    result = mmd(real, synthetic, bandwidth=1.0)
    for other in (
        mmd(synthetic, real, bandwidth=1.0),
        mmd(rng.permutation(real), rng.permutation(synthetic), bandwidth=1.0),
    ):
        assert other.biased == pytest.approx(result.biased, abs=1e-12)
        assert other.unbiased == pytest.approx(result.unbiased, abs=1e-12)


def test_the_unbiased_estimate_averages_zero_under_the_null_and_may_be_negative():
    values = [mmd(gaussian(s, 30), gaussian(1000 + s, 30), bandwidth=2.0).unbiased for s in range(200)]
    assert min(values) < 0
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(200)


def test_the_bandwidth_does_not_saturate_in_fifty_dimensions():
    real = gaussian(0, 300, 50)
    bandwidth = neighbour_bandwidth(real)
    same, near, far = (
        mmd(real, gaussian(1, 300, 50, shift=s), bandwidth=bandwidth).biased for s in (0, 0.2, 1)
    )
    saturated = 6 / 300
    assert same < saturated
    assert same < near < far
    assert far > 10 * saturated


def test_too_few_cells():
    with pytest.raises(ValueError, match="1 real and 40 synthetic cells; mmd needs 2"):
        mmd(gaussian(0, 1), gaussian(0), bandwidth=1.0)


def exact_p_value(real, synthetic, bandwidth):
    """Of all ways to call half of the cells real."""
    cells, n = np.vstack([real, synthetic]), len(real)
    squares = []
    for rows in itertools.combinations(range(len(cells)), n):
        others = np.setdiff1d(np.arange(len(cells)), rows)
        squares.append(naive(cells[list(rows)], cells[others], bandwidth)[0])
    return np.mean(np.array(squares) >= squares[0] - 1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_the_p_value_is_that_of_all_permutations(shift):
    real, synthetic = gaussian(0, 4, 2), gaussian(1, 4, 2, shift=shift)
    pooled = pooled_kernel(real, synthetic, bandwidth=1.0)
    found = same_distribution_p_value(pooled, n_real=4, seed=0, permutations=20_000)
    assert found == pytest.approx(exact_p_value(real, synthetic, 1.0), abs=0.015)


def test_p_values_of_one_distribution_are_uniform_and_of_two_are_small():
    p_values = []
    for seed in range(300):
        real, synthetic = gaussian(2 * seed), gaussian(2 * seed + 1)
        pooled = pooled_kernel(real, synthetic, bandwidth=neighbour_bandwidth(real))
        p_values.append(same_distribution_p_value(pooled, n_real=40, seed=seed, permutations=199))
    low, high = binom.ppf([0.001, 0.999], 300, 0.05) / 300
    assert low <= np.mean(np.array(p_values) <= 0.05) <= high
    assert kstest(p_values, "uniform").pvalue > 0.001
    pooled = pooled_kernel(gaussian(0), gaussian(1, shift=0.8), bandwidth=2.0)
    assert same_distribution_p_value(pooled, n_real=40, seed=0) == pytest.approx(1 / 1000)


def test_the_same_cells_twice_are_no_evidence():
    pooled = pooled_kernel(gaussian(0), gaussian(0), bandwidth=1.0)
    assert same_distribution_p_value(pooled, n_real=40, seed=0, permutations=99) == 1.0
    assert discrepancy(pooled, n_real=40).biased == 0


def test_the_interval_is_that_of_resampled_real_cells():
    real, synthetic = gaussian(0, 50), gaussian(1, 30, shift=0.6)
    pooled = pooled_kernel(real, synthetic, bandwidth=2.0)
    low, high = biased_interval(pooled, n_real=50, seed=0)
    by_rows = bootstrap_interval(
        lambda rows: mmd(real[rows], synthetic, bandwidth=2.0).biased, 50, seed=1, replicates=3000
    )
    assert (low, high) == pytest.approx(by_rows, rel=0.06)
    assert low < discrepancy(pooled, n_real=50).biased < high


@pytest.mark.parametrize(("shift", "most"), [(0.0, 1.0), (0.5, 0.98)])
def test_intervals_hold_the_expected_discrepancy_from_these_synthetic_cells(shift, most):
    synthetic = gaussian(10_000, shift=shift)
    expectation = np.mean([mmd(gaussian(s), synthetic, bandwidth=1.5).biased for s in range(1000)])
    held = 0
    for seed in range(200):
        pooled = pooled_kernel(gaussian(20_000 + seed), synthetic, bandwidth=1.5)
        low, high = biased_interval(pooled, n_real=40, seed=seed)
        held += low <= expectation <= high
    # Of 200 intervals that hold it with probability 0.95, 180 do, 999 times in 1000.
    assert 0.9 <= held / 200 <= most


def test_a_bandwidth_of_bootstraps_counts_copies_as_neighbours():
    """As the public code of groundgan2024: 25 neighbours, the first of which is the cell itself."""
    cells = gaussian(0, n_cells=200)
    rng, medians = np.random.default_rng(0), []
    for _ in range(19):
        drawn = cells[rng.integers(200, size=200)]
        distances, _ = NearestNeighbors(n_neighbors=25).fit(drawn).kneighbors(drawn)
        medians.append(np.median(distances[:, 1:25]))
    found = bootstrap_bandwidth(cells, seed=0)
    assert found == pytest.approx(np.median(medians))
    assert found == pytest.approx(neighbour_bandwidth(cells), rel=0.05)
    # Of the cells themselves, 24 others make it smaller than 25.
    assert neighbour_bandwidth(cells, n_neighbours=24) < neighbour_bandwidth(cells)


def typed_evidence(protocol="strict", order=None, made_order=None):
    rng = np.random.default_rng(0)
    types = np.repeat(["A", "B"], 40)
    rates = np.full((80, 60), 2.0)
    rates[:40, :8], rates[40:, 8:16] = 20.0, 20.0
    train, test, made = (
        rng.poisson(rates),
        rng.poisson(rates),
        rng.poisson(rates * 1.0 + (np.arange(60) > 55)),
    )
    order, made_order = (np.arange(80) if o is None else o for o in (order, made_order))
    real = RealEvidence(
        train,
        test[order],
        train_types=types,
        test_types=types[order],
        control_pool=None,
        gene_names=[f"g{i}" for i in range(60)],
        seed=0,
        protocol=protocol,
    )
    return real, SampleEvidence(real, made[made_order], space="counts")


@pytest.mark.parametrize("protocol", ["strict", "groundgan2024"])
def test_the_order_of_cells_changes_no_number(protocol):
    rng = np.random.default_rng(1)
    first = METRIC.compute(*typed_evidence(protocol))
    second = METRIC.compute(*typed_evidence(protocol, rng.permutation(80), rng.permutation(80)))
    assert second.values == pytest.approx(first.values, rel=1e-6)
    assert second.interval == pytest.approx(first.interval, rel=1e-6)
    assert second.p_value == first.p_value
    low, high = first.interval
    assert low < first.headline < high


def test_each_type_is_compared_with_itself():
    real, sample = typed_evidence()
    score = METRIC.compute(real, sample)
    assert list(score.details["by_type"]) == ["A", "B"]
    for name, found in score.details["by_type"].items():
        pairs = (real.pca_scores[real.test_calls == name], sample.pca_scores[sample.calls == name])
        assert found["mmd2_unbiased"] == pytest.approx(mmd(*pairs, bandwidth=real.bandwidth).unbiased)
    values = [found["mmd2_unbiased"] for found in score.details["by_type"].values()]
    assert score.values["mmd2_unbiased_by_type"] == pytest.approx(np.mean(values))


def test_components_that_know_the_test_cells_allow_no_p_value():
    assert METRIC.compute(*typed_evidence("activa2022")).p_value is None
    assert 0 < METRIC.compute(*typed_evidence("strict")).p_value <= 1


def test_groundgans_protocol_prints_the_square_on_genes_with_weight_3():
    real, sample = typed_evidence("groundgan2024")
    score = METRIC.compute(real, sample)
    test, made = (cells.toarray().astype(np.float64) for cells in (real.test_cells, sample.cells))
    bandwidth = score.values["mmd_bandwidth"]
    assert score.headline == score.values["mmd2"]
    assert score.headline == pytest.approx(3 * mmd(test, made, bandwidth=bandwidth).biased)
    assert bandwidth == pytest.approx(neighbour_bandwidth(test), rel=0.25)
    # Not the answer that a saturated kernel gives to every generator: 9 on the diagonal, 0 elsewhere.
    assert abs(score.headline - 2 * 9 / 80) > 0.02


def test_the_metric_prints_the_root_first():
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, size=(80, 12))
    real = RealEvidence(
        counts,
        counts[:40],
        train_types=None,
        test_types=None,
        control_pool=None,
        gene_names=[f"g{i}" for i in range(12)],
        seed=0,
    )
    sample = SampleEvidence(real, rng.poisson(3.0, size=(40, 12)), space="counts")
    score = METRIC.compute(real, sample)
    assert list(score.values) == ["mmd", "mmd2", "mmd2_unbiased", "mmd_bandwidth"]
    expected = mmd(real.pca_scores, sample.pca_scores, bandwidth=real.bandwidth)
    assert score.headline == pytest.approx(math.sqrt(expected.biased))
    assert score.values["mmd2_unbiased"] == pytest.approx(expected.unbiased)
    assert score.notes[0] == "11 principal components instead of 50"
    assert score.notes[1].startswith("not by type: ")
