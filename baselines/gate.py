"""The gate of this repository: counts, and the scores of a tiny run, against ``gate.json`` beside this file.

What follows on the command line goes to ``bench gate``; ``--accept --reason "…"`` stores counts and scores.
The run is of a cheap baseline: after as few steps as there is time for, a GAN's scores are as bad as they
can be.
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import bench
from bench import cli
from bench.errors import WRONG_REQUEST
from bench.gate.baseline import Baseline

RUN = {
    "models": ["poisson_factors"],
    "dataset": "pbmc68k_reduced",
    "profile": "smoke",
    "seeds": (0, 1, 2),
    "metrics": ("rf_auc", "mmd", "cd", "gene_wasserstein", "type_tv"),
    "device": "cpu",
}
STORED = Path(__file__).with_name("gate.json")


def main() -> None:
    """Run, and hand the run to ``bench gate``."""
    # A throwaway run is nothing for the server of real ones: without its address only this folder is written.
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with TemporaryDirectory() as folder:
        run = bench.run(**RUN, out=Path(folder), quiet=True)
        # With a run, --accept takes counts only of models that are named.
        models = ",".join(Baseline.read(STORED).counts)
        given = ["--baseline", str(STORED), "--models", models, "--current", str(run.folder)]
        sys.argv[1:1] = ["gate", *given]
        try:
            cli.main()
        except SystemExit as ended:
            if ended.code == WRONG_REQUEST:
                # The run that the message names goes with its folder.
                again = "python baselines/gate.py --accept --reason '…'"
                print(f"To make this run anew and accept it: {again}", file=sys.stderr)  # noqa: T201
            raise


if __name__ == "__main__":
    main()
