"""What a newcomer types, through the command line, on the embedded data set."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import anndata
import numpy as np
import pytest

import bench
import bench.cli
from bench.results.run_folder import RunFolder
from tests.bench.work.test_executor import YEAR, limit_reached_by
from tests.datasets.dataset_files import make_cells, write_10x_v2, write_10x_v3, write_mtx_folder
from tests.places import THROWAWAY
from tests.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def environment(home):
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return kept | {"BENCH_CACHE": str(home / "cache"), "COLUMNS": "160"}


@pytest.fixture(scope="module")
def own_process(home, environment):
    """Run a command as a user does, in a process that imports everything anew; return what it printed."""

    def call(*arguments, code=0, **extra):
        command = [sys.executable, "-m", "bench", *map(str, arguments)]
        ended = subprocess.run(
            command, cwd=home, env=environment | extra, capture_output=True, text=True, check=False
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout

    return call


@pytest.fixture(scope="module")
def cli(home, environment):
    """Give a command to this process, which has imported everything; return what it printed, or its error."""

    def call(*arguments, code=0, **extra):
        output, errors = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, environment | extra, clear=True),
            mock.patch.object(sys, "argv", ["bench", *map(str, arguments)]),
            contextlib.chdir(home),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            bench.cli.main()
        assert ended.value.code == code, output.getvalue() + errors.getvalue()
        return errors.getvalue() if code == 2 else output.getvalue()

    return call


@pytest.fixture(scope="module")
def few_cells(home, prepared):
    """A file of so few cells that they get no maps, which take longer than everything else about them."""
    cells = anndata.AnnData(prepared.layers["counts"], obs=prepared.obs[["cell_type"]], var=prepared.var)
    cells.write_h5ad(home / "few.h5ad")
    return home / "few.h5ad"


@pytest.fixture(scope="module")
def store(home):
    """Where all but the first run are tracked: MLflow takes seconds to make a database."""
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}


@pytest.fixture(scope="module")
def smoke(home, own_process):
    """One smoke run of all three models, on too few cells a side for maps, and what it printed."""
    printed = own_process("run", "--profile", "smoke", "--cells", 45, "--out", home / "runs")
    (folder,) = [
        path for path in (home / "runs").iterdir() if path.is_dir() and (path / "plan.json").exists()
    ]
    return RunFolder.open(folder), printed


def test_every_job_ends_well_and_every_model_has_a_row(smoke):
    run, printed = smoke
    view = run.view()
    jobs = [(record.job.model, record.job.experiment.kind) for record in view.records]
    assert jobs == [
        ("activa", "main"),
        ("activa", "augmentation"),
        ("scgan", "main"),
        ("cscgan", "main"),
        ("cscgan", "augmentation"),
        ("real", "main"),
        ("shuffle", "main"),
    ]
    # A barely trained ACTIVA may never produce the rare type; nothing else may go wrong.
    for record in view.records:
        assert record.status == "ok" or "draws" in record.reason, record.reason
    for words in ("activa", "cscgan", "real", "2 epochs", "rf_auc", "mmd", "cd", str(run.path), "bench ui"):
        assert words in printed


def test_scores_are_where_they_should_be(smoke):
    run, _ = smoke
    view = run.view()
    table = bench.RunResult(run.path).table.set_index("model")
    assert table.loc["real", "rf_auc"] == pytest.approx(0.5, abs=0.15)
    assert table.loc["scgan", "rf_auc"] > 0.9
    assert table.loc["real", "mmd"] < table.loc["shuffle", "mmd"] < 2
    assert table.loc["real", "cd"] < table.loc["shuffle", "cd"]
    augmenters = {baseline.augmenter for baseline in view.baselines}
    assert augmenters == {"none", "class_weights", "duplication", "smote", "poisson_jitter"}
    assert all(0 <= baseline.values["augmentation_f1"] <= 1 for baseline in view.baselines)


def test_mlflow_holds_the_same_numbers(smoke):
    from mlflow import MlflowClient

    run, _ = smoke
    client = MlflowClient(f"sqlite:///{run.path.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("pbmc68k_reduced")
    runs = client.search_runs([experiment.experiment_id])
    parents = [entry for entry in runs if "mlflow.parentRunId" not in entry.data.tags]
    children = [entry for entry in runs if "bench.job_key" in entry.data.tags]
    assert (len(parents), len(children)) == (1, 7)
    table = bench.RunResult(run.path).table.set_index("model")
    real = next(entry for entry in children if entry.data.tags["role"] == "ceiling")
    for name in ("rf_auc", "mmd", "cd"):
        assert real.data.metrics[f"headline/{name}"] == pytest.approx(table.loc["real", name])
    (mean,) = [entry for entry in runs if entry.data.tags.get("bench.summary_of") == "real"]
    assert mean.data.metrics["headline/mmd"] == pytest.approx(table.loc["real", "mmd"])
    assert real.inputs.dataset_inputs[0].dataset.name == "pbmc68k_reduced"
    assert "record.json" in [artifact.path for artifact in client.list_artifacts(real.info.run_id)]


def test_resuming_a_finished_run_repeats_nothing(smoke, cli):
    run, _ = smoke
    before = {record.key: record.finished for record in run.view().records if record.status == "ok"}
    cli("run", "--resume", run.path)
    after = {record.key: record.finished for record in run.view().records if record.status == "ok"}
    assert after == before


def test_scoring_again_needs_no_model(smoke, cli):
    run, _ = smoke
    before = bench.RunResult(run.path).table.set_index("model")["cd"]
    files = sorted(run.path.glob("jobs/*/scores/*-cd.json"))
    stored = [file.stat().st_mtime_ns for file in files]
    printed = cli("score", run.path, "--metrics", "cd")
    assert "activa" in printed
    assert all(file.stat().st_mtime_ns > moment for file, moment in zip(files, stored, strict=True))
    after = bench.RunResult(run.path).table.set_index("model")["cd"]
    assert after.to_dict() == pytest.approx(before.to_dict())
    assert "rf_auc" in cli("report", run.path)


def test_sampling_from_a_stored_model(smoke, cli, home):
    run, _ = smoke
    out = home / "cells.h5ad"
    kind = "CD14+ Monocyte"
    cli("sample", run.path, "--model", "cscgan", "--cells", "3000", "--cell-type", kind, "--out", out)
    cells = anndata.read_h5ad(out)
    train = anndata.read_h5ad(run.dataset, backed="r")
    assert cells.n_obs == 3000
    assert set(cells.obs["cell_type"]) == {kind}
    assert list(cells.var_names) == list(train.var_names)
    np.testing.assert_allclose(np.asarray(cells.X.sum(axis=1)).ravel(), 20_000, rtol=1e-3)
    first = out.read_bytes()
    cli("sample", run.path, "--model", "cscgan", "--cells", "3000", "--cell-type", kind, "--out", out)
    assert out.read_bytes() == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "scvi"], "this run holds"),
        (["--model", "scgan", "--cell-type", "CD14+ Monocyte"], "scgan"),
        (["--model", "cscgan", "--cell-type", "Neuron"], "Neuron"),
    ],
)
def test_sampling_what_cannot_be_had(smoke, home, cli, options, message):
    run, _ = smoke
    error = cli("sample", run.path, *options, "--out", home / "none.h5ad", code=2)
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (home / "none.h5ad").exists()


def test_cells_made_elsewhere(smoke, cli, home):
    run, _ = smoke
    adata = anndata.read_h5ad(run.dataset)
    counts = anndata.AnnData(adata.layers["counts"], obs=adata.obs[["cell_type"]], var=adata.var[[]])
    for part in ("train", "test"):
        counts[(adata.obs["split"] == part).to_numpy()].copy().write_h5ad(home / f"{part}.h5ad")
    files = ["--real", home / "test.h5ad", "--train", home / "train.h5ad", "--synthetic", home / "train.h5ad"]
    assert "cd" in cli("score", *files, "--metrics", "cd,mmd")


def test_a_killed_worker_has_its_row_and_the_others_finish(own_process, home, few_cells, store):
    out = home / "killed"
    options = ["--dataset", few_cells, "--models", f"{THROWAWAY}:Dies,{THROWAWAY}:Mean", "--metrics", "cd"]
    printed = own_process("run", "--profile", "smoke", *options, "--out", out, code=1, **store)
    assert "killed" in printed
    (table,) = out.glob("*/table.csv")
    status = {row.split(",")[0] for row in table.read_text().splitlines() if "killed" in row}
    assert status == {"dies"}
    run = RunFolder.open(table.parent)
    statuses = {record.job.model: record.status for record in run.view().records}
    assert statuses == {"dies": "killed", "mean": "ok", "real": "ok", "shuffle": "ok"}


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(cli, home, environment, few_cells, store):
    out = home / "interrupted"
    options = ["--profile", "smoke", "--models", f"{THROWAWAY}:Mean,{THROWAWAY}:Hangs", "--metrics", "cd"]
    command = [sys.executable, "-m", "bench", "run", "--dataset", few_cells, *options, "--out", out]
    process = subprocess.Popen(command, cwd=home, env=environment | store, stdout=subprocess.PIPE, text=True)

    def hangs():
        assert process.poll() is None
        return any('"hangs"' in path.read_text() for path in out.glob("*/jobs/*/job.json"))

    wait_until(hangs)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=LIMIT_SECONDS)[0]
    assert process.returncode == 130
    assert "bench run --resume" in printed
    (plan,) = out.glob("*/plan.json")
    run = RunFolder.open(plan.parent)
    statuses = [(record.job.model, record.status) for record in run.view().records]
    assert statuses == [
        ("mean", "ok"),
        ("hangs", "not run"),
        ("real", "not run"),
        ("shuffle", "not run"),
    ]
    assert "not run" in cli("report", run.path, code=1)
    finished = {record.key: record.finished for record in run.view().records if record.finished}
    # The hanging model gets a limit, as its user would now give it.
    request = json.loads(run.request.read_text())
    request["spec"]["timeout"] = YEAR / 2
    run.request.write_text(json.dumps(request))
    with limit_reached_by(run, "hangs"):
        cli("run", "--resume", run.path, code=1, **store)
    records = run.view().records
    statuses = {record.job.model: record.status for record in records}
    assert statuses == {"mean": "ok", "hangs": "timeout", "real": "ok", "shuffle": "ok"}
    assert {r.key: r.finished for r in records if r.key in finished} == finished


def test_dry_run_shows_the_jobs_and_writes_nothing(cli, home, smoke):
    printed = cli("run", "--dry-run", "--out", home / "runs", "--profile", "smoke", "--models", "scgan")
    assert "scgan · seed 0" in printed
    assert "GiB" in printed
    assert len(list((home / "runs").glob("*/plan.json"))) == 1


def test_from_python(home, few_cells, store, monkeypatch):
    monkeypatch.chdir(home)
    for name, value in (store | {"BENCH_CACHE": str(home / "cache")}).items():
        monkeypatch.setenv(name, value)
    result = bench.run(
        models=[f"{THROWAWAY}:Mean"],
        dataset=anndata.read_h5ad(few_cells),
        profile="smoke",
        metrics=("cd",),
        quiet=True,
        out=home / "api",
    )
    table = result.table.set_index("model")
    assert list(table.index) == ["mean", "real", "shuffle"]
    assert (table["status"] == "ok").all()
    assert table.loc["real", "cd"] < table.loc["mean", "cd"]


def test_brain_small_offline_and_handed_over(home, store, cli):
    # A proxy that nobody serves stands for a machine without a network.
    offline = store | {"BENCH_CACHE": str(home / "other"), "https_proxy": "http://127.0.0.1:9"}
    options = ["run", "--models", f"{THROWAWAY}:Mean", "--profile", "smoke", "--metrics", "cd"]
    error = cli(*options, "--dataset", "brain_small", code=2, **offline)
    assert len(error.strip().splitlines()) == 1
    for words in ("1M_neurons_neuron20k.h5", str(home / "other"), "bench data add brain_small FILE"):
        assert words in error
    file = write_10x_v2(home / "1M_neurons_neuron20k.h5", make_cells(n_cells=240))
    cli("data", "add", "brain_small", file, **offline)
    printed = cli(*options, "--dataset", "brain_small", "--out", home / "brain", **offline)
    assert "brain_small" in printed
    # The shape is not the published one, and the table says so.
    assert "17970" in printed.replace(" ", "").replace(",", "")


@pytest.mark.parametrize("source", ["h5ad", "10x .h5", "mtx folder", "synthetic"])
def test_other_sources_of_cells(source, cli, home):
    cells = make_cells(n_cells=150)
    if source == "h5ad":
        dataset = home / "own.h5ad"
        cells.write_h5ad(dataset)
    elif source == "10x .h5":
        dataset = write_10x_v3(home / "own.h5", cells)
    elif source == "mtx folder":
        dataset = write_mtx_folder(home / "own mtx", cells, compressed=True)
    else:
        dataset = "synthetic:200x80x3"
    printed = cli("run", "--dry-run", "--dataset", dataset, "--models", f"{THROWAWAY}:Mean")
    assert "mean · seed 0" in printed


def test_a_third_party_package_is_listed_and_runs(tmp_path, own_process, home, few_cells, store):
    package = Path(__file__).parent / "plugin"
    source = tmp_path / "source"
    subprocess.run(["cp", "-r", str(package), str(source)], check=True)
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(target), str(source)], check=True, capture_output=True)
    found = store | {"PYTHONPATH": str(target)}
    assert "tiny" in own_process("list", "models", **found)
    options = ["--dataset", few_cells, "--profile", "smoke", "--metrics", "cd", "--out", home / "plugin"]
    own_process("run", "--models", "tiny", *options, **found)
    (plan,) = (home / "plugin").glob("*/plan.json")
    assert [job["model"] for job in json.loads(plan.read_text())] == ["tiny", "real", "shuffle"]
    assert {record.status for record in RunFolder.open(plan.parent).view().records} == {"ok"}


def test_a_file_as_people_bring_it_is_prepared_trained_on_sampled_and_scored(home, store, cli):
    """Counts in .raw, antibodies, gaps among labels, names that come twice, rare genes, its own split."""
    cells = make_cells(n_cells=240)
    rng = np.random.default_rng(0)
    antibodies = rng.poisson(300, (240, 4))
    rare = np.zeros((240, 2))
    rare[:2] = 1
    counts = np.hstack([cells.X.toarray(), antibodies, rare]).astype(np.float32)
    adata = anndata.AnnData(counts, obs=cells.obs[["cell_type"]].astype(object))
    adata.obs.iloc[::16, 0] = "NA"
    adata.obs["part"] = np.where(np.arange(240) % 4 == 1, "test", "train")
    adata.var_names = [f"ENSG{number:011d}" for number in range(66)]
    adata.var["feature_name"] = ["twin", "twin", *(f"S{number}" for number in range(64))]
    adata.var["feature_type"] = ["Gene Expression"] * 60 + ["Antibody Capture"] * 4 + ["Gene Expression"] * 2
    adata.raw = adata.copy()
    adata.X = np.log1p(adata.X)
    file = home / "theirs.h5ad"
    adata.write_h5ad(file)
    reading = ["--layer", "raw", "--gene-names", "feature_name", "--split-from", "part", "--drop-unlabelled"]
    told = (
        "4 of 66 features are no genes (Antibody Capture) and are left out",
        "1 duplicate gene names made unique (the first is twin)",
        "15 of 240 cells have no label in obs['cell_type'] and are left out",
    )
    dropped = "2 of 62 genes dropped: seen in fewer than 3 cells"
    options = ["--profile", "smoke", "--models", f"{THROWAWAY}:Mean", "--metrics", "cd"]
    options += ["--out", home / "theirs"]
    for printed in (
        cli("data", "info", file, *reading),
        cli("run", "--dataset", file, *reading, *options, "--dry-run"),
        cli("run", "--dataset", file, *reading, *options, **store),
    ):
        words = " ".join(printed.replace("│", " ").split())
        for note in (*told, dropped, "the split is that of obs['part']: 165 train, 0 valid, 60 test"):
            assert note in words
    (plan,) = (home / "theirs").glob("*/plan.json")
    assert list(anndata.read_h5ad(RunFolder.open(plan.parent).dataset).var_names[:2]) == ["twin", "twin-1"]
    cli("sample", plan.parent, "--model", "mean", "--cells", 60, "--out", home / "drawn.h5ad", **store)
    files = ["--real", file, "--train", file, "--synthetic", home / "drawn.h5ad"]
    printed = cli("score", *files, *reading, "--metrics", "zero_fraction_error", **store)
    words = " ".join(printed.split())
    for note in (*told, "2 genes seen in fewer than 3 training cells are not in drawn.h5ad"):
        assert note in words
    assert "zero_fraction_error" in words
