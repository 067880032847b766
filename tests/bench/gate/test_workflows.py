"""The workflows name what is there."""

import configparser
import re

import pytest
import yaml

from tests.places import REPOSITORY

ROOT = REPOSITORY


@pytest.mark.parametrize(
    "file", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda file: file.stem
)
def test_workflows_parse_and_run_environments_that_tox_has(file):
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    # YAML 1.1 takes the key `on` for true.
    assert "pull_request" in workflow[True] and workflow["permissions"] == {"contents": "read"}
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    environments = []
    for job in workflow["jobs"].values():
        given = job.get("strategy", {}).get("matrix", {}).get("environment", [])
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            named = re.findall(r"tox run -e ([\w-]+)", step.get("run", ""))
            environments += given if "matrix.environment" in step.get("run", "") else named
    assert environments and all(f"testenv:{name}" in tox for name in environments)


def test_the_wall_clock_has_the_history_it_needs():
    gate = yaml.safe_load((ROOT / ".github" / "workflows" / "gate.yml").read_text(encoding="utf-8"))
    checkout, *steps = gate["jobs"]["gate"]["steps"]
    assert checkout["with"]["fetch-depth"] == 0
    assert any('--baseline "origin/$GITHUB_BASE_REF"' in step.get("run", "") for step in steps)


def test_ci_runs_the_commands_that_tox_has_in_one_environment():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    lent = re.findall(r"tox exec -e tests -- (.+)", script)
    assert lent == [
        tox[f"testenv:{name}"]["commands"].replace(" {posargs}", "")
        for name in ("types", "gate", "quickstart", "docs")
    ]
    assert re.findall(r"tox run -e ([\w-]+)", script) == ["lint", "tests", "tests"]
    # What mypy looks at is what it sees in its own environment.
    assert tox["testenv:tests"]["extras"] == tox["testenv:types"]["extras"]
