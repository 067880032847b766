"""The scripts of things that went wrong elsewhere, one a kind of fault: each must print PASS."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CASES = sorted((ROOT.parent / "shared" / "cases").glob("f*.py"))

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("script", CASES or [None], ids=lambda script: script.stem if script else "none")
def test_the_case_passes(script, tmp_path):
    if script is None:
        pytest.skip("../shared/cases is not here")
    ended = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ended.stdout.startswith("PASS"), ended.stdout + ended.stderr
    assert ended.returncode == 0
