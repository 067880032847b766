"""``python -m bench``, and the command ``bench``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it like any other."""
    try:
        from bench import cli
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
