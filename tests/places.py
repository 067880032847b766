"""Where things lie that tests read."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
"""Real cells, where they are to be had."""
GENERATORS = REPOSITORY / "tests" / "bench" / "generators"
THROWAWAY = GENERATORS / "throwaway.py"
GATED = GENERATORS / "gated.py"
UNFAITHFUL = GENERATORS / "unfaithful.py"
