"""Timing ACTIVA's sampling beside the release's, and the memory it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.speed.baselines import PlainActiva, sample_plainly, sample_type_plainly
from bench.speed.machine import synchroniser
from bench.speed.memory import peak_rss_above
from bench.speed.rates import measured_precisions
from bench.speed.rounds import interleave, timed
from bench.speed.workload import RARE_TYPE, Shape, activa_networks
from models.activa.networks import Networks
from models.activa.sampling import Sampler, sample_cells, sample_types
from models.activa.settings import Settings

CHUNK_CELLS = 2048


def by_precision(plain: PlainActiva, shape: Shape) -> dict[str, Networks]:
    """Build ACTIVA's networks with the weights of `plain`, by precision."""
    return {
        precision: activa_networks(plain, Settings(precision=precision), n_types=shape.n_types)
        for precision in measured_precisions(plain.device.type)
    }


def time_sampling(
    plain: PlainActiva, shape: Shape, *, repeats: int, limit_seconds: float
) -> dict[str, dict[str, Any]]:
    """Time drawing `shape.sample_cells` cells to the host's CSR; memory first, before the baseline grows.

    Returns
    -------
    dict
        By contender (``"release"`` and each precision): ``seconds``, a value a round; for ours also
        ``density`` and ``peak_rss_bytes`` above the model, the result included.
    """
    n_cells = shape.sample_cells
    networks = by_precision(plain, shape)
    found = {name: _first_draw(of, n_cells) for name, of in networks.items()}
    sample_plainly(plain, CHUNK_CELLS, seed=0)
    synchronise = synchroniser(plain.device.type)
    contenders = {"release": timed(lambda: sample_plainly(plain, n_cells, seed=0), synchronise)}
    contenders |= {name: timed(_drawing(of, n_cells), synchronise) for name, of in networks.items()}
    seconds = interleave(contenders, repeats=repeats, limit_seconds=limit_seconds)
    return {name: {"seconds": values, **found.get(name, {})} for name, values in seconds.items()}


def time_streaming(
    plain: PlainActiva, shape: Shape, *, repeats: int, limit_seconds: float
) -> dict[str, dict[str, Any]]:
    """Time drawing `shape.sample_cells` cells in pieces of host CSR, each let go as soon as it is there.

    For densities at which all cells together would not fit. No baseline: the release holds them all.

    Returns
    -------
    dict
        By precision, as `time_sampling` has it.
    """
    networks = by_precision(plain, shape)
    found: dict[str, dict[str, Any]] = {}
    for name, of in networks.items():
        density = _stream(of, CHUNK_CELLS)
        peak = peak_rss_above(_streaming(of, shape.sample_cells))
        found[name] = {"peak_rss_bytes": peak, "density": density}
    synchronise = synchroniser(plain.device.type)
    contenders = {
        name: timed(_streaming(of, shape.sample_cells), synchronise) for name, of in networks.items()
    }
    seconds = interleave(contenders, repeats=repeats, limit_seconds=limit_seconds)
    return {name: {"seconds": values, **found[name]} for name, values in seconds.items()}


def time_on_demand(
    plain: PlainActiva, shape: Shape, *, repeats: int, limit_seconds: float
) -> dict[str, dict[str, Any]]:
    """Time drawing `shape.on_demand_cells` cells of a rare type; the baseline makes as many draws as fp32.

    Returns
    -------
    dict
        By contender: ``seconds``, a value a round; ``draws``; for ours ``accepted``, ``density``.
    """
    networks = by_precision(plain, shape)
    wanted = np.full(shape.on_demand_cells, RARE_TYPE)
    names = [f"type {number + 1}" for number in range(shape.n_types)]
    drawn = {name: sample_types(of, wanted, names=names, seed=0) for name, of in networks.items()}
    found: dict[str, dict[str, Any]] = {
        name: {
            "draws": of.draws,
            "accepted": of.accepted[RARE_TYPE],
            "density": of.matrix.nnz / (len(wanted) * shape.n_genes),
        }
        for name, of in drawn.items()
    }
    found["release"] = {"draws": found["fp32"]["draws"]}
    synchronise = synchroniser(plain.device.type)
    sample_type_plainly(plain, RARE_TYPE, CHUNK_CELLS, seed=0)
    contenders = {
        "release": timed(
            lambda: sample_type_plainly(plain, RARE_TYPE, found["release"]["draws"], seed=0), synchronise
        )
    }
    for name, of in networks.items():
        contenders[name] = timed(_drawing_types(of, wanted, names), synchronise)
    seconds = interleave(contenders, repeats=repeats, limit_seconds=limit_seconds)
    return {name: {"seconds": values, **found[name]} for name, values in seconds.items()}


def _first_draw(networks: Networks, n_cells: int) -> dict[str, Any]:
    """Draw once untimed, for the memory and the density."""
    sample_cells(networks, CHUNK_CELLS, seed=1)
    density = 0.0

    def draw() -> object:
        nonlocal density
        matrix = sample_cells(networks, n_cells, seed=0).matrix
        density = matrix.nnz / (n_cells * networks.n_genes)
        return matrix

    return {"peak_rss_bytes": peak_rss_above(draw), "density": density}


def _stream(networks: Networks, n_cells: int) -> float:
    """Draw in pieces, let each go, and return the density."""
    sampler, values = Sampler(networks), 0
    for number, start in enumerate(range(0, n_cells, CHUNK_CELLS)):
        values += sampler.cells(min(CHUNK_CELLS, n_cells - start), seed=number).matrix.nnz
    return values / (n_cells * networks.n_genes)


def _streaming(networks: Networks, n_cells: int) -> Callable[[], object]:
    return lambda: _stream(networks, n_cells)


def _drawing(networks: Networks, n_cells: int) -> Callable[[], object]:
    return lambda: sample_cells(networks, n_cells, seed=0)


def _drawing_types(networks: Networks, wanted: np.ndarray, names: list[str]) -> Callable[[], object]:
    return lambda: sample_types(networks, wanted, names=names, seed=0)
