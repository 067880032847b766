"""What curves and load cost a real training: ``python benchmarks/logging_cost.py``.

ACTIVA trains again and again in one process as in a Job, with what is logged of it and without, in random
order of each pair. Small cells make short steps, so that logging weighs the most. Time of the processor is
the steadier of the two on a machine that does other things.
"""

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench.draft import prepare_dataset
from bench.gate.looks import paired_ratio
from bench.progress import Progress
from bench.request.spec import RunSpec
from bench.results.run_folder import JobFolder
from bench.work.clock import PhaseClock
from bench.work.monitor import WorkerMonitor
from bench.work.resources import ResourceSampler
from models.activa.generator import Activa
from models.base import Budget

ERROR = 0.025


def train(cells, budget, *, logged):
    """Train once; return seconds on the wall and of the processor, and each call of `log` in seconds."""
    with tempfile.TemporaryDirectory() as home:
        folder, clock, generator, calls = JobFolder(Path(home)), PhaseClock(), Activa(), []
        monitor = WorkerMonitor(folder, clock)
        log = monitor.log if logged else lambda step, **values: None

        def timed_log(step, **values):
            started = time.perf_counter()
            log(step, **values)
            calls.append(time.perf_counter() - started)

        monitor.log = timed_log
        generator.prepare(cells)
        with ResourceSampler(lambda: clock.current, series=folder.resources if logged else None):
            wall, processor = time.perf_counter(), time.process_time()
            generator.fit(cells, seed=0, device="cpu", budget=budget, monitor=monitor)
            times = time.perf_counter() - wall, time.process_time() - processor
        monitor.close()
    return times, calls


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="pbmc68k_reduced", help="a name or a file")
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    console, order = Console(soft_wrap=True, highlight=False), random.Random(0)
    adata = prepare_dataset(RunSpec.checked(dataset=options.dataset), None, Progress(console)).read()
    cells, budget = adata[adata.obs["split"] == "train"].copy(), Budget.parse(f"{options.epochs}epochs")
    train(cells, budget, logged=True)
    times, shares = {True: [], False: []}, []
    for _ in range(options.pairs):
        for logged in order.sample((True, False), 2):
            seconds, calls = train(cells, budget, logged=logged)
            times[logged].append(seconds)
            if logged:
                shares.append(sum(calls) / seconds[0])
    say = console.print
    say(f"{cells.n_obs} cells × {cells.n_vars} genes, {options.epochs} epochs, {os.cpu_count()} cores")
    say(f"{len(calls)} calls of log: {100 * min(shares):.3f} to {100 * max(shares):.3f} % of a training")
    for number, what in enumerate(("wall clock", "processor")):
        without, with_ = ([seconds[number] for seconds in times[logged]] for logged in (False, True))
        found = paired_ratio(without, with_, lower_error=ERROR, upper_error=ERROR)
        interval = f"{found.pseudomedian:.4f} [{found.lower:.4f}, {found.upper:.4f}]"
        say(f"{what}: with / without {interval}, {found.n_pairs} pairs, {min(without):.1f} s at least")


if __name__ == "__main__":
    main()
