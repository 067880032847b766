"""Workers that behave, fail, hang and die; each becomes a Record and none stops the others."""

import time
from contextlib import contextmanager
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench.errors import RequestError
from bench.progress import Progress
from bench.request.choices import choose_models
from bench.request.plan import DatasetFacts, make_plan
from bench.request.registry import resolve_model
from bench.request.spec import RunSpec
from bench.results.run_folder import RunFolder
from bench.results.took import phase_seconds
from bench.work import processes
from bench.work.executor import run_jobs
from tests.places import THROWAWAY

pytestmark = pytest.mark.slow

FILE = THROWAWAY
YEAR = 365 * 86_400.0

CONTEXT = {"train_shape": [200, 50], "n_test": 30, "hardware": {"fingerprint": "here"}}


def make_run(folder, prepared, classes, *, with_augmentation=False, **request):
    """Plan a run of throw-away generators, without controls."""
    spec = RunSpec.checked(
        models=tuple(f"{FILE}:{name}" for name in classes), profile="smoke", out=folder, **request
    )
    train = prepared.obs["split"] == "train"
    facts = DatasetFacts(
        name="tiny",
        key="key",
        train_types=prepared.obs.loc[train, "cell_type"].astype(str),
        n_genes=prepared.n_vars,
        n_test=int((~train).sum()),
        n_pool=int(prepared.obs["control_pool"].sum()),
        augmentation_type="alpha",
    )
    choices = [resolve_model(model) for model in spec.models]
    jobs = make_plan(spec, facts, choices, device="cpu", with_augmentation=with_augmentation, settled={})
    run = RunFolder.create(folder, "tiny")
    prepared.write_h5ad(run.dataset)
    run.write_request(spec, jobs, metrics=[], protocols=["strict"], **CONTEXT)
    return run, spec


def carry_out(run, spec):
    with limit_reached_by(run, "hangs"):
        run_jobs(run, run.jobs(), timeout=spec.timeout, progress=Progress(Console(quiet=True)))
    return {job.model: run.job_folder(job).read_record() for job in run.jobs()}


@contextmanager
def limit_reached_by(run, model):
    """Make the clock that limits a Job leap a year as soon as `model` trains; others take what they take."""
    files = [run.job_folder(job).progress for job in run.jobs() if job.model == model]

    def monotonic():
        trains = any(file.exists() and '"fit"' in file.read_text() for file in files)
        return time.monotonic() + YEAR * trains

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "time", SimpleNamespace(monotonic=monotonic))
        yield


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, prepared):
    classes = ["Raises", "Diverges", "RunsOutOfMemory", "Dies", "Hangs", "Declines", "Mean"]
    classes += ["GivesNaN", "ChangesItsTrainingCells", "CannotBeLoaded", "LoadsNothing"]
    classes += ["TurnsGenesAround"]
    folder = tmp_path_factory.mktemp("runs")
    run, spec = make_run(folder, prepared, classes, timeout=YEAR / 2, sample_seeds=(0, 5))
    return run, carry_out(run, spec)


@pytest.mark.parametrize(
    ("model", "status", "reason", "phase"),
    [
        ("raises", "failed", "KeyError: 'a gene is missing'", "fit/second"),
        ("diverges", "diverged", "the loss became NaN at step 7", "fit"),
        ("runs_out_of_memory", "out_of_memory", "Unable to allocate", "fit"),
        ("dies", "killed", "SIGKILL", "fit/dangerous"),
        ("hangs", "timeout", "wall-clock limit", "fit"),
        ("declines", "skipped", "needs spliced counts", None),
        ("mean", "ok", "", None),
        ("gives_nan", "failed", "BrokenContract: 30 of 30 cells hold NaN or infinite values", "check"),
        ("changes_its_training_cells", "failed", "fit changed the training cells: X.data", "check"),
        ("cannot_be_loaded", "failed", "FileNotFoundError", "reload"),
        (
            "loads_nothing",
            "failed",
            "BrokenContract: load returned NoneType instead of LoadsNothing",
            "reload",
        ),
        ("turns_genes_around", "ok", "", None),
    ],
)
def test_every_ending_becomes_a_record(outcomes, model, status, reason, phase):
    record = outcomes[1][model]
    assert record.status == status
    assert reason in record.reason
    assert record.failed_phase == phase
    assert "\n" not in record.reason


def test_plain_arrays_and_stored_zeros_are_counted_as_the_values_that_they_hold(tmp_path, prepared):
    run, spec = make_run(tmp_path, prepared, ["Mean", "PlainArray", "StoresZeros"])
    records = carry_out(run, spec)
    assert {record.status for record in records.values()} == {"ok"}
    density = {name: record.timing.density for name, record in records.items()}
    assert density["plain_array"] == density["mean"] > 0
    assert density["stores_zeros"] == 0
    assert records["stores_zeros"].samples["0"].density == 0


