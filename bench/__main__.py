"""``python -m bench``, and the command ``bench``."""

import signal
import sys

from bench.work.interrupts import heed_the_first


def main() -> None:
    """Run the command line; Ctrl-C, at whatever moment, ends it with one line and exit code 130."""
    heeded = heed_the_first()
    try:
        from bench import cli

        cli.main()
    except KeyboardInterrupt:
        _end_interrupted()
    except Exception:
        # Compiled modules make other errors of an interrupt while they are imported.
        if not (heeded and signal.getsignal(signal.SIGINT) is signal.SIG_IGN):
            raise
        _end_interrupted()
    finally:
        # Whoever presses it now is not to see how the interpreter ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_interrupted() -> None:
    print("bench: interrupted; what was finished is kept", file=sys.stderr)  # noqa: T201
    sys.exit(130)


if __name__ == "__main__":
    main()
