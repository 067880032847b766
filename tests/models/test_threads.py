"""Threads of OpenBLAS that wait for one another spin; where products are small, there is one."""

import numpy as np
import pytest
import sklearn.mixture
from threadpoolctl import threadpool_info, threadpool_limits

from models.counts.mixtures import TypeMixtures
from models.threads import one_blas_thread


def threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture
def two_threads():
    np.ones((4, 4)) @ np.ones((4, 4))
    with threadpool_limits(2, user_api="blas"):
        yield threads()


def test_the_callers_own_number_is_put_back(two_threads):
    with one_blas_thread():
        assert threads() == {1}
    assert threads() == two_threads


def test_mixtures_are_fitted_with_one(two_threads, monkeypatch):
    seen, fit = [], sklearn.mixture.GaussianMixture.fit

    def watched(mixture, points):
        seen.append(threads())
        return fit(mixture, points)

    monkeypatch.setattr(sklearn.mixture.GaussianMixture, "fit", watched)
    points = np.random.default_rng(0).normal(size=(200, 3))
    TypeMixtures.fit(points, np.zeros(200, dtype=int), n_types=1, most_components=3, seed=0)
    assert seen == [{1}]
    assert threads() == two_threads