def test_what_a_good_job_measured(outcomes):
    run, records = outcomes
    record = records["mean"]
    assert record.steps == {"looping": 3}
    assert record.training.steps == 3
    assert record.training.seconds >= record.phases["fit/looping"]
    assert record.timing.n_cells == 2000
    assert len(record.timing.seconds) == 1
    assert record.memory.peak_rss_bytes > 20_000_000
    assert set(record.samples) == {"0", "5"}
    job = next(job for job in run.jobs() if job.model == "mean")
    first, second = (anndata.read_h5ad(run.job_folder(job).cells(seed)) for seed in (0, 5))
    assert first.shape == (30, 60)
    assert not np.array_equal(first.X.toarray(), second.X.toarray())
    curve = run.job_folder(job).curves.read_text().splitlines()
    assert len(curve) == 3
    assert '"loss": 0.5' in curve[1]


def test_genes_in_another_order_are_put_right_and_noted(outcomes):
    run, records = outcomes
    assert any("genes came in another order" in warning for warning in records["turns_genes_around"].warnings)
    mine, turned = (
        anndata.read_h5ad(run.job_folder(job).cells(0))
        for job in run.jobs()
        if job.model in ("mean", "turns_genes_around")
    )
    assert mine.var_names.tolist() == turned.var_names.tolist()
    assert (mine.X != turned.X).nnz == 0


def test_seconds_of_all_jobs_add_up(outcomes):
    run, records = outcomes
    seconds = phase_seconds(run)
    good = [record for record in records.values() if record.wall_seconds]
    assert good
    for phase in ("load", "fit"):
        total = sum(record.phases.get(phase, 0.0) for record in records.values())
        assert seconds[phase] == pytest.approx(total)
    assert seconds["start"] > 0


def test_resuming_repeats_only_what_did_not_end_well(outcomes):
    run, before = outcomes
    after = carry_out(run, run.read_spec())
    for model in ("mean", "declines"):
        assert after[model].finished == before[model].finished
    assert after["raises"].started >= before["raises"].finished
    assert after["hangs"].status == "timeout"
    assert after["hangs"].seconds_to_failure != before["hangs"].seconds_to_failure


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path, prepared, monkeypatch):
    monkeypatch.setenv("BENCH_CHECKPOINT_SECONDS", "0")
    run, spec = make_run(tmp_path, prepared, ["DiesOnce"], budget={"*": "6steps"})
    assert carry_out(run, spec)["dies_once"].status == "killed"
    record = carry_out(run, spec)["dies_once"]
    assert record.status == "ok"
    # Three steps before the kill, three after: together the whole budget, and the time of both.
    assert record.steps == {"looping": 6}
    assert record.phases["fit/looping"] >= 6 * 0.05


def test_same_seed_same_cells(outcomes, tmp_path, prepared):
    again, spec = make_run(tmp_path, prepared, ["Mean"])
    carry_out(again, spec)
    cells = []
    for run in (outcomes[0], again):
        (job,) = (job for job in run.jobs() if job.model == "mean")
        cells.append(anndata.read_h5ad(run.job_folder(job).cells(0)).X.toarray())
    np.testing.assert_array_equal(*cells)


def test_choosing_the_same_name_twice_is_refused():
    from bench.errors import RequestError

    with pytest.raises(RequestError, match="two of them have the same name"):
        choose_models(
            RunSpec.checked(
                models=(f"{FILE}:Mean", f"{FILE.resolve().parent}/../generators/throwaway.py:Mean")
            )
        )


def test_the_training_cells_of_an_augmentation_job(prepared):
    from bench.request.plan import Experiment
    from bench.work.training import training_cells

    experiment = Experiment(kind="augmentation", cell_type="alpha", fraction=0.1, subsample_seed=0)
    whole = training_cells(Experiment(), prepared)
    reduced = training_cells(experiment, prepared)
    counts = pd.Series(reduced.obs["cell_type"].astype(str)).value_counts()
    assert counts.to_dict() == {"alpha": 4, "beta": 40, "gamma": 40}
    assert set(reduced.obs_names) <= set(whole.obs_names)


def test_gpus_that_are_not_here_are_asked_for_only_by_what_is_left(tmp_path, prepared, monkeypatch):
    def no_gpu(_asked):
        raise RequestError("no NVIDIA GPU is to be seen here")

    run, spec = make_run(tmp_path, prepared, ["Mean"])
    carry_out(run, spec)
    (job,) = run.jobs()
    monkeypatch.setattr("bench.request.sharing.gpus_named", no_gpu)
    monkeypatch.setattr(RunFolder, "read_spec", lambda _run: spec.model_copy(update={"gpus": "0,1"}))
    asked = {"timeout": None, "progress": Progress(Console(quiet=True)), "sharing": None}
    before = run.job_folder(job).record.read_bytes()
    run_jobs(run, [job], **asked)
    assert run.job_folder(job).record.read_bytes() == before
    run.job_folder(job).cells(0).unlink()
    with pytest.raises(RequestError, match="no NVIDIA GPU"):
        run_jobs(run, [job], **asked)
