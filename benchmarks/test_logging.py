"""What a point of a training curve costs: of a step of the training, it should be next to nothing."""

import pytest

from bench.results.run_folder import JobFolder
from bench.work.clock import PhaseClock
from bench.work.monitor import WorkerMonitor
from reports.curves import read_curves

pytestmark = pytest.mark.slow

POINTS = 10_000


def test_points_of_a_curve(benchmark, tmp_path):
    folder = JobFolder(tmp_path)
    monitor = WorkerMonitor(folder, PhaseClock())

    def log():
        for step in range(POINTS):
            monitor.log(step, encoder_loss=1.5, generator_loss=2.5, reconstruction=3.5, conditioning=4.5)

    benchmark.pedantic(log, rounds=3)
    monitor.close()
    curves = read_curves(folder.curves)
    # The rounds log the same steps again.
    assert [len(curve) for curve in curves.values()] == [POINTS] * 4
