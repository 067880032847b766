"""Where runs are tracked, and how MLflow is kept brief and quiet meanwhile."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

DEFAULT_OUT = Path("runs")
# A run must not wait minutes for a server that is down; what the user set counts.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
NOISY_LOGGERS = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3": logging.ERROR}


class TrackingUnavailable(Exception):
    """MLflow's store cannot be reached or written; the message is one line."""


def uri_of(out: Path) -> str:
    """Return where the runs under `out` are tracked: ``MLFLOW_TRACKING_URI`` where set, else SQLite there."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database_of(out)}"


def database_of(out: Path) -> Path:
    """Return the SQLite file of the runs under `out`."""
    return out.resolve() / "mlflow.db"


def artifacts_of(out: Path) -> Path:
    """Return where artifacts of the runs under `out` lie, unless a server keeps them."""
    return out.resolve() / "mlartifacts"


def is_server(uri: str) -> bool:
    """Tell whether a tracking URI is the address of a server."""
    return uri.startswith(("http://", "https://"))


def ui_command(out: Path) -> str:
    """Return what opens MLflow's pages on the runs under `out`: a command, or for a server its address."""
    uri = uri_of(out)
    if is_server(uri):
        return uri
    is_default = out.resolve() == DEFAULT_OUT.resolve()
    return "bench ui" if is_default else f"bench ui --out {shlex.quote(str(out))}"


def in_one_line(error: BaseException) -> str:
    """Return what went wrong with a store, in words that follow its address."""
    from requests import ConnectionError, Timeout

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | Timeout):
            return "does not answer"
        cause = cause.__cause__ or cause.__context__
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"could not be written: {reason[:300]}"


@contextlib.contextmanager
def brief_and_quiet() -> Iterator[None]:
    """Keep MLflow from waiting long and from talking, and leave the process as it was."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if before[name] is None})
    levels = {name: logging.getLogger(name).level for name in NOISY_LOGGERS}
    try:
        # Importing MLflow sets its own levels.
        import mlflow  # noqa: F401

        for name, level in NOISY_LOGGERS.items():
            logging.getLogger(name).setLevel(level)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
