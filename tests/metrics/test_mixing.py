import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from metrics import mixing as module
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.mixing import METRIC, lisi, neighbour_weights


def naive(points, is_synthetic):
    """One cell after another; β by Brent's method."""
    values = []
    for distances in cdist(points, points):
        order = np.argsort(distances)[1:91]
        near = distances[order]

        def weights(beta, near=near):
            raw = np.exp(-beta * near)
            return raw / raw.sum()

        def excess_entropy(beta, weights=weights):
            return entropy(weights(beta)) - math.log(30)

        beta = brentq(excess_entropy, 1e-6, 100)
        share = weights(beta)[is_synthetic[order]].sum()
        values.append(1 / (share**2 + (1 - share) ** 2))
    return np.array(values)


def test_lisi_equals_a_loop_over_cells():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(90, 4)), rng.normal(0.7, 1, size=(60, 4))])
    is_synthetic = np.arange(150) >= 90
    np.testing.assert_allclose(lisi(points, is_synthetic), naive(points, is_synthetic), rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(0, 1e3))
def test_weights_have_the_perplexity_whatever_unit_and_offset(seed, unit, offset):
    distances = np.random.default_rng(seed).gamma(3.0, size=(4, 90))
    weights = neighbour_weights(distances, perplexity=30)
    np.testing.assert_allclose(np.exp(entropy(weights, axis=1)), 30, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(
        neighbour_weights(unit * (distances + offset), perplexity=30), weights, atol=1e-8
    )


def test_equally_near_neighbours_share_the_weight():
    weights = neighbour_weights(np.array([[1.0] * 50 + [2.0] * 40, [3.0] * 90]), perplexity=30)
    np.testing.assert_allclose(weights[0], np.repeat([1 / 50, 0], [50, 40]), atol=1e-9)
    np.testing.assert_allclose(weights[1], 1 / 90)


def test_sides_far_apart_give_one_and_one_distribution_nearly_two():
    rng = np.random.default_rng(0)
    is_synthetic = np.arange(400) >= 200
    points = rng.normal(size=(400, 3))
    assert np.median(lisi(points, is_synthetic)) > 1.9
    np.testing.assert_allclose(lisi(points + 1e3 * is_synthetic[:, None], is_synthetic), 1)


def test_exchanging_sides_changes_nothing_and_order_only_the_order():
    rng = np.random.default_rng(0)
    points, is_synthetic = rng.normal(size=(120, 3)), rng.random(120) < 0.4
    values, order = lisi(points, is_synthetic), rng.permutation(120)
    np.testing.assert_allclose(lisi(points, ~is_synthetic), values)
    np.testing.assert_allclose(lisi(points[order], is_synthetic[order]), values[order])


def test_too_few_cells():
    with pytest.raises(NotApplicable, match="90 cells; LISI looks at the 90 nearest others"):
        lisi(np.zeros((90, 2)), np.zeros(90, bool))


def evidence(protocol):
    rng = np.random.default_rng(0)
    types = np.repeat(["B", "T"], 120)
    rates = rng.gamma(2.0, 2.0, size=(2, 60))[(types == "T").astype(int)]
    real = RealEvidence(
        rng.poisson(rates),
        rng.poisson(rates[::2]),
        train_types=types,
        test_types=types[::2],
        control_pool=None,
        gene_names=[f"gene{i}" for i in range(60)],
        seed=0,
        protocol=protocol,
    )
    moved = rates[::2].copy()
    moved[types[::2] == "T"] = rng.permuted(moved[types[::2] == "T"], axis=1)
    return real, SampleEvidence(real, rng.poisson(moved), space="counts")


def test_strict_takes_the_median_on_components_and_shows_which_type_does_not_mix():
    real, sample = evidence("strict")
    score = METRIC.compute(real, sample)
    each = lisi(np.concatenate([real.pca_scores, sample.pca_scores]), np.repeat([False, True], 120))
    assert score.headline == np.median(each)
    called = np.concatenate([real.test_calls, sample.calls])
    found = {name: numbers["mixing"] for name, numbers in score.details["by_type"].items()}
    assert found["B"] == np.median(each[called == "B"])
    assert score.values["mixing_by_type"] == pytest.approx(np.mean(list(found.values())))


def test_groundgan_takes_the_mean_on_a_map(monkeypatch):
    def plane(points, *, order, seed):
        return points[:, :2]

    monkeypatch.setattr(module, "_embedded", plane)
    real, sample = evidence("groundgan2024")
    points = np.concatenate([real.pca_scores, sample.pca_scores])[:, :2]
    is_synthetic = np.repeat([False, True], 120)
    expected = lisi(points, is_synthetic, n_neighbours=89).mean()
    assert METRIC.compute(real, sample).headline == pytest.approx(expected)
    assert expected != pytest.approx(lisi(points, is_synthetic).mean())


def test_the_map_is_a_plane_that_keeps_clusters_apart_and_is_seeded():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(120, 5)) + 20 * np.repeat([0, 1], 60)[:, None]
    order = rng.permutation(120)
    plane = module._embedded(points, order=order, seed=3)
    assert plane.shape == (120, 2)
    np.testing.assert_allclose(lisi(plane, np.arange(120) >= 60)[:5], 1.0, atol=0.6)
    np.testing.assert_array_equal(module._embedded(points, order=order, seed=3), plane)
    nearest = np.argsort(cdist(plane, plane), axis=1)[:, 1]
    assert np.array_equal(nearest >= 60, np.arange(120) >= 60)
    with pytest.raises(NotApplicable, match="20 cells; LISI"):
        module._embedded(points[:20], order=np.arange(20), seed=3)


def test_on_a_map_too_the_order_of_cells_does_not_matter():
    """A t-SNE of the same points in another order is another map."""
    real, sample = evidence("groundgan2024")
    order = np.random.default_rng(2).permutation(real.n_cells)
    moved = SampleEvidence(real, sample.matrix[order], space=sample.space)
    # A mean over cells in another order may differ in its last digit; another map, in its second.
    expected = METRIC.compute(real, sample).headline
    assert METRIC.compute(real, moved).headline == pytest.approx(expected, rel=1e-9)


def test_activa_has_no_such_number():
    with pytest.raises(NotApplicable, match="protocol activa2022 does not look at mixing"):
        METRIC.compute(*evidence("activa2022"))
    assert METRIC.protocols == ("strict", "groundgan2024")
