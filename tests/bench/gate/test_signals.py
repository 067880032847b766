"""A gate that is ended in the middle leaves no work tree and no process behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.gate.sides import base_of, here
from tests.bench.gate.test_wall_clock import MINE, git, leftovers, repository
from tests.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.slow

__all__ = ["repository"]


@pytest.fixture
def started(repository, tmp_path):
    """A gate whose workers are both at work, and what it has started."""
    Path("mine.py").write_text(MINE.replace("STEP, SAMPLE = 0.005", "STEP, SAMPLE = 60"))
    git("commit", "--quiet", "-am", "takes its time")
    (tmp_path / "temporary").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench", "gate", "--baseline", "HEAD", "--models", "./mine.py:Mine"],
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary"), "BENCH_CACHE": str(tmp_path / "cache")},
        stderr=subprocess.PIPE,
        text=True,
    )

    def both_workers():
        assert process.poll() is None, process.stderr.read()
        return (found := psutil.Process(process.pid).children())[1:] and found

    workers = wait_until(both_workers)
    assert leftovers() == 1
    yield process, workers
    process.kill()
    process.communicate()


def gone(processes):
    """Tell whether all of them end."""
    return not psutil.wait_procs(processes, timeout=LIMIT_SECONDS)[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_an_ended_gate_leaves_nothing(started, tmp_path, number):
    process, workers = started
    process.send_signal(number)
    _, error = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 130 and "Traceback" not in error
    assert gone(workers) and leftovers() == 0
    assert not list((tmp_path / "temporary").iterdir())


def test_what_a_killed_gate_leaves_is_removed_by_the_next(started, tmp_path):
    process, workers = started
    with base_of(here(), "HEAD"):
        # It is still in use, whoever begins in the meantime.
        assert leftovers() == 2
    process.kill()
    assert gone(workers) and leftovers() == 1
    with base_of(here(), "HEAD"):
        assert leftovers() == 1
    assert leftovers() == 0 and not list((tmp_path / "temporary").glob("bench-gate-*"))
