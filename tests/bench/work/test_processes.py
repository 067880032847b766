import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

import bench
from bench.hardware.environment import worker_environment
from bench.work.processes import run_worker, side_by_side
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def script(tmp_path, name, text):
    (tmp_path / f"{name}.py").write_text(text)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def test_what_a_worker_prints_goes_to_its_log(tmp_path):
    environment = script(
        tmp_path, "speaks", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    )
    polled = []
    outcome = run_worker(
        ["speaks"],
        log=tmp_path / "log.txt",
        timeout=None,
        on_poll=lambda: polled.append(1),
        environment=environment,
    )
    assert (outcome.returncode, outcome.timed_out, outcome.signal_name) == (3, False, "")
    assert {"out", "err"} == set((tmp_path / "log.txt").read_text().split())


def test_the_limit_kills_the_worker_and_its_children(tmp_path, monkeypatch):
    text = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path('pid.part').write_text(str(child.pid))\n"
        "pathlib.Path('pid.part').rename('pid')\n"
        "time.sleep(600)\n"
    )
    monkeypatch.chdir(tmp_path)
    outcome = run_worker(
        ["hangs"],
        log=tmp_path / "log.txt",
        timeout=0.2,
        # The limit is looked at after this: it finds everything started.
        on_poll=lambda: wait_until((tmp_path / "pid").exists),
        environment=script(tmp_path, "hangs", text),
    )
    assert outcome.timed_out
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


LEAVES_ITS_GROUP = """
import os, pathlib, subprocess, sys, time
code = "import os, pathlib, time; os.setsid(); pathlib.Path('pid.part').write_text(str(os.getpid())); "
code += "pathlib.Path('pid.part').rename('pid'); time.sleep(600)"
start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {code!r}])"
subprocess.Popen([sys.executable, "-c", start])
while not pathlib.Path('pid').exists(): time.sleep(0.01)
{then}
"""


@pytest.mark.parametrize(
    ("then", "limit"),
    [("", None), ("os.kill(os.getpid(), 9)", None), ("time.sleep(600)", 0.0), ("raise SystemExit(3)", None)],
)
def test_children_that_left_their_group_die_with_their_worker(tmp_path, monkeypatch, then, limit):
    """A grandchild in a session of its own, whose parent has ended: nothing ties it to the worker."""
    monkeypatch.chdir(tmp_path)
    run_worker(
        ["leaves"],
        log=tmp_path / "log.txt",
        timeout=limit,
        on_poll=lambda: wait_until((tmp_path / "pid").exists),
        environment=script(tmp_path, "leaves", LEAVES_ITS_GROUP.replace("{then}", then)),
    )
    child = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_the_signal_that_ended_a_worker_is_named(tmp_path):
    text = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    outcome = run_worker(
        ["crashes"],
        log=tmp_path / "log.txt",
        timeout=None,
        on_poll=lambda: None,
        environment=script(tmp_path, "crashes", text),
    )
    assert (outcome.signal_name, outcome.timed_out, outcome.out_of_memory) == ("SIGSEGV", False, False)


def test_side_by_side_returns_in_order_and_never_more_than_asked_for():
    running, most = set(), []

    def task(number, stop):
        running.add(number)
        most.append(len(running))
        time.sleep(0.01 * (5 - number))
        running.remove(number)
        return number

    tasks = [partial(task, number) for number in range(5)]
    assert side_by_side(tasks, at_once=2) == [0, 1, 2, 3, 4]
    assert max(most) <= 2


def test_what_fails_side_by_side_ends_the_other_workers(tmp_path):
    environment = script(
        tmp_path,
        "waits",
        f"import os, pathlib, time; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)\n",
    )

    def waits(stop):
        return run_worker(
            ["waits"],
            log=tmp_path / "log.txt",
            timeout=None,
            on_poll=lambda: None,
            environment=environment,
            stop=stop,
        )

    def fails(stop):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        raise ValueError("no such gene")

    with pytest.raises(ValueError, match="no such gene"):
        side_by_side([waits, fails], at_once=2)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_waiting_threads_of_a_job_sleep_unless_the_user_says_otherwise(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    environment = worker_environment("cpu", 3)
    assert (environment["OMP_WAIT_POLICY"], environment["GOMP_SPINCOUNT"]) == ("PASSIVE", "1000")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    environment = worker_environment("cpu", 3)
    assert (environment["OMP_WAIT_POLICY"], environment.get("GOMP_SPINCOUNT")) == ("ACTIVE", None)


def test_a_crash_leaves_its_stack_in_the_log(tmp_path):
    outcome = run_worker(
        ["crashes"],
        log=tmp_path / "log.txt",
        timeout=None,
        on_poll=lambda: None,
        environment=script(
            tmp_path,
            "crashes",
            "import os, signal\ndef in_the_library(): os.kill(os.getpid(), signal.SIGSEGV)\nin_the_library()",
        ),
    )
    assert outcome.crashed
    assert "in in_the_library" in (tmp_path / "log.txt").read_text()


def test_a_worker_runs_the_code_of_its_parent_whatever_is_installed(tmp_path):
    """A checkout beside the installed package: its process imports from the checkout."""
    package = tmp_path / "bench"
    home = Path(bench.__file__).parent
    for room in ("work", "hardware"):
        shutil.copytree(home / room, package / room)
    (package / "__init__.py").write_text("")
    (package / "tells.py").write_text("import bench; print(bench.__file__)")
    text = (
        "import bench.work.processes, pathlib\n"
        f"bench.work.processes.run_worker(['bench.tells'], log=pathlib.Path({str(tmp_path / 'log.txt')!r}), "
        "timeout=None, on_poll=lambda: None)\n"
    )
    subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=True)
    assert (tmp_path / "log.txt").read_text().strip() == str(package / "__init__.py")
