import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import metrics.mmd
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.mmd import METRIC, kernel, mmd, neighbour_bandwidth


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
    assert METRIC.bounds[1] == pytest.approx(math.sqrt(6.0))


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
    assert score.values["mmd2_unbiased"] == expected.unbiased
    assert score.notes == ["11 principal components instead of 50"]
