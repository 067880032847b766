"""Every device gives the numbers of SciPy and NumPy; what needs a GPU is skipped where there is none."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from metrics import accelerator
from metrics.accelerator import best_device, nearest_rows, products_of_columns, squared_distances
from metrics.correlation_discrepancy import correlation_matrix
from metrics.coverage import balls
from metrics.mmd import kernel
from metrics.neighbours import nearest, radii

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
DEVICES = ["plain", "cpu", pytest.param("cuda", marks=NO_GPU)]
rng = np.random.default_rng(0)
POINTS, AMONG = rng.normal(size=(40, 7)) + 1e3, rng.normal(size=(90, 7)) + 1e3
POINTS[3] = AMONG[5]


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch):
    monkeypatch.setattr(accelerator, "BLOCK", 16)
    monkeypatch.setattr(accelerator, "best_device", lambda: request.param)
    return request.param


def test_distances_are_scipys(device):
    found = squared_distances(POINTS, AMONG, device=device)
    np.testing.assert_allclose(found, cdist(POINTS, AMONG) ** 2, rtol=1e-9)
    assert found[3, 5] == 0


def test_the_nearest_rows_are_those_of_sorted_distances(device):
    found = nearest_rows(POINTS, AMONG, 4, device=device)
    np.testing.assert_array_equal(found, cdist(POINTS, AMONG).argsort(axis=1)[:, :4])


def test_products_are_numpys(device):
    np.testing.assert_allclose(products_of_columns(POINTS, device=device), POINTS.T @ POINTS)


def test_metrics_take_the_best_device_and_have_the_same_numbers_on_it(device, monkeypatch):
    asked = []
    monkeypatch.setattr(accelerator, "best_device", lambda: asked.append(device) or device)
    distances = cdist(POINTS, AMONG)
    np.testing.assert_array_equal(nearest(POINTS, AMONG).rows, distances.argmin(axis=1))
    among = np.sort(cdist(AMONG, AMONG), axis=1)
    np.testing.assert_allclose(radii(AMONG, 5), among[:, 5])
    found = balls(POINTS, AMONG, test_radii=np.full(40, 2.0), synthetic_radii=np.full(len(AMONG), 1.0))
    np.testing.assert_array_equal(found.in_test_balls, np.sum(distances <= 2, axis=1))
    np.testing.assert_array_equal(found.around_test, np.sum(distances <= 1, axis=1))
    expected = sum(np.exp(-((distances / scale) ** 2)) for scale in (1, 2, 4))
    np.testing.assert_allclose(kernel(POINTS, AMONG, bandwidth=2.0), expected, rtol=1e-9)
    np.testing.assert_allclose(correlation_matrix(AMONG)[0], np.corrcoef(AMONG.T))
    assert len(asked) == 5


def test_without_a_driver_pytorch_is_not_asked(monkeypatch):
    best_device.cache_clear()
    monkeypatch.setattr(accelerator, "find_library", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device() == "plain"
    best_device.cache_clear()
    monkeypatch.setattr(accelerator, "find_library", lambda _: "libcuda.so.1")
    assert best_device() == "cuda"
    best_device.cache_clear()
