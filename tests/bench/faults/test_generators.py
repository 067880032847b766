"""Generators that break their contract, and workers that end in every other way, in real processes."""

import anndata
import numpy as np
import pytest

from bench.errors import RequestError
from bench.work import executor, processes
from tests.bench.work.test_executor import carry_out, make_run
from tests.conftest import make_prepared

pytestmark = pytest.mark.slow

BROKEN = {
    "OtherGenes": "BrokenContract: sample returned other genes than those of the training cells: 1 unknown",
    "FewerGenes": "0 unknown, 1 missing, such as 'gene0'",
    "GeneTwice": "0 unknown, 1 missing, such as 'gene0'",
    "TooFew": "BrokenContract: sample returned 29 cells, 30 were asked for",
    "TooMany": "BrokenContract: sample returned 31 cells, 30 were asked for",
    "GivesNothing": "BrokenContract: sample returned NoneType instead of AnnData",
    "Negative": "BrokenContract: 30 of 30 cells hold negative values",
    "Fractional": "BrokenContract: declared counts, but 30 of 30 cells hold values that are not whole",
    "Infinite": "cells hold NaN or infinite values",
    "NotLogged": "BrokenContract: declared log_cp20k, but values reach",
}
NOTED = {
    "OtherSums": "declared cp20k, but library sizes are not 20000",
    "UnknownTypes": "30 of 30 cells are of no type of the training cells",
}
CONVERTED = ("Dense", "Columns")


@pytest.fixture(scope="module")
def broken(tmp_path_factory, prepared):
    run, spec = make_run(tmp_path_factory.mktemp("runs"), prepared, ["Mean", *BROKEN, *NOTED, *CONVERTED])
    records = carry_out(run, spec)
    jobs = {job.reference.rpartition(":")[2]: job for job in run.jobs()}
    return run, {name: (records[job.model], run.job_folder(job)) for name, job in jobs.items()}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_contract_fails_by_name_and_stores_no_cells(broken, name):
    record, folder = broken[1][name]
    assert (record.status, record.failed_phase) == ("failed", "check")
    assert BROKEN[name] in record.reason
    assert "\n" not in record.reason
    assert record.samples == {}
    assert not list(folder.path.glob("cells-*"))


@pytest.mark.parametrize("name", NOTED)
def test_what_can_be_put_right_is_noted(broken, name):
    record, folder = broken[1][name]
    assert record.status == "ok"
    assert any(NOTED[name] in warning for warning in record.warnings)
    assert folder.cells(0).exists()


@pytest.mark.parametrize("name", CONVERTED)
def test_other_kinds_of_matrices_become_the_same_cells(broken, name):
    cells, expected = (anndata.read_h5ad(broken[1][kind][1].cells(0)) for kind in (name, "Mean"))
    assert (cells.X.format, cells.X.dtype) == ("csr", np.float32)
    assert (cells.X != expected.X).nnz == 0


def test_other_types_than_were_asked_for(tmp_path):
    cells = make_prepared(n_cells=450)
    run, spec = make_run(tmp_path, cells, ["OtherTypesThanAsked"], with_augmentation=True)
    carry_out(run, spec)
    records = {job.experiment.kind: run.job_folder(job).read_record() for job in run.jobs()}
    assert records["main"].status == "ok"
    reason = "BrokenContract: cells are not of the types asked for, in the order asked for"
    assert (records["augmentation"].status, records["augmentation"].reason) == ("failed", reason)


ENDINGS = {
    "Segfaults": ("killed", "ended by signal SIGSEGV; see jobs/"),
    "EndsItself": ("failed", "the worker exited with code 3; see jobs/"),
    "ExitsPolitely": ("failed", "SystemExit: 0"),
    "SaysManyLines": ("failed", "RuntimeError: the first line [/] $x$"),
    "CannotSay": ("failed", "the worker exited with code 1; see jobs/"),
    "LeavesAThread": ("ok", ""),
    "ClosesItsOutput": ("ok", ""),
    "GoesElsewhere": ("ok", ""),
    "DiesWhileSampling": ("killed", "ended by signal SIGKILL"),
    "DiesWhileSaving": ("killed", "ended by signal SIGKILL"),
    "RunsInCircles": ("failed", "RecursionError: maximum recursion depth exceeded"),
}


@pytest.fixture(scope="module")
def endings(tmp_path_factory, prepared):
    run, spec = make_run(tmp_path_factory.mktemp("runs"), prepared, [*ENDINGS, "Mean"])
    carry_out(run, spec)
    return {job.reference.rpartition(":")[2]: run.job_folder(job) for job in run.jobs()}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_ending_has_its_record_and_leaves_nothing_half_written(endings, name):
    folder, (status, reason) = endings[name], ENDINGS[name]
    record = folder.read_record()
    assert record.status == status
    assert record.reason.startswith(reason)
    assert "\n" not in record.reason
    assert not list(folder.path.glob(".*"))
    assert not folder.scratch.exists()
    if reason.endswith("see jobs/"):
        assert f"jobs/{folder.path.name}/log.txt" in record.reason
        assert folder.log.exists()


def test_what_a_job_keeps_for_a_while_lies_where_tmpdir_says_and_is_gone_with_it(
    tmp_path, prepared, monkeypatch
):
    """A fast disk of this machine, where the run's is slow; also where the process cannot tidy up."""
    there, kept = tmp_path / "there", []
    there.mkdir()
    monkeypatch.setenv("TMPDIR", str(there))

    def run_worker(arguments, *, environment, **options):
        (there / environment["TMPDIR"] / "train.h5ad").write_text("cells")
        kept.append(len(list(there.glob("*/train.h5ad"))))
        return processes.run_worker(arguments, environment=environment, **options)

    monkeypatch.setattr(executor, "run_worker", run_worker)
    run, spec = make_run(tmp_path / "runs", prepared, ["Segfaults"])
    records = carry_out(run, spec)
    assert {record.status for record in records.values()} >= {"killed"}
    assert kept and set(kept) == {1}
    assert list(there.iterdir()) == []


def test_what_cannot_be_moved_out_of_its_way_is_named(tmp_path, prepared, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run, spec = make_run(tmp_path / "runs", prepared, ["Mean"])
    for job in run.jobs():
        run.job_folder(job).scratch.symlink_to(tmp_path / "runs")
    with pytest.raises(RequestError, match=r"bench-\w+ is in the way .*: set TMPDIR to another folder"):
        carry_out(run, spec)
    assert run.path.is_dir()


def test_a_crash_leaves_a_stack(endings):
    assert "Fatal Python error: Segmentation fault" in endings["Segfaults"].log.read_text()
    assert "in fit" in endings["Segfaults"].log.read_text()


def test_a_model_that_died_while_it_was_saved_is_not_there(endings):
    assert not endings["DiesWhileSaving"].model.exists()
    assert endings["DiesWhileSampling"].model.is_dir()


def test_whoever_comes_last_ran_all_the_same(endings):
    assert endings["Mean"].read_record().status == "ok"
