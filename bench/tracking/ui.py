"""MLflow's pages on this machine: ``bench ui``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit
from urllib.request import ProxyHandler, build_opener

from rich.console import Console
from rich.text import Text

from bench.errors import RequestError
from bench.progress import Progress
from bench.tracking import store
from bench.tracking.moved import follow_artifacts
from bench.tracking.start_view import SHARE_KEY
from bench.tracking.start_view import TAG as START_VIEW

HOST = "127.0.0.1"
START_SECONDS = 120.0
POLL_SECONDS = 0.2
# The pages of trained models; without it MLflow opens those of chat applications, also behind its own links.
TRAINING = "workflowType=machine_learning"
EXPERIMENTS = f"/#/experiments?{TRAINING}"
MOST_DATASETS = 10


@dataclass(frozen=True)
class Pages:
    """MLflow's server, started here.

    Attributes
    ----------
    address
        Address at which the server answers.
    process
        The guard that ends it (see `bench.work.guard`).
    log
        File with what the server prints.
    """

    address: str
    process: subprocess.Popen[bytes]
    log: IO[bytes]


def show(out: Path, *, port: int | None, console: Console) -> None:
    """Show the runs under `out` in MLflow's pages until interrupted.

    Parameters
    ----------
    out
        Folder that holds the run folders and their store.
    port
        Port of 127.0.0.1 to listen on; None for any free one.
    console
        Terminal that the address is printed to.

    Raises
    ------
    RequestError
        If there is no store, the port is taken, or the server does not start or ends by itself.
    KeyboardInterrupt
        When the user has seen enough.
    """
    uri = store.uri_of(out)
    if store.is_server(uri):
        server = store.masked(uri)
        if port is not None:
            raise RequestError(f"--port {port}: MLFLOW_TRACKING_URI is a server already, at {server}")
        if not answers(uri):
            raise RequestError(f"MLFLOW_TRACKING_URI {server}: no MLflow server answers there")
        _print_address(console, uri)
        return
    if uri == f"sqlite:///{store.database_of(out)}":
        if not store.database_of(out).exists():
            raise RequestError(f"--out {str(out)!r}: no run has been tracked there yet; bench run makes one")
        # Of a store that cannot be read MLflow tells what is wrong.
        with contextlib.suppress(sqlite3.Error):
            follow_artifacts(out)
    with serving(uri, port=port, artifacts=store.artifacts_of(out), progress=Progress(console)) as pages:
        _print_address(console, pages.address)
        console.print("Ctrl-C ends it.")
        pages.process.wait()
        raise RequestError(f"MLflow ended: {_cause(pages.log)}")


@contextlib.contextmanager
def serving(uri: str, *, port: int | None, artifacts: Path, progress: Progress) -> Iterator[Pages]:
    """Keep MLflow's server on a store while the block runs; nothing of it is left afterwards.

    Parameters
    ----------
    uri
        Address of the store whose pages are served.
    port
        Port of 127.0.0.1 to listen on; None for any free one.
    artifacts
        Folder for artifacts that are sent to this server.
    progress
        Display that shows that the server is starting.

    Raises
    ------
    RequestError
        If the port is taken or the server does not start.
    """
    port = _free_port(port)
    # Everybody on a machine can read the words of a command, and an address may hold a password.
    settings = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            # -P: a folder called `datasets` in the current directory must not shadow ours.
            [sys.executable, "-P", "-m", "bench.work.guard", *_server(port, artifacts)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=store.ENVIRONMENT | os.environ | settings,
            # Ctrl-C is for this process alone, which then closes the guard's input.
            start_new_session=True,
        )
        try:
            pages = Pages(f"http://{HOST}:{port}", process, log)
            _wait_until_it_answers(pages, progress)
            yield pages
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def _server(port: int, artifacts: Path) -> list[str]:
    options = ["--artifacts-destination", artifacts.as_uri(), "--host", HOST, "--port", str(port)]
    return [sys.executable, "-P", "-m", "mlflow", "server", *options, "--workers", "1"]


def _free_port(wanted: int | None) -> int:
    with socket.socket() as probe:
        # As the server does: a port whose last connection has just closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            raise RequestError(f"--port {wanted}: {error.strerror}; leave it out for a free one") from error
        return int(probe.getsockname()[1])


def _wait_until_it_answers(pages: Pages, progress: Progress) -> None:
    started = time.monotonic()
    with progress.transfers() as report:
        while not answers(pages.address):
            passed = time.monotonic() - started
            if pages.process.poll() is not None:
                raise RequestError(f"MLflow did not start: {_cause(pages.log)}")
            if passed > START_SECONDS:
                raise RequestError(f"MLflow did not answer within {START_SECONDS:.0f} s")
            report("starting MLflow", int(passed), None)
            time.sleep(POLL_SECONDS)


def answers(address: str) -> bool:
    """Tell whether an MLflow server is in good health at an address."""
    return _asked(address, "health") is not None


def runs_pages(address: str) -> dict[str, str]:
    """Return data set → address of the table of its Jobs, the last changed first; empty if nobody tells."""
    wanted = quote(f"tags.`{store.EXPERIMENT_KIND[0]}` = '{store.EXPERIMENT_KIND[1]}'")
    query = f"max_results={MOST_DATASETS}&order_by=last_update_time%20DESC&filter={wanted}"
    reply = _asked(address, f"api/2.0/mlflow/experiments/search?{query}")
    with contextlib.suppress(ValueError):
        found = json.loads(reply or "{}").get("experiments", [])
        tables = f"{address.rstrip('/')}/#/experiments"
        return {each["name"]: f"{tables}/{each['experiment_id']}/runs?{_start(each)}" for each in found}
    return {}


def _start(experiment: Mapping[str, Any]) -> str:
    """Return what an experiment's page is asked to show: its start view, where it was tracked with one."""
    has_view = any(tag["key"] == START_VIEW for tag in experiment.get("tags", []))
    return f"{TRAINING}&viewStateShareKey={SHARE_KEY}" if has_view else TRAINING


def _asked(address: str, what: str) -> bytes | None:
    """Return what a server answers; None where none does, or not well."""
    try:
        # A proxy that the environment names knows no server of this machine.
        proxies: dict[str, str] | None = {} if urlsplit(address).hostname in (HOST, "localhost") else None
        with build_opener(ProxyHandler(proxies)).open(f"{address.rstrip('/')}/{what}", timeout=5) as reply:
            return bytes(reply.read())
    except (OSError, ValueError, HTTPException):
        return None


def _print_address(console: Console, address: str) -> None:
    pages = {"MLflow": f"{address.rstrip('/')}{EXPERIMENTS}"} | runs_pages(address)
    width = max(map(len, pages))
    for name, place in pages.items():
        # Text: names of data sets may look like markup.
        console.print(Text(f"{name:{width}}  {store.masked(place)}"), soft_wrap=True)


def _cause(log: IO[bytes]) -> str:
    """Return the last line of a log that names an error, else the last line."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"(ERROR|[\w.]*(Error|Exception))\b", line)]
    return store.masked((named or lines or ["it printed nothing"])[-1])
