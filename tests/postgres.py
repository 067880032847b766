"""A PostgreSQL of a test's own: a real server, gone when the test is."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

# Nobody asks for it; it is what must never be seen.
PASSWORD = "s3cret"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_postgres():
    """Yield the URI of an empty database, with a password; PostgreSQL refuses to run as root."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    initdb, server, ready = _binary("initdb"), _binary("postgres"), _binary("pg_isready")
    home, port = Path(tempfile.mkdtemp(prefix="bench-postgres-")), free_port()
    as_user = []
    if os.getuid() == 0:
        as_user = ["runuser", "-u", "postgres", "--"]
        os.chown(home, pwd.getpwnam("postgres").pw_uid, -1)
    data = home / "data"
    create = [*as_user, initdb, "-D", data, "-U", "bench", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(create, cwd=home, check=True, capture_output=True)
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": home, "fsync": "off"}
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    with (home / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.work.guard", *as_user, server, "-D", str(data), *settings],
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A signal for the tests' whole group must not end the guard before its server.
            start_new_session=True,
        )
    try:
        answer = [ready, "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(answer, check=False).returncode != 0:
            assert process.poll() is None, (home / "log.txt").read_text()
            time.sleep(0.1)
        yield f"postgresql://bench:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        process.stdin.close()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _binary(name):
    """Return one of PostgreSQL's programs: Debian keeps them off the PATH."""
    found = shutil.which(name) or next(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)
    return found or pytest.skip(f"PostgreSQL's {name} is not installed")
