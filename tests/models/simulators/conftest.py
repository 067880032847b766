import sys
from pathlib import Path

# Small training cells are those of the baselines' tests.
sys.path.append(str(Path(__file__).parents[1] / "baselines"))
