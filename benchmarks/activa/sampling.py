"""ACTIVA's sampling beside the release's, and the memory it takes: rows of the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import scipy.sparse as sp

from bench.speed.machine import synchroniser
from bench.speed.table import Row, row
from bench.work.clock import once
from benchmarks.activa.floors import sampling_floor
from benchmarks.activa.memory import peak_rss_above
from benchmarks.activa.rates import measured_precisions
from benchmarks.activa.workload import RARE_TYPE, ActivaShape, Conditions, activa_networks, plain_networks
from models.activa.networks import Networks
from models.activa.reference import PlainActiva, sample_plainly, sample_type_plainly
from models.activa.sampling import Sampler, sample_cells, sample_types
from models.activa.settings import Settings

CHUNK_CELLS: Final = 2048
SPARSE: Final = 0.06
DENSE: Final = 0.68
"""What a trained decoder gave on Kang's control cells; untrained weights are set to it."""
Calls = dict[str, Callable[[], object]]
Facts = dict[str, dict[str, Any]]


def measure_sampling(on: Conditions) -> list[Row]:
    """Measure drawing cells to the host's CSR at 6 % non-zero, against the release's.

    Memory first, before the baseline grows.
    """
    shape, n_cells = on.shape, on.shape.sample_cells
    plain = plain_networks(shape, density=SPARSE, device=on.device)
    networks = by_precision(plain, shape)
    facts = {name: _first_draw(of, n_cells) for name, of in networks.items()}
    sample_plainly(plain, CHUNK_CELLS, seed=0)
    calls: Calls = {"release": partial(sample_plainly, plain, n_cells, seed=0)}
    calls |= {name: partial(sample_cells, of, n_cells, seed=0) for name, of in networks.items()}
    return _rows("sampling", calls, facts, n_cells, on)


def measure_streaming(on: Conditions) -> list[Row]:
    """Measure drawing cells in pieces of host CSR, each let go, at the density that a trained decoder gives.

    All cells together would not fit. No baseline: the release holds them all.
    """
    shape, n_cells = on.shape, on.shape.sample_cells
    plain = plain_networks(shape, density=DENSE, device=on.device)
    calls: Calls = {}
    facts: Facts = {}
    for name, of in by_precision(plain, shape).items():
        calls[name] = partial(_stream, of, n_cells)
        facts[name] = {"density": _stream(of, CHUNK_CELLS), "peak_rss_bytes": peak_rss_above(calls[name])}
    return _rows("sampling, streamed", calls, facts, n_cells, on)


def measure_on_demand(on: Conditions) -> list[Row]:
    """Measure drawing cells of a type that comes in 1 % of the draws, against the release's loop.

    That makes as many draws as ours in fp32.
    """
    shape = on.shape
    plain = plain_networks(shape, density=SPARSE, device=on.device)
    networks = by_precision(plain, shape)
    wanted = np.full(shape.on_demand_cells, RARE_TYPE)
    names = [f"type {number + 1}" for number in range(shape.n_types)]
    facts: Facts = {}
    for name, of in networks.items():
        drawn = sample_types(of, wanted, names=names, seed=0)
        density = drawn.matrix.nnz / (len(wanted) * shape.n_genes)
        facts[name] = {"draws": drawn.draws, "accepted": drawn.accepted[RARE_TYPE], "density": density}
    draws = facts["fp32"]["draws"]
    sample_type_plainly(plain, RARE_TYPE, CHUNK_CELLS, seed=0)
    calls: Calls = {"release": partial(sample_type_plainly, plain, RARE_TYPE, draws, seed=0)}
    calls |= {name: partial(sample_types, of, wanted, names=names, seed=0) for name, of in networks.items()}
    return _rows("on demand", calls, facts, len(wanted), on)


def by_precision(plain: PlainActiva, shape: ActivaShape) -> dict[str, Networks]:
    """Build ACTIVA's networks with the weights of `plain`, by precision."""
    return {
        precision: activa_networks(plain, Settings(precision=precision), n_types=shape.n_types)
        for precision in measured_precisions(plain.device.type)
    }


def _rows(measure: str, calls: Calls, facts: Facts, n_cells: int, on: Conditions) -> list[Row]:
    """Take turns among the calls; the release's, if it is one of them, is the baseline of ours."""
    synchronise = synchroniser(on.device)
    seconds = on.interleaved({name: partial(once, call, synchronise) for name, call in calls.items()})
    rows = []
    for precision, found in facts.items():
        floor = sampling_floor(
            on.rates,
            n_cells=found.get("draws", n_cells),
            n_genes=on.shape.n_genes,
            # On demand hardly a cell is made sparse and copied.
            density=0 if "draws" in found else found["density"],
            precision=precision,
        )
        told = floor.facts() | {"n_cells": n_cells} | found
        rows.append(row(measure, precision, seconds[precision], baseline=seconds.get("release"), **told))
    return rows


def _first_draw(networks: Networks, n_cells: int) -> dict[str, Any]:
    """Draw once untimed, for the memory and the density."""
    sample_cells(networks, CHUNK_CELLS, seed=1)
    drawn = list[sp.csr_matrix]()
    peak = peak_rss_above(lambda: drawn.append(sample_cells(networks, n_cells, seed=0).matrix))
    return {"peak_rss_bytes": peak, "density": drawn[0].nnz / (n_cells * networks.n_genes)}


def _stream(networks: Networks, n_cells: int) -> float:
    """Draw in pieces, let each go, and return the density."""
    sampler, values = Sampler(networks), 0
    for number, start in enumerate(range(0, n_cells, CHUNK_CELLS)):
        values += sampler.cells(min(CHUNK_CELLS, n_cells - start), seed=number).matrix.nnz
    return values / (n_cells * networks.n_genes)
