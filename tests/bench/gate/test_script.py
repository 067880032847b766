"""``baselines/gate.py``: what it asks of the gate."""

import json
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.places import REPOSITORY

BASELINES = REPOSITORY / "baselines"


@pytest.fixture
def script():
    spec = spec_from_file_location("gate_script", BASELINES / "gate.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_counts_and_scores_are_accepted_by_one_command_and_nothing_is_uploaded(script, monkeypatch):
    tracked, asked = [], {}

    def run(*, out, **options):
        tracked.append(os.environ.get("MLFLOW_TRACKING_URI"))
        assert out.is_dir()
        return SimpleNamespace(folder=out / "run")

    def accept(baseline, **options):
        asked.update(options, baseline=Path(baseline))
        return 0

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example.org")
    monkeypatch.setattr(script.bench, "run", run)
    monkeypatch.setattr("bench.gate.command.accept", accept)
    monkeypatch.setattr(sys, "argv", ["gate.py", "--accept", "--reason", "one layer more"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 0 and tracked == [None]
    assert asked["baseline"] == BASELINES / "gate.json" and asked["reason"] == "one layer more"
    assert asked["models"] == tuple(json.loads(asked["baseline"].read_text())["counts"])
    assert Path(asked["current"]).name == "run" and not Path(asked["current"]).exists()


def test_a_refused_baseline_is_told_how_to_accept_a_new_one(script, monkeypatch, capsys):
    def refuse():
        raise SystemExit(2)

    monkeypatch.setattr(script.bench, "run", lambda **options: SimpleNamespace(folder=options["out"] / "run"))
    monkeypatch.setattr(script.cli, "main", refuse)
    monkeypatch.setattr(sys, "argv", ["gate.py"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 2
    assert "python baselines/gate.py --accept --reason" in capsys.readouterr().err
