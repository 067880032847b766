"""Scores come from stored cells alone, each under a key of its own; one that fails costs only itself."""

import importlib.util
import inspect
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pytest
from rich.console import Console

from bench.commands.score import show_costs
from bench.errors import RequestError
from bench.progress import Progress
from bench.request.registry import resolve_metric
from bench.request.spec import Reading
from bench.results.files import write_json
from bench.scoring import tasks as scoring
from bench.scoring.comparison import METRICS_SEED, Comparison
from bench.scoring.outside import score_outside_cells
from bench.scoring.processes import forget_scores, run_scoring
from bench.scoring.tasks import _hash_of, source_hash
from datasets.code import imported_with
from metrics.declaration import Metric, NotApplicable, Score
from metrics.protocols import protocol_named
from reports.view import Score as Stored
from tests.bench.work.test_executor import carry_out, make_run

pytestmark = pytest.mark.slow

OF_FIVE = Comparison(protocol_named("strict"), 5)


@pytest.fixture(scope="module", autouse=True)
def cache_of_its_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, prepared):
    run, spec = make_run(tmp_path_factory.mktemp("runs"), prepared, ["Mean"])
    carry_out(run, spec)
    return run


def metric(name, compute):
    return Metric(
        name=name,
        description="",
        compute=compute,
        better="lower",
        ideal=0.0,
        bounds=(0.0, 1.0),
        reference="",
        cost="",
    )


def missing(run, *names, protocols=("strict",)):
    return scoring.missing_scores(run, [resolve_metric(name) for name in names], protocols)


def test_scores_are_stored_once_and_kept(run):
    progress = Progress(Console(quiet=True))
    run_scoring(run, ["cd", "mmd"], ["strict"], progress=progress)
    (job,) = run.jobs()
    files = sorted(run.job_folder(job).scores.iterdir())
    assert [file.name for file in files] == ["0-strict-cd.json", "0-strict-mmd.json"]
    assert missing(run, "cd", "mmd") == []
    before = [file.stat().st_mtime_ns for file in files]
    run_scoring(run, ["cd", "mmd"], ["strict"], progress=progress)
    assert [file.stat().st_mtime_ns for file in files] == before
    forget_scores(run, ["mmd"], ["strict"])
    assert [task.metric.name for task in missing(run, "mmd")] == ["mmd"]
    run_scoring(run, ["mmd"], ["strict"], progress=progress)
    assert files[0].stat().st_mtime_ns == before[0]
    assert files[1].stat().st_mtime_ns > before[1]


def test_a_stored_score_is_the_metric_of_the_stored_cells(run, prepared):
    from metrics.evidence import RealEvidence, SampleEvidence

    (job,) = run.jobs()
    cells = anndata.read_h5ad(run.job_folder(job).cells(0))
    real = RealEvidence.from_adata(prepared, n_cells=30, seed=METRICS_SEED)
    expected = resolve_metric("mmd").compute(real, SampleEvidence(real, cells.X, space="counts"))
    stored = {score.metric: score for score in run.job_folder(job).read_scores()}["mmd"]
    assert stored.values == pytest.approx(expected.values)
    assert stored.n_cells == 30


def test_a_failing_metric_costs_only_itself():
    def broken(real, sample):
        raise ZeroDivisionError("no cells left")

    def inapplicable(real, sample):
        raise NotApplicable("needs two cell types")

    assert (
        scoring.score_of(metric("a", broken), OF_FIVE, lambda: broken(0, 0)).error
        == "ZeroDivisionError: no cells left"
    )
    assert (
        scoring.score_of(metric("b", inapplicable), OF_FIVE, lambda: inapplicable(0, 0)).error
        == "needs two cell types"
    )
    good = scoring.score_of(metric("c", None), OF_FIVE, lambda: Score({"c": 0.5}))
    assert (good.values, good.error, good.n_cells) == ({"c": 0.5}, None, 5)
    nameless = scoring.score_of(metric("d", None), OF_FIVE, lambda: Score({"d": float("nan")}))
    assert (nameless.values, nameless.failed) == ({}, True)
    assert nameless.error == "ArithmeticError: d came out as nan"


def test_what_metrics_share_is_charged_to_none_of_them(monkeypatch):
    from metrics import shared_cost

    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    class Evidence:
        @shared_cost.SharedProperty
        def cells(self):
            now[0] += 4
            return 1.0

        @shared_cost.SharedProperty
        def components(self):
            now[0] += 2
            return self.cells

        @shared_cost.SharedProperty
        def types(self):
            now[0] += 8
            raise NotApplicable("no types")

    evidence = Evidence()

    def compute(names):
        now[0] += 1
        return Score({"a": sum(getattr(evidence, name) for name in names)})

    def costs(*names):
        score = scoring.score_of(metric("a", None), OF_FIVE, lambda: compute(names))
        return score.seconds, score.shared_seconds

    assert costs("components", "cells") == (1, 6)
    assert costs("components", "cells") == (1, 0)
    assert costs("types") == (1, 8)


def test_costs_are_shown_with_the_evidence_apart(capsys):
    costs = [("rf_auc", 3.0, 5.0), ("mmd", 1.0, 0.0), ("mmd", None, None)]
    facts = {"protocol": "strict", "n_cells": 30, "values": {}}
    scores = [Stored(metric=name, seconds=own, shared_seconds=shared, **facts) for name, own, shared in costs]
    show_costs(Console(), scores)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cost:", "9.0", "s"] in lines
    assert lines[-4:-1] == [["evidence", "(shared)", "5.0"], ["rf_auc", "3.0"], ["mmd", "1.0"]]


