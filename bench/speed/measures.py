"""What is measured of ACTIVA, a row for each objective, precision or density."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

import torch

from bench.speed.baselines import BATCH_SIZE
from bench.speed.floors import Floor, Rates, sampling_floor, step_floor
from bench.speed.rates import measured_precisions
from bench.speed.rounds import interleave
from bench.speed.rows import Row, failed_row, row
from bench.speed.sampling import time_on_demand, time_sampling, time_streaming
from bench.speed.training import activa_steps, backed, release_steps
from bench.speed.workload import Shape, plain_networks, training_cells
from models.activa.cells import batches_per_epoch, fits_dense
from models.activa.settings import Objective, Settings

SPARSE: Final = 0.06
DENSE: Final = 0.68
"""What a trained decoder gave on Kang's control cells; untrained weights are set to it."""


STREAMED_STEP: Final = "step, streamed"


@dataclass(frozen=True)
class Effort:
    """How long is measured.

    Attributes
    ----------
    repeats
        Rounds of each measure.
    limit_seconds
        No further round of a measure begins after so long.
    total_seconds
        Of all measures, set-up included: what is left of it is shared among those to come. None: no bound.
        Every measure has one round in any case.
    """

    repeats: int = 9
    limit_seconds: float = 60.0
    total_seconds: float | None = None

    def share(self, spent_seconds: float, *, n_left: int) -> Effort:
        """Return the effort for the next of `n_left` measures, after so many seconds."""
        if self.total_seconds is None:
            return self
        left = max(0.0, self.total_seconds - spent_seconds) / n_left
        return replace(self, limit_seconds=min(self.limit_seconds, left))


def measure_step(shape: Shape, rates: Rates, effort: Effort, device: str) -> list[Row]:
    """Measure a training step: both objectives and both precisions against the release's.

    On a GPU the release is fed by its DataLoader; on a CPU a batch lies ready for it.
    """
    on_gpu = device.startswith("cuda")
    return _training_rows(
        "step", shape, rates, effort, device, objectives=get_args(Objective), steps=100 if on_gpu else 1
    )


def measure_streamed_step(shape: Shape, rates: Rates, effort: Effort, device: str) -> list[Row]:
    """Measure a step of the paper's objective on cells that stay in a file, against the same in memory."""
    *_, precision = measured_precisions(device)
    name = f"paper, {precision}"
    if fits_dense(shape.n_cells, shape.n_genes, device=torch.device(device)):
        return [failed_row(STREAMED_STEP, name, "all cells fit on the device: give more --cells")]
    if importlib.util.find_spec("anndata") is None:
        return [failed_row(STREAMED_STEP, name, "needs anndata, which is not installed")]
    matrix, types = training_cells(shape)
    with backed(matrix) as on_disk:
        contenders = {
            place: activa_steps(cells, types, settings=Settings(precision=precision), steps=1, device=device)
            for place, cells in (("memory", matrix), ("file", on_disk))
        }
        seconds = interleave(contenders, repeats=effort.repeats, limit_seconds=effort.limit_seconds)
    floor = _floor_facts(_step_floor(rates, "paper", precision, shape))
    return [row(STREAMED_STEP, name, seconds["file"], baseline=seconds["memory"], **floor)]


def measure_epoch(shape: Shape, rates: Rates, effort: Effort, device: str) -> list[Row]:
    """Measure a pass over all cells of the paper's objective against the release's, DataLoader included."""
    steps = batches_per_epoch(shape.n_cells, BATCH_SIZE)
    return _training_rows("epoch", shape, rates, effort, device, objectives=("paper",), steps=steps)


def measure_sampling(shape: Shape, rates: Rates, effort: Effort, device: str) -> list[Row]:
    """Measure drawing cells to the host's CSR at 6 % non-zero, against the release's."""
    plain = plain_networks(shape, density=SPARSE, device=device)
    found = time_sampling(plain, shape, repeats=effort.repeats, limit_seconds=effort.limit_seconds)
    return _sampling_rows("sampling", found, shape, rates, device)


