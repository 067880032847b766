"""ACTIVA's speed beside its release's: ``pytest benchmarks --benchmark-group-by=group,param:shape``."""

import numpy as np
import pytest

from bench.speed.machine import synchroniser
from bench.work.counting_torch import OperatorCounter
from benchmarks.activa.rates import measured_precisions
from benchmarks.activa.sampling import CHUNK_CELLS
from benchmarks.activa.training import activa_steps, release_steps
from benchmarks.activa.workload import RARE_TYPE, activa_networks, plain_networks
from models.activa.cells import batches_per_epoch
from models.activa.reference import BATCH_SIZE, sample_plainly, sample_type_plainly
from models.activa.sampling import sample_cells, sample_types
from models.activa.settings import Settings

pytestmark = pytest.mark.slow

VARIANTS = [(objective, precision) for objective in ("paper", "release") for precision in ("fp32", "bf16")]
PRECISIONS = ("fp32", "bf16")


@pytest.fixture(scope="module")
def plain(shape, device):
    return plain_networks(shape, density=0.06, device=device)


@pytest.fixture(autouse=True)
def units(request, device):
    """Emulated bf16 takes long and says nothing of a device that has units for it."""
    parameters = request.node.callspec.params
    if parameters.get("precision", "fp32") not in measured_precisions(device):
        pytest.skip("no bf16 units here")


def timed(benchmark, rounds, device, function):
    """Time calls that end when the device has finished; return what the last one returned."""
    synchronise = synchroniser(device)

    def call():
        result = function()
        synchronise()
        return result

    return benchmark.pedantic(call, rounds=rounds, iterations=1)


@pytest.mark.benchmark(group="step")
@pytest.mark.parametrize(("objective", "precision"), VARIANTS)
def test_step(benchmark, cells, device, rounds, objective, precision):
    settings = Settings(objective=objective, precision=precision)
    step = activa_steps(*cells, settings=settings, steps=1, device=device)
    assert timed(benchmark, rounds, device, step) > 0
    if device == "cpu":
        # bench gate compares them; a recorded CUDA graph would hide its operators.
        with OperatorCounter() as counter:
            step()
        benchmark.extra_info.update(counter.totals())


@pytest.mark.benchmark(group="step")
def test_step_of_the_release(benchmark, cells, device, rounds):
    step = release_steps(*cells, steps=1, device=device, loaded=device == "cuda")
    assert timed(benchmark, rounds, device, step) > 0


@pytest.mark.benchmark(group="epoch")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_epoch(benchmark, cells, device, precision):
    steps = batches_per_epoch(cells[0].shape[0], BATCH_SIZE)
    epoch = activa_steps(*cells, settings=Settings(precision=precision), steps=steps, device=device)
    assert timed(benchmark, 1, device, epoch) > 0


@pytest.mark.benchmark(group="epoch")
def test_epoch_of_the_release(benchmark, cells, device):
    steps = batches_per_epoch(cells[0].shape[0], BATCH_SIZE)
    epoch = release_steps(*cells, steps=steps, device=device, loaded=True)
    assert timed(benchmark, 1, device, epoch) > 0


@pytest.mark.benchmark(group="sampling")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_sampling(benchmark, shape, device, plain, precision):
    networks = activa_networks(plain, Settings(precision=precision), n_types=shape.n_types)
    sample_cells(networks, CHUNK_CELLS, seed=0)
    drawn = timed(benchmark, 1, device, lambda: sample_cells(networks, shape.sample_cells, seed=0))
    density = drawn.matrix.nnz / (shape.sample_cells * shape.n_genes)
    assert density == pytest.approx(0.06, abs=0.01)


@pytest.mark.benchmark(group="sampling")
def test_sampling_of_the_release(benchmark, shape, device, plain):
    drawn = timed(benchmark, 1, device, lambda: sample_plainly(plain, shape.sample_cells, seed=0))
    assert drawn.nnz / (shape.sample_cells * shape.n_genes) == pytest.approx(0.06, abs=0.01)


@pytest.mark.benchmark(group="on demand")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_on_demand(benchmark, shape, device, plain, precision):
    networks = activa_networks(plain, Settings(precision=precision), n_types=shape.n_types)
    wanted = np.full(shape.on_demand_cells, RARE_TYPE)
    names = [str(code) for code in range(shape.n_types)]
    drawn = timed(benchmark, 1, device, lambda: sample_types(networks, wanted, names=names, seed=0))
    assert drawn.matrix.shape == (shape.on_demand_cells, shape.n_genes)
    assert 0.003 < drawn.acceptance_rate[RARE_TYPE] < 0.03


@pytest.mark.benchmark(group="on demand")
def test_on_demand_of_the_release(benchmark, shape, device, plain):
    draws = round(shape.on_demand_cells / shape.rare_share)
    drawn = timed(benchmark, 1, device, lambda: sample_type_plainly(plain, RARE_TYPE, draws, seed=0))
    assert 0.003 < drawn.shape[0] / draws < 0.03
