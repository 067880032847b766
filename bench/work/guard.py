"""A process that ends a server with everything it has started, as soon as whoever wants it is gone.

``python -m bench.work.guard COMMAND…`` runs the command in a process group of its own until it ends, or until
the guard's standard input is closed. The kernel closes it however the other end died.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0


def main(command: list[str]) -> int:
    """Run a command as long as standard input is open; return its exit code."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while process.poll() is None:
            closed, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS)
            if closed:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Also what outlived the command itself.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