def measure_streaming(shape: Shape, rates: Rates, effort: Effort, device: str) -> list[Row]:
    """Measure drawing cells piece by piece at the density that a trained decoder gives."""
    plain = plain_networks(shape, density=DENSE, device=device)
    found = time_streaming(plain, shape, repeats=effort.repeats, limit_seconds=effort.limit_seconds)
    return _sampling_rows("sampling, streamed", found, shape, rates, device)


def measure_on_demand(shape: Shape, rates: Rates, effort: Effort, device: str) -> list[Row]:
    """Measure drawing cells of a type that comes in 1 % of the draws, against the release's loop."""
    plain = plain_networks(shape, density=SPARSE, device=device)
    found = time_on_demand(plain, shape, repeats=effort.repeats, limit_seconds=effort.limit_seconds)
    return [
        row(
            "on demand",
            precision,
            found[precision]["seconds"],
            baseline=found["release"]["seconds"],
            **_floor_facts(
                sampling_floor(
                    rates,
                    n_cells=found[precision]["draws"],
                    n_genes=shape.n_genes,
                    density=0,
                    precision=precision,
                )
            ),
            n_cells=shape.on_demand_cells,
            **{name: found[precision][name] for name in ("draws", "accepted", "density")},
        )
        for precision in measured_precisions(device)
    ]


Measure = Callable[[Shape, Rates, Effort, str], list[Row]]
MEASURES: Final[Mapping[str, Measure]] = {
    "step": measure_step,
    "streamed_step": measure_streamed_step,
    "epoch": measure_epoch,
    "sampling": measure_sampling,
    "streaming": measure_streaming,
    "on_demand": measure_on_demand,
}


def _step_floor(rates: Rates, objective: str, precision: str, shape: Shape) -> Floor:
    return step_floor(
        rates, objective=objective, precision=precision, n_genes=shape.n_genes, batch_size=BATCH_SIZE
    )


def _floor_facts(floor: Floor, *, times: int = 1) -> dict[str, float]:
    return {"floor_seconds": times * floor.seconds, "wide_floor_seconds": times * floor.wide_seconds}


def _training_rows(
    measure: str,
    shape: Shape,
    rates: Rates,
    effort: Effort,
    device: str,
    *,
    objectives: tuple[Objective, ...],
    steps: int,
) -> list[Row]:
    matrix, types = training_cells(shape)
    loaded = measure == "epoch" or device.startswith("cuda")
    variants = {
        f"{objective}, {precision}": (objective, precision)
        for objective in objectives
        for precision in measured_precisions(device)
    }
    contenders = {"the release": release_steps(matrix, types, steps=steps, device=device, loaded=loaded)}
    for name, (objective, precision) in variants.items():
        settings = Settings(objective=objective, precision=precision)
        contenders[name] = activa_steps(matrix, types, settings=settings, steps=steps, device=device)
    limit = effort.limit_seconds / steps
    seconds = interleave(contenders, repeats=effort.repeats, limit_seconds=limit)
    # A step's seconds make an epoch's.
    times = steps if measure == "epoch" else 1
    return [
        row(
            measure,
            name,
            [times * value for value in seconds[name]],
            baseline=[times * value for value in seconds["the release"]],
            **_floor_facts(_step_floor(rates, objective, precision, shape), times=times),
            steps=steps,
        )
        for name, (objective, precision) in variants.items()
    ]


def _sampling_rows(
    measure: str, found: Mapping[str, Mapping[str, Any]], shape: Shape, rates: Rates, device: str
) -> list[Row]:
    release = found.get("release")
    return [
        row(
            measure,
            precision,
            found[precision]["seconds"],
            baseline=release["seconds"] if release else None,
            **_floor_facts(
                sampling_floor(
                    rates,
                    n_cells=shape.sample_cells,
                    n_genes=shape.n_genes,
                    density=found[precision]["density"],
                    precision=precision,
                )
            ),
            n_cells=shape.sample_cells,
            **{name: found[precision][name] for name in ("density", "peak_rss_bytes")},
        )
        for precision in measured_precisions(device)
    ]
