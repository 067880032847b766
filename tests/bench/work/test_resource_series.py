import json
import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from bench.results.run_folder import JobFolder
from bench.work import monitor as monitor_module
from bench.work import resource_series
from bench.work.clock import PhaseClock
from bench.work.monitor import WorkerMonitor
from bench.work.resource_series import ResourceSeries, cpu_seconds
from bench.work.resources import ResourceSampler
from reports.curves import read_curves, read_resources
from tests.waiting import wait_until


class Hands:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1767322805.25 + self.now - 100


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_a_second_however_often_it_is_asked(tmp_path, monkeypatch):
    hands, used = Hands(), [0.0]
    monkeypatch.setattr(resource_series, "time", hands)
    monkeypatch.setattr(resource_series, "cpu_seconds", lambda processes: used[0])
    series = ResourceSeries(tmp_path / "resources.jsonl")
    for _ in range(201):
        series.note("fit", {"rss_bytes": 2**30, "gpu_bytes": None}, [])
        hands.now += 0.05
        used[0] += 0.075
    written = lines(tmp_path / "resources.jsonl")
    assert 9 <= len(written) <= 11
    assert written[0] == {"time": 1767322805.25, "phase": "fit", "values": {"rss_bytes": 2**30}}
    assert [line["values"]["cpu_percent"] for line in written[1:]] == pytest.approx(
        [150.0] * len(written[1:])
    )
    started, curves = read_resources(tmp_path / "resources.jsonl")
    assert started == 1767322805.25
    assert set(curves) == {"rss_gib", "cpu_percent"}
    assert curves["rss_gib"][0] == (0, 1.0)


def test_half_a_line_is_passed_over(tmp_path):
    path = tmp_path / "resources.jsonl"
    whole = {"time": 10.5, "phase": "fit", "values": {"rss_bytes": 2**29, "gpu_percent": 70}}
    path.write_text(f'{json.dumps(whole)}\n{{"time": 11.5, "pha')
    assert read_resources(path) == (10.5, {"rss_gib": [(0, 0.5)], "gpu_percent": [(0, 70)]})
    assert read_resources(tmp_path / "missing") == (0.0, {})


def test_the_time_of_children_that_have_ended_counts():
    spin = "import time\nwhile time.process_time() < 0.3: pass"
    before = cpu_seconds([psutil.Process()])
    subprocess.run([sys.executable, "-c", spin], check=True)
    # The system counts in hundredths of a second, four counts at a time.
    assert cpu_seconds([psutil.Process()]) - before > 0.2
    gone = SimpleNamespace(cpu_times=lambda: (_ for _ in ()).throw(psutil.NoSuchProcess(1)))
    assert cpu_seconds([gone]) == 0


def test_the_sampler_writes_what_it_sees(tmp_path):
    path = tmp_path / "resources.jsonl"
    with ResourceSampler(lambda: "fit/warm_up", interval=0.005, series=path):
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    (line, *_) = lines(path)
    assert line["phase"] == "fit/warm_up"
    assert 0.2 < line["values"]["rss_bytes"] / psutil.Process(os.getpid()).memory_info().rss < 1.5


def test_thousands_of_points_are_a_few_writes(tmp_path, monkeypatch):
    """20 000 points in 4 s, 5 000 a second: not more than a write a second, and one at the end."""
    hands = Hands()
    monkeypatch.setattr(monitor_module, "time", hands)
    flushes = []
    flush = WorkerMonitor._flush
    monkeypatch.setattr(WorkerMonitor, "_flush", lambda self: (flushes.append(hands.now), flush(self)))
    folder = JobFolder(tmp_path)
    monitor = WorkerMonitor(folder, PhaseClock())
    sizes = []
    for step in range(20_000):
        monitor.log(step, loss=1.0 / (step + 1))
        hands.now += 0.0002
        sizes.append(folder.curves.stat().st_size)
    assert len(flushes) == 3
    assert len(set(sizes)) <= 3 + 1 + sizes[-1] // monitor_module.BUFFER_BYTES
    monitor.close()
    (curve,) = read_curves(folder.curves).values()
    assert curve[-1] == (19_999, 1 / 20_000)
    assert len(curve) == 20_000


def test_a_checkpoint_finds_the_curve_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor_module, "CHECKPOINT_SECONDS", 0)
    folder = JobFolder(tmp_path)
    monitor = WorkerMonitor(folder, PhaseClock())
    monitor.log(7, loss=0.5)
    seen = []
    monitor.checkpoint(lambda target: seen.append(folder.curves.read_text()))
    assert json.loads(seen[0]) == {"step": 7, "phase": "", "values": {"loss": 0.5}}
    monitor.close()
