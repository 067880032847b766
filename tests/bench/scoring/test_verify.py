"""``bench verify``: nothing, a cell, a score, a Record changed."""

import json
import shutil

import h5py
import pytest

from bench import api
from bench.errors import RequestError
from bench.progress import Progress
from bench.results.run_folder import RunFolder
from bench.scoring.verify import verify
from tests.bench.scoring.test_donors import cells

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a run with scores of both experiments."""
    folder = tmp_path_factory.mktemp("verify")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        run = api.run(
            ["nb_copula"],
            cells(),
            quiet=True,
            profile="smoke",
            metrics=("mmd", "library_size_error", "augmentation_f1"),
            out=folder / "runs",
        )
    return run.folder


@pytest.fixture
def run(whole, tmp_path):
    return RunFolder.open(shutil.copytree(whole, tmp_path / "run"))


def found_in(run):
    from bench.console import plain_console

    return verify(run, progress=Progress(plain_console(quiet=True)))


def changed(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_run_that_nobody_touched_is_as_it_was(run):
    before = {file: file.read_bytes() for file in run.path.rglob("*.json")}
    found = found_in(run)
    assert (found.differs, found.unverified) == ([], [])
    # mmd and library sizes of nb_copula and the controls, F1 of nb_copula, and five augmenters.
    assert found.n_scores == len(list(run.path.glob("jobs/*/scores/*.json"))) + 5
    assert {file: file.read_bytes() for file in run.path.rglob("*.json")} == before
    assert found.tolerance == 1e-9


def test_whatever_was_changed_is_named(run):
    """One of each kind in one run: what is computed again takes a while."""
    jobs = sorted({file.parent.parent for file in run.path.glob("jobs/*/scores/*-mmd.json")})
    value, interval, _ = (next((job / "scores").glob("*-mmd.json")) for job in jobs)
    invented, stale, _ = (next((job / "scores").glob("*-library_size_error.json")) for job in jobs)
    gone = next((jobs[2] / "scores").glob("*-mmd.json"))
    changed(value, lambda score: score["values"].update(mmd=score["values"]["mmd"] * (1 + 1e-6)))
    changed(interval, lambda score: score.update(interval=[0.0, 1.0]))
    changed(invented, lambda score: score.update(error="too few cells", values={}))
    changed(stale, lambda score: score.update(key="0" * 16))
    changed(gone, lambda score: score.update(metric="of_another_package"))
    record = jobs[0] / "record.json"
    changed(record, lambda stored: stored.update(wall_seconds=1.0))
    (augmenters,) = run.baselines.glob("*.json")
    changed(augmenters, lambda stored: stored["scores"][0]["values"].update(augmentation_f1=0.999))
    drawn = jobs[2] / "cells-0.h5ad"
    with h5py.File(drawn, "r+") as stored:
        stored["X/data"][0] += 1
    found = found_in(run)
    assert f"{record}: changed since it was written" in found.differs
    assert f"{drawn}: its checksum is not that of the cells as they were drawn" in found.differs
    assert any(
        line.startswith(f"{invented}: stored: too few cells; computed again: ") for line in found.differs
    )
    assert f"{augmenters}: augmentation_f1 of none is stored as 0.999" in found.differs
    assert any(line.startswith(f"{value}: mmd is stored as ") for line in found.differs)
    assert any(line.startswith(f"{interval}: its interval is stored as (0.0, 1.0)") for line in found.differs)
    assert f"{stale}: the code of library_size_error has changed since" in found.unverified
    assert any(line.startswith("of_another_package: unknown metric") for line in found.unverified)


def test_no_run_is_no_run(tmp_path):
    with pytest.raises(RequestError, match="is not a run folder"):
        RunFolder.open(tmp_path)
