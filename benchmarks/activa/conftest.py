"""Devices and shapes for the timed cases; the full shape runs only when it is asked for."""

import pytest
import torch

from benchmarks.activa.workload import ActivaShape, training_cells

REDUCED = ActivaShape(n_cells=640, n_genes=1_000, n_types=4, sample_cells=1_000, on_demand_cells=10)


def pytest_collection_modifyitems(config, items):
    if "full_shape" not in config.option.markexpr:
        skip = pytest.mark.skip(reason="the full shape takes minutes: select it with -m full_shape")
        for item in items:
            if "full_shape" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(params=["cpu", "cuda"], scope="session")
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    return request.param


@pytest.fixture(
    params=[
        pytest.param(REDUCED, id="reduced"),
        pytest.param(ActivaShape(), id="full", marks=pytest.mark.full_shape),
    ],
    scope="session",
)
def shape(request):
    return request.param


@pytest.fixture(scope="session")
def cells(shape):
    return training_cells(shape)


@pytest.fixture
def rounds(shape):
    """Rounds of pytest-benchmark: few, so that the reduced shape costs seconds in the normal test run."""
    return 2 if shape == REDUCED else 9