def test_the_score_that_killed_the_scorer_is_marked(run):
    (job,) = run.jobs()
    scoring.failed_score(
        run,
        {"job": job.key, "sample_seed": 0, "metric": "rf_auc", "protocol": "strict"},
        "scoring ran out of memory",
    )
    stored = {score.metric: score for score in run.job_folder(job).read_scores()}["rf_auc"]
    assert stored.error == "scoring ran out of memory"
    # It counts as done, so that the next scorer goes on with the others.
    assert missing(run, "rf_auc") == []


def test_a_changed_metric_is_scored_again(run):
    (job,) = run.jobs()
    file = run.job_folder(job).score_file(0, "cd", "strict")
    stored = scoring.read_json(file)
    write_json(file, stored | {"key": "of an older version"})
    assert [task.metric.name for task in missing(run, "cd")] == ["cd"]
    write_json(file, stored)


@pytest.fixture
def files(tmp_path, prepared):
    counts = anndata.AnnData(
        prepared.layers["counts"].copy(), obs=prepared.obs[["cell_type"]], var=prepared.var
    )
    parts = {
        "real": counts[prepared.obs["split"] == "test"],
        "train": counts[prepared.obs["split"] == "train"],
    }
    rng = np.random.default_rng(0)
    order = rng.permutation(counts.n_vars)
    # The same genes in another order: they are matched by name.
    parts["synthetic"] = counts[rng.choice(counts.n_obs, 40, replace=False)][:, order]
    for name, cells in parts.items():
        cells.copy().write_h5ad(tmp_path / f"{name}.h5ad")
    return tmp_path


def outside(folder, *, label_key="cell_type", **options):
    given = {
        "space": "counts",
        "reading": Reading(label_key=label_key),
        "cells": None,
        "metrics": [resolve_metric("cd")],
    } | options
    return score_outside_cells(
        folder / "real.h5ad", folder / "train.h5ad", folder / "synthetic.h5ad", **given
    )


def test_cells_made_elsewhere_are_scored(files):
    (score,) = outside(files)
    assert score.error is None
    assert score.n_cells == 30
    assert 0 < score.values["cd"] < 15


def test_cells_made_elsewhere_are_scored_under_several_protocols(files):
    scores = outside(files, protocols=["activa2022", "groundgan2024", "strict+observed"], space="cp20k")
    assert [score.protocol for score in scores] == ["activa2022", "groundgan2024", "strict+observed"]
    assert len({score.values["cd"] for score in scores}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "log"}, "--space 'log': choose from counts, cp20k, log_cp20k"),
        ({"protocols": ["strict+observed"]}, "strict\\+observed: synthetic.h5ad holds counts; give strict"),
        ({"cells": 31}, "--cells 31: the smaller of real.h5ad and synthetic.h5ad has 30"),
    ],
)
def test_unfit_requests_for_outside_cells(files, options, message):
    with pytest.raises(RequestError, match=message):
        outside(files, **options)


def test_unfit_files_are_named(files):
    cells = anndata.read_h5ad(files / "synthetic.h5ad")
    cells[:, 3:].copy().write_h5ad(files / "synthetic.h5ad")
    with pytest.raises(RequestError, match=r"synthetic.h5ad' lacks 3 genes"):
        outside(files)
    (files / "synthetic.h5ad").write_text("not HDF5")
    with pytest.raises(RequestError, match=r"synthetic\.h5ad is none of the formats"):
        outside(files)
    (files / "synthetic.h5ad").unlink()
    with pytest.raises(RequestError, match=r"synthetic\.h5ad does not exist"):
        outside(files)


def test_logged_cells_are_not_taken_for_counts(files):
    cells = anndata.read_h5ad(files / "synthetic.h5ad")
    cells.X = cells.X.log1p()
    cells.write_h5ad(files / "synthetic.h5ad")
    with pytest.raises(
        RequestError, match=r"synthetic\.h5ad: X holds \d+ values that are not whole.*--space log_cp20k"
    ):
        outside(files)
    (score,) = outside(files, space="log_cp20k")
    assert score.error is None


def test_a_label_column_that_is_missing_is_named(files):
    with pytest.raises(
        RequestError,
        match=r"train\.h5ad: there is no column obs\['kind'\]: choose --label-key from: cell_type",
    ):
        outside(files, label_key="kind")


def test_real_cells_must_be_counts(files):
    cells = anndata.read_h5ad(files / "train.h5ad")
    cells.X = cells.X * 0.5
    cells.write_h5ad(files / "train.h5ad")
    with pytest.raises(RequestError, match=r"train\.h5ad: X holds \d+ values that are not whole"):
        outside(files)


@pytest.mark.parametrize(
    ("added", "differs"), [("# a remark", False), ("x = 2", True), ("from metrics import mixing", True)]
)
def test_a_score_is_stale_where_its_code_changed_and_not_where_a_remark_did(tmp_path, added, differs):
    file = tmp_path / "half.py"
    text = "from metrics.mmd import mmd\n\ndef compute(real, sample):\n    return mmd(real, sample) / 2\n"
    hashes = []
    for more in ("", added):
        file.write_text(f"{text}\n{more}\n")
        spec = importlib.util.spec_from_file_location("half", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        _hash_of.cache_clear()
        hashes.append(source_hash(SimpleNamespace(compute=module.compute)))
    assert (hashes[0] != hashes[1]) == differs


def test_scores_rest_on_their_own_metric_and_what_it_looks_at_alone():
    of_mmd, of_cd = (
        {
            file.name
            for file in imported_with(Path(inspect.getfile(inspect.unwrap(resolve_metric(name).compute))))
        }
        for name in ("mmd", "cd")
    )
    assert "evidence.py" in of_mmd & of_cd
    assert "correlation_discrepancy.py" in of_cd - of_mmd
