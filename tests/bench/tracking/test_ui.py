"""``bench ui``: a real server, stopped as users and accidents stop it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import psutil
import pytest

from bench.tracking import sync
from tests.reports.run_view import built, make_run_view
from tests.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder of runs with one that is tracked."""
    folder = tmp_path_factory.mktemp("my runs")
    run = folder / "20260102-030405-zheng"
    sync(built(make_run_view(run, seeds=1)), folder=run, tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    return folder


def environment(**extra):
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return kept | {"PYTHONUNBUFFERED": "1"} | extra


def ui(*arguments, **extra):
    command = [sys.executable, "-m", "bench", "ui", *map(str, arguments)]
    return subprocess.run(
        command, env=environment(**extra), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )


def started(out, *arguments):
    """Start the pages; return the process, the address it printed and everything it started."""
    command = [sys.executable, "-m", "bench", "ui", "--out", str(out), *map(str, arguments)]
    process = subprocess.Popen(
        command,
        # Where a proxy is set that is nobody's, a server of this machine must be found all the same.
        env=environment(http_proxy="http://127.0.0.1:9", no_proxy=""),
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return process, found[0], psutil.Process(process.pid).children(recursive=True)
    raise AssertionError(f"it ended with {process.wait()} and printed no address")


def none_left(children):
    _, alive = psutil.wait_procs(children, timeout=LIMIT_SECONDS)
    return [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []


def test_ctrl_c_is_its_normal_end(out):
    process, address, children = started(out)
    assert len(children) >= 2
    with urlopen(f"{address}/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=zheng") as reply:
        experiment = json.load(reply)["experiment"]
    page = f"{address}/#/experiments/{experiment['experiment_id']}/runs?workflowType=machine_learning&"
    page += "viewStateShareKey=bench"
    assert process.stdout.readline() == f"zheng   {page}\n"
    sockets = [c for child in children for c in child.net_connections(kind="inet") if c.status == "LISTEN"]
    assert {connection.laddr.ip for connection in sockets} == {"127.0.0.1"}
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_SECONDS) == 0
    assert not any(child.is_running() for child in children)


def test_nothing_outlives_it_when_it_is_killed(out):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process, address, children = started(out, "--port", port)
    assert address.endswith(f":{port}")
    process.kill()
    process.wait()
    assert none_left(children)


def test_a_port_in_use_is_named(out):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = ui("--out", out, "--port", port)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"bench: --port {port}: Address already in use; leave it out for a free one\n"


def test_without_a_store_the_remedy_is_named(tmp_path):
    ended = ui("--out", tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "no run has been tracked there yet" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_set_is_told_or_missed(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    ended = ui(MLFLOW_TRACKING_URI=address)
    assert ended.returncode == 2
    assert ended.stderr == f"bench: MLFLOW_TRACKING_URI {address}: no MLflow server answers there\n"


def test_a_store_that_mlflow_refuses_is_named(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is no database")
    ended = ui("--out", tmp_path)
    assert ended.returncode == 2
    assert "MLflow did not start: " in ended.stderr
    assert "file is not a database" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
