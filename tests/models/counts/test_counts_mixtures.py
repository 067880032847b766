import numpy as np
import pytest
import torch

from models.counts.libraries import LibrarySizes
from models.counts.mixtures import TypeMixtures, _responsibilities

COVARIANCE = np.array([[1.0, 0.8], [0.8, 1.5]])


def drawn(mixtures, types, *, seed=0):
    return mixtures.draw(torch.tensor(types), generator=torch.Generator().manual_seed(seed)).numpy()


def two_blobs(rng, n_cells):
    """A type of two components, 70 to 30, of one covariance."""
    which = rng.random(n_cells) < 0.7
    noise = rng.multivariate_normal([0, 0], COVARIANCE, n_cells)
    return noise + np.where(which[:, None], [-6.0, 0.0], [6.0, 3.0])


def test_a_known_mixture_is_recovered_and_drawn():
    points = two_blobs(np.random.default_rng(1), 4000)
    mixtures = TypeMixtures.fit(points, np.zeros(4000, dtype=int), n_types=1, most_components=2, seed=0)
    order = torch.argsort(mixtures.means[:, 0])
    assert mixtures.weights[order].numpy() == pytest.approx([0.7, 0.3], abs=0.03)
    assert mixtures.means[order].numpy() == pytest.approx(np.array([[-6, 0], [6, 3]]), abs=0.12)
    for factor in mixtures.factors:
        assert (factor @ factor.T).numpy() == pytest.approx(COVARIANCE, abs=0.15)
    cells = drawn(mixtures, [0] * 20_000)
    assert cells.mean(axis=0) == pytest.approx(points.mean(axis=0), abs=0.15)
    assert np.cov(cells.T) == pytest.approx(np.cov(points.T), rel=0.08)


def test_types_are_drawn_from_their_own_mixture_in_the_order_asked_for():
    rng = np.random.default_rng(2)
    points = np.concatenate([rng.normal(-50, 1, (300, 3)), rng.normal(50, 1, (300, 3))])
    mixtures = TypeMixtures.fit(points, np.repeat([0, 1], 300), n_types=2, most_components=5, seed=0)
    wanted = rng.permutation(np.repeat([0, 1], 200))
    assert ((drawn(mixtures, wanted)[:, 0] > 0) == (wanted == 1)).all()


def test_a_large_type_is_fitted_to_some_of_its_cells(monkeypatch):
    points = two_blobs(np.random.default_rng(6), 6000)
    small = np.random.default_rng(7).normal(40, 1, (200, 2))
    both, types = np.concatenate([small, points]), np.repeat([1, 0], [200, 6000])
    alone = TypeMixtures.fit(small, np.zeros(200, dtype=int), n_types=1, most_components=1, seed=0)
    seen = []
    monkeypatch.setattr(
        "models.counts.mixtures._responsibilities",
        lambda of, n_components, **rest: seen.append(len(of)) or _responsibilities(of, n_components, **rest),
    )
    monkeypatch.setattr("models.counts.mixtures.MOST_CELLS", 3000)
    mixtures = TypeMixtures.fit(both, types, n_types=2, most_components=2, seed=0)
    assert seen == [3000, 200]
    large = mixtures.types == 0
    order = torch.argsort(mixtures.means[large, 0])
    assert mixtures.weights[large][order].numpy() == pytest.approx([0.7, 0.3], abs=0.03)
    assert mixtures.means[large][order].numpy() == pytest.approx(np.array([[-6, 0], [6, 3]]), abs=0.15)
    # The small type's mean is that of all its cells.
    own = mixtures.means[~large]
    weights = mixtures.weights[~large]
    assert (weights @ own).numpy() == pytest.approx((alone.weights @ alone.means).numpy(), abs=1e-3)


def test_a_type_of_one_cell_takes_the_spread_of_the_others():
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(0, 2, (2000, 2)), [[30.0, 30.0]]])
    types = np.append(np.zeros(2000, dtype=int), 1)
    mixtures = TypeMixtures.fit(points, types, n_types=2, most_components=4, seed=0)
    cells = drawn(mixtures, [1] * 5000)
    assert cells.mean(axis=0) == pytest.approx([30, 30], abs=0.2)
    # Four prior cells (two a dimension) beside the one that does not vary: 4 / 5 of the pooled variance.
    assert cells.var(axis=0) == pytest.approx([3.2, 3.2], rel=0.1)


def test_stored_tensors_draw_the_same_points_and_seeds_decide():
    points = two_blobs(np.random.default_rng(4), 500)
    mixtures = TypeMixtures.fit(points, np.arange(500) % 3, n_types=3, most_components=3, seed=1)
    again = TypeMixtures(**mixtures.tensors())
    types = [0, 1, 2, 2] * 20
    assert np.array_equal(drawn(mixtures, types, seed=5), drawn(again, types, seed=5))
    assert not np.array_equal(drawn(mixtures, types, seed=5), drawn(mixtures, types, seed=6))


def test_library_sizes_follow_their_type():
    rng = np.random.default_rng(5)
    logs = np.concatenate([rng.normal(7, 0.4, 3000), rng.normal(9, 0.2, 1000)])
    types = np.repeat([0, 1], [3000, 1000])
    model = LibrarySizes.fit(np.exp(logs), types, n_types=2, seed=0)
    for code, (mean, deviation) in enumerate([(7, 0.4), (9, 0.2)]):
        codes = torch.full((20_000,), code)
        found = model.draw_log(codes, generator=torch.Generator().manual_seed(1)).numpy()
        assert found.mean() == pytest.approx(mean, abs=0.03)
        assert found.std() == pytest.approx(deviation, rel=0.05)
        assert len(np.intersect1d(np.exp(found), np.exp(logs))) == 0
