"""Where runs are tracked, and how MLflow is kept brief and quiet meanwhile."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_OUT = Path("runs")
# A run must not wait minutes for a server that is down; what the user set counts.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
CONNECT_SECONDS = 15.0
# Up to the last @ of a word: whoever wrote one into a password meant it.
PASSWORDS = re.compile(r"(?<=://)([^\s:/@]*:)\S+(?=@)|(\bpassword=)[^\s&]+", re.IGNORECASE)
# What the pages offer for an experiment: training runs, not traces of a chat.
EXPERIMENT_KIND = ("mlflow.experimentKind", "custom_model_development")
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


def masked(text: str) -> str:
    """Return a text with every password in an address replaced: ``postgresql://me:***@host/mlflow``."""
    return PASSWORDS.sub(r"\1\2***", text)


def ui_command(out: Path) -> str:
    """Return what opens MLflow's pages on the runs under `out`: a command, or for a server its address."""
    uri = uri_of(out)
    if is_server(uri):
        return masked(uri)
    is_default = out.resolve() == DEFAULT_OUT.resolve()
    return "bench ui" if is_default else f"bench ui --out {shlex.quote(str(out))}"


def client_of(uri: str) -> MlflowClient:
    """Open a store or a server.

    Raises
    ------
    TrackingUnavailable
        If its address cannot be read, or what speaks to it is not installed.
    OSError
        If nothing listens at a database's port.
    """
    from mlflow import MlflowClient

    try:
        _require_listener(uri)
        if (new := _new_file(uri)) is not None:
            _make_database(new)
        with contextlib.nullcontext() if new is None else _in_a_hurry():
            return MlflowClient(tracking_uri=uri)
    except (ImportError, ValueError) as error:
        raise TrackingUnavailable(masked(f"MLflow at {uri} could not be opened: {error}")) from error


def _new_file(uri: str) -> Path | None:
    """Return the SQLite file of a store that does not exist yet."""
    path = Path(uri.removeprefix("sqlite:///"))
    is_plain = uri.startswith("sqlite:///") and "?" not in uri
    return path if is_plain and not (path.exists() and path.stat().st_size) else None


def _make_database(path: Path) -> None:
    """Make MLflow's database; cut short at any moment, by a full disk too, it is not there.

    MLflow takes no database up again whose migrations it has left half done.
    """
    from mlflow import MlflowClient

    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with _in_a_hurry():
            MlflowClient(tracking_uri=f"sqlite:///{temporary}")
        # Another process may have made one meanwhile.
        if _new_file(f"sqlite:///{path}") is not None:
            temporary.replace(path)
    finally:
        for leftover in path.parent.glob(f"{temporary.name}*"):
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def _in_a_hurry() -> Iterator[None]:
    """Open connections to SQLite that do not wait until each write has reached the disk.

    MLflow makes a new database by all migrations that there ever were, hundreds of writes; a machine that
    loses its power meanwhile loses only what a run folder holds, too.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def hurry(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    try:
        yield
    finally:
        event.remove(Engine, "connect", hurry)


def _require_listener(uri: str) -> None:
    # MLflow would try for two minutes, and say so each time.
    place = urlsplit(uri)
    try:
        host, port = place.hostname, place.port
    except ValueError:
        # Whoever opens the store says what is wrong; this error would tell half of a password with a slash.
        return
    if not is_server(uri) and host and port:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()


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
    loggers = {logging.getLogger(name): level for name, level in NOISY_LOGGERS.items()}
    with contextlib.ExitStack() as stack:
        for name in ENVIRONMENT.keys() - os.environ.keys():
            os.environ[name] = ENVIRONMENT[name]
            stack.callback(os.environ.pop, name)
        for logger in loggers:
            stack.callback(logger.setLevel, logger.level)
        # Importing MLflow sets its own levels.
        import mlflow  # noqa: F401

        for logger, level in loggers.items():
            logger.setLevel(level)
        yield
