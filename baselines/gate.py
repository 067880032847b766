"""The gate of this repository: counts, and the scores of a tiny run, against ``gate.json`` beside this file.

What follows on the command line goes to ``bench gate``, such as ``--accept --reason "…"``. The run is of a
cheap baseline: after as few steps as there is time for, a GAN's scores are as bad as they can be.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import bench
from bench import cli

RUN = {
    "models": ["poisson_factors"],
    "dataset": "pbmc68k_reduced",
    "profile": "smoke",
    "seeds": (0, 1, 2),
    "metrics": ("rf_auc", "mmd", "cd", "gene_wasserstein", "type_tv"),
    "device": "cpu",
}

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        run = bench.run(**RUN, out=Path(folder), quiet=True)
        sys.argv[1:1] = ["gate", "--current", str(run.folder)]
        cli.main()
