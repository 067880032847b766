"""``bench sample``: what its process is told before the model's framework is loaded."""

import os
from pathlib import Path

import pytest

from bench.commands.sample import sample
from bench.results.run_folder import RunFolder
from bench.work import sampling


@pytest.mark.parametrize("said", [None, "ACTIVE"])
def test_its_waiting_threads_sleep_unless_the_user_says_otherwise(said, monkeypatch):
    seen = {}

    def sample_from_run(*_given, **_named):
        seen.update(os.environ)
        return {"sampling": None, "density": 0.5}

    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.pop("OMP_WAIT_POLICY", None)
    if said:
        os.environ["OMP_WAIT_POLICY"] = said
    monkeypatch.setattr(RunFolder, "open", lambda _path: None)
    monkeypatch.setattr(sampling, "sample_from_run", sample_from_run)
    assert sample(Path("run"), "activa", Path("cells.h5ad"), device="cpu") == 0
    assert seen["OMP_WAIT_POLICY"] == (said or "PASSIVE")
