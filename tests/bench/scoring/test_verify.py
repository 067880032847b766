"""``bench verify``: nothing, a cell, a score, a Record changed."""

import json
import shutil

import h5py
import pytest

from bench import api
from bench.errors import RequestError
from bench.progress import Progress
from bench.results.files import write_json
from bench.results.run_folder import RunFolder
from bench.scoring import verify as verifying
from bench.scoring.verify import verify
from tests.bench.scoring.test_donors import cells, without_figures_and_tracking

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a run with scores of both experiments."""
    folder = tmp_path_factory.mktemp("verify")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        without_figures_and_tracking(patch)
        run = api.run(
            ["nb_copula"],
            cells(),
            quiet=True,
            profile="smoke",
            metrics=("mmd", "library_size_error", "augmentation_f1"),
            protocol=("strict", "activa2022"),
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
    assert any(
        line.startswith(f"{augmenters}: none.values.augmentation_f1 is stored as 0.999")
        for line in found.differs
    )
    assert any(line.startswith(f"{value}: values.mmd is stored as ") for line in found.differs)
    assert any(line.startswith(f"{interval}: interval[0] is stored as 0.0,") for line in found.differs)
    assert f"{stale}: the code of library_size_error has changed since" in found.unverified
    assert any(line.startswith("of_another_package: unknown metric") for line in found.unverified)


@pytest.fixture
def as_stored(monkeypatch, whole):
    """Have what is computed again be what the run had: quick, for changes that no score tells."""

    def copy(again, metrics, protocols, *, progress, maps):
        assert metrics
        for source in [*whole.glob("jobs/*/scores/*.json"), *whole.glob("augmentation_baselines/*.json")]:
            target = again.path / source.relative_to(whole)
            # A Job of a changed plan has no cells that could be scored.
            if "jobs" not in target.parts or target.parents[1].exists():
                target.parent.mkdir(exist_ok=True)
                shutil.copy(source, target)
        return True

    monkeypatch.setattr(verifying, "run_scoring", copy)


def a_score(run):
    return next(run.path.glob("jobs/*/scores/*-mmd.json"))


def a_record(run):
    return a_score(run).parents[1] / "record.json"


def without_digest(file, **changes):
    changed(file, lambda content: (content.pop("digest"), content.update(changes)))


CHANGES = {
    "a score taken away": (a_score, lambda run: a_score(run).unlink()),
    "all scores of a metric taken away": (
        a_score,
        lambda run: [file.unlink() for file in run.path.glob("jobs/*/scores/*-mmd.json")],
    ),
    "all scores under a protocol taken away": (
        lambda run: next(run.path.glob("jobs/*/scores/*-activa2022-mmd.json")),
        lambda run: [file.unlink() for file in run.path.glob("jobs/*/scores/*-activa2022-*.json")],
    ),
    "a Job taken away": (a_record, lambda run: shutil.rmtree(a_record(run).parent)),
    "a Record taken away": (a_record, lambda run: a_record(run).unlink()),
    "a Record of another Job": (
        a_record,
        lambda run: changed(a_record(run), lambda c: c.update(key="0" * 16)),
    ),
    "details": (a_score, lambda run: without_digest(a_score(run), details={"forged": 1})),
    "cells a side": (a_score, lambda run: without_digest(a_score(run), n_cells=9)),
    "seconds": (a_score, lambda run: changed(a_score(run), lambda score: score.update(seconds=0.0))),
    "request": (
        lambda run: run.request,
        lambda run: changed(run.request, lambda c: c.update(git_commit="f")),
    ),
    "augmenters taken away": (
        lambda run: next(run.path.glob("augmentation_baselines/*")),
        lambda run: next(run.path.glob("augmentation_baselines/*")).unlink(),
    ),
    "plan": (
        lambda run: a_record(run).parent,
        lambda run: write_json(
            run.plan,
            [job.model_dump(mode="json") for job in run.jobs() if job.key != a_record(run).parent.name],
        ),
    ),
    "data set taken away": (lambda run: run.dataset, lambda run: run.dataset.unlink()),
}


@pytest.mark.usefixtures("as_stored")
@pytest.mark.parametrize("what", CHANGES)
def test_no_change_passes_in_silence(run, what):
    assert (found_in(run).differs, found_in(run).unverified) == ([], [])
    name, change = CHANGES[what]
    file = name(run)
    change(run)
    assert any(line.startswith(f"{file}: ") for line in found_in(run).differs)


@pytest.mark.usefixtures("as_stored")
@pytest.mark.parametrize("file", ["request.json", "record.json"])
def test_what_has_no_digest_is_not_verified(run, file):
    path = run.request if file == "request.json" else a_record(run)
    without_digest(path)
    found = found_in(run)
    assert found.differs == []
    assert [line.partition(": ")[0] for line in found.unverified] == [str(path)]


@pytest.mark.usefixtures("as_stored")
def test_other_libraries_have_the_wider_tolerance(run):
    def older(request):
        request["versions"]["numpy"] = "1.0"

    changed(run.request, older)
    assert found_in(run).tolerance == verifying.OTHER_MACHINE


def test_scores_of_counts_stand_for_the_observed_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    found = api.run(
        ["nb_copula"],
        cells(),
        quiet=True,
        profile="smoke",
        protocol=("strict+observed",),
        metrics=("library_size_error",),
        out=tmp_path / "runs",
    )
    run = RunFolder.open(found.folder)
    found = found_in(run)
    assert (found.differs, found.unverified) == ([], [])
    assert found.n_scores == len(list(run.path.glob("jobs/*/scores/*.json"))) > 0


@pytest.mark.parametrize(
    ("stored", "computed", "words"),
    [
        ({"a": 1.0}, {"a": 1.0 + 1e-10}, ""),
        ({"a": 1e6}, {"a": 1e6 + 1e-4}, ""),
        ({"a": 1.0}, {"a": 1.0 + 1e-8}, "a is stored as 1.0,"),
        ({"a": float("nan")}, {"a": float("nan")}, ""),
        ({"a": float("nan")}, {"a": 1.0}, "a is stored as nan,"),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 3.0]}, "a[1] is stored as 2.0,"),
        ({"a": [1.0]}, {"a": [1.0, 3.0]}, "a is stored as [1.0],"),
        ({}, {"a": 0.0}, "a is stored as None,"),
    ],
)
def test_where_two_scores_differ_first(stored, computed, words):
    said = verifying._first_unlike(stored, computed, 1e-9)
    assert said.startswith(words)
    assert bool(said) == bool(words)


def test_no_run_is_no_run(tmp_path):
    with pytest.raises(RequestError, match="is not a run folder"):
        RunFolder.open(tmp_path)
