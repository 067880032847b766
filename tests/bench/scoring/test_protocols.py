"""Which real cells stand against which synthetic ones under each protocol, and where the scores end up."""

from itertools import pairwise

import anndata
import numpy as np
import pytest
from rich.console import Console

from bench import flow
from bench.errors import RequestError
from bench.progress import Progress
from bench.request.choices import choose_metrics
from bench.request.plan import DatasetFacts, make_plan
from bench.request.registry import resolve_metric, resolve_model
from bench.request.spec import RunSpec
from bench.results.files import read_json, write_json
from bench.results.run_folder import RunFolder
from bench.scoring.comparison import METRICS_SEED, Comparison
from bench.scoring.processes import run_scoring
from bench.scoring.scorer import Scorer
from bench.scoring.tasks import failed_score, missing_scores, score_of, score_tasks
from bench.work.executor import run_jobs
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from tests.bench.work.test_executor import CONTEXT, FILE
from tests.reports.run_view import make_run_view

pytestmark = pytest.mark.slow

PROTOCOLS = ("strict", "groundgan2024", "strict+observed")
METRICS = ("cd", "sliced_wasserstein")


@pytest.fixture(scope="module")
def run(tmp_path_factory, prepared):
    """Two models, a ceiling and a null, scored under three protocols."""
    folder = tmp_path_factory.mktemp("runs")
    names = (f"{FILE}:Mean", f"{FILE}:Expression", "real", "null")
    spec = RunSpec.checked(models=names, profile="smoke", out=folder, protocol=PROTOCOLS, seeds=(0, 1))
    train = prepared.obs["split"] == "train"
    types = prepared.obs.loc[train, "cell_type"].astype(str)
    facts = DatasetFacts("tiny", "key", types, n_genes=40, n_test=30, n_pool=60, augmentation_type="alpha")
    choices = [resolve_model(name) for name in names]
    jobs = make_plan(spec, facts, choices, device="cpu", with_augmentation=False, settled={})
    run = RunFolder.create(folder, "tiny")
    prepared.write_h5ad(run.dataset)
    n_cells = jobs[0].n_cells
    protocols = flow.protocol_facts(spec, PROTOCOLS, n_cells, n_test=30)
    usual = make_run_view()["run"]
    context = CONTEXT | {name: usual[name] for name in ("dataset", "dataset_key", "hardware", "versions")}
    run.write_request(spec, jobs, metrics=[], n_cells=n_cells, **protocols, **context)
    progress = Progress(Console(quiet=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        run_jobs(run, run.jobs(), timeout=None, progress=progress)
        run_scoring(run, list(METRICS), list(PROTOCOLS), progress=progress)
        yield run


def job_of(run, model, seed=0):
    return next(job for job in run.jobs() if (job.model, job.seed) == (model, seed))


def comparison_of(run, model, protocol, seed=0):
    return Comparison.of_job(job_of(run, model, seed), 0, protocol, request=run.read_request())


def value_of(run, job, metric, protocol):
    (value,) = (
        score.values[metric]
        for score in run.view().scores[job.key]
        if (score.metric, score.protocol) == (metric, protocol)
    )
    return value


def test_every_score_has_a_file_and_a_key_of_its_own(run):
    names = {path.name for path in run.job_folder(job_of(run, "expression")).scores.iterdir()}
    assert names == {f"0-{protocol}-{metric}.json" for protocol in PROTOCOLS for metric in METRICS}
    metrics = [resolve_metric(name) for name in METRICS]
    assert missing_scores(run, metrics, PROTOCOLS) == []
    tasks = score_tasks(run, metrics, PROTOCOLS)
    assert len({task.key for task in tasks}) == len(tasks)


def test_a_generator_of_counts_is_scored_once_for_strict_and_observed(run):
    job = job_of(run, "mean")
    names = {path.name for path in run.job_folder(job).scores.iterdir()}
    assert names == {f"0-{protocol}-{metric}.json" for protocol in PROTOCOLS[:2] for metric in METRICS}
    assert value_of(run, job, "cd", "strict+observed") == value_of(run, job, "cd", "strict")
    # Seen as counts, expression comes out otherwise than as it is.
    expression = job_of(run, "expression")
    assert value_of(run, expression, "cd", "strict+observed") != value_of(run, expression, "cd", "strict")


def test_a_score_is_the_metric_of_the_protocols_evidence(run, prepared):
    job = job_of(run, "expression")
    cells = anndata.read_h5ad(run.job_folder(job).cells(0))
    for protocol in PROTOCOLS:
        n_cells = 15 if protocol == "groundgan2024" else 30
        real = RealEvidence.from_adata(prepared, n_cells=n_cells, seed=METRICS_SEED, protocol=protocol)
        labels = cells.obs["cell_type"].to_numpy(dtype=str)
        sample = SampleEvidence(real, cells.X, space="cp20k", cell_types=labels)
        expected = resolve_metric("sliced_wasserstein").compute(real, sample).headline
        assert value_of(run, job, "sliced_wasserstein", protocol) == pytest.approx(expected)


def test_the_null_is_one_half_of_the_pool_against_the_other(run, prepared):
    scorer, job = Scorer(run), job_of(run, "null")
    real, sample = scorer.evidence(job, 0, comparison_of(run, "null", "strict"))
    counts, half = prepared.layers["counts"].toarray(), prepared.obs["null_half"].to_numpy()
    rows = {row.tobytes(): index for index, row in enumerate(counts)}
    test = [rows[row.tobytes()] for row in real.test_counts.toarray()]
    synthetic = [rows[row.tobytes()] for row in sample.matrix.toarray()]
    assert (set(half[test]), set(half[synthetic])) == ({1}, {2})
    assert len(set(test)) == len(set(synthetic)) == real.n_cells == 30
    # The training side is everybody's.
    everybody = scorer.real(comparison_of(run, "mean", "strict"))
    np.testing.assert_array_equal(everybody.train_counts.toarray(), real.train_counts.toarray())


def test_the_ceiling_of_groundgan2024_is_one_half_of_the_test_cells_against_the_other(run, prepared):
    scorer = Scorer(run)
    counts, split = prepared.layers["counts"].toarray(), prepared.obs["split"].to_numpy(dtype=str)
    rows = {row.tobytes(): index for index, row in enumerate(counts)}
    seen = []
    for seed in (0, 1):
        job = job_of(run, "real", seed)
        real, sample = scorer.evidence(job, 0, comparison_of(run, "real", "groundgan2024", seed))
        halves = (real.test_counts.toarray(), sample.matrix.toarray())
        test, synthetic = ({rows[row.tobytes()] for row in half} for half in halves)
        assert len(test) == len(synthetic) == real.n_cells == 15
        assert not test & synthetic
        assert set(split[list(test | synthetic)]) == {"test"}
        seen.append(test)
    assert seen[0] != seen[1]


def test_all_models_and_controls_of_a_column_have_the_same_number_of_cells(run):
    view = run.view()
    for job in run.jobs():
        stored = {score.protocol: score.n_cells for score in view.scores[job.key]}
        assert stored["strict"] == 30
        assert stored["groundgan2024"] == 15
    assert {name: facts.n_cells for name, facts in view.run.protocol_facts.items()} == {
        "strict": 30,
        "groundgan2024": 15,
        "strict+observed": 30,
    }


@pytest.mark.parametrize(
    ("protocol", "n_made", "asked", "n_test", "expected"),
    [
        ("groundgan2024", 1000, True, 1201, 600),
        ("groundgan2024", 1000, True, 2000, 1000),
        ("groundgan2024", 7000, False, 7000, 1000),
        ("groundgan2024", 7000, True, 7000, 3500),
        ("strict", 1200, True, 1200, 1200),
        ("strict", 7000, False, 7000, 2000),
        ("strict+observed", 7000, True, 7000, 7000),
        ("activa2022", 7000, False, 7000, 7000),
    ],
)
def test_cells_a_side_stay_in_reach_of_the_control(protocol, n_made, asked, n_test, expected):
    found = Comparison.of_run(protocol, n_made=n_made, asked=asked, n_test=n_test)
    assert (found.protocol.name, found.n_cells, found.real) == (protocol, expected, "test")


def test_a_score_that_failed_is_of_as_many_cells_as_one_that_did_not(run):
    """It had been told with the cells that the generator made."""
    job = job_of(run, "mean")
    file = run.job_folder(job).score_file(0, "cd", "groundgan2024")
    before = read_json(file)
    current = {"job": job.key, "sample_seed": 0, "metric": "cd", "protocol": "groundgan2024"}
    failed_score(run, current, "died")
    failed = read_json(file)
    write_json(file, before)
    assert (failed["failed"], failed["n_cells"], before["n_cells"]) == (True, 15, 15)


def test_real_cells_change_as_seldom_as_they_can(run):
    comparisons = [task.comparison for task in score_tasks(run, [resolve_metric("cd")], PROTOCOLS)]
    changes = sum(before != after for before, after in pairwise(comparisons))
    assert changes == len(set(comparisons)) - 1


def test_the_scorer_holds_one_evidence_of_either_side(run):
    scorer = Scorer(run)
    first, sample = scorer.evidence(job_of(run, "mean"), 0, comparison_of(run, "mean", "strict"))
    assert scorer.real(comparison_of(run, "expression", "strict")) is first
    assert scorer.evidence(job_of(run, "mean"), 0, comparison_of(run, "mean", "strict"))[1] is sample
    scorer.real(comparison_of(run, "null", "strict"))
    assert scorer._sample is None
    assert scorer._real[1] is not first


def test_exempt_controls_are_not_scored(run):
    metric = resolve_metric("duplicates")
    assert "real" in metric.exempt
    job = job_of(run, "real")
    comparison = comparison_of(run, "real", "strict")
    with pytest.raises(NotApplicable, match="exempt: how this control draws"):
        Scorer(run).compute(metric, job, 0, comparison)
    score = score_of(metric, comparison, lambda: Scorer(run).compute(metric, job, 0, comparison))
    assert (score.failed, score.values) == (False, {})


def test_copies_are_not_looked_for_among_some_of_the_training_cells(run, monkeypatch):
    monkeypatch.setattr("bench.scoring.scorer.MOST_SCORED", {"train": 199, "test": 1000})
    job, comparison = job_of(run, "mean"), comparison_of(run, "mean", "strict")
    for name in ("copied_share", "c_t", "duplicates"):
        with pytest.raises(NotApplicable, match="scores look at a sample of them"):
            Scorer(run).compute(resolve_metric(name), job, 0, comparison)
    assert Scorer(run).compute(resolve_metric("cd"), job, 0, comparison).values
    monkeypatch.setattr("bench.scoring.scorer.MOST_SCORED", {"train": 200, "test": 1000})
    assert Scorer(run).compute(resolve_metric("duplicates"), job, 0, comparison).values


def test_a_null_with_too_small_halves_is_skipped(tmp_path, prepared):
    few = prepared[(prepared.obs["null_half"] != 2) | (np.arange(prepared.n_obs) < 60)].copy()
    spec = RunSpec.checked(models=("null",), profile="smoke", out=tmp_path)
    types = few.obs.loc[few.obs["split"] == "train", "cell_type"].astype(str)
    facts = DatasetFacts("tiny", "key", types, n_genes=40, n_test=30, n_pool=60, augmentation_type="alpha")
    jobs = make_plan(spec, facts, [resolve_model("null")], device="cpu", with_augmentation=False, settled={})
    run = RunFolder.create(tmp_path, "tiny")
    few.write_h5ad(run.dataset)
    run.write_request(spec, jobs, metrics=[], protocols=["strict"], **CONTEXT)
    run_jobs(run, jobs, timeout=None, progress=Progress(Console(quiet=True)))
    record = run.job_folder(jobs[0]).read_record()
    assert record.status == "skipped"
    assert "null: 30 cells asked, there are 12 to draw from" in record.reason


def test_cells_made_are_as_many_as_the_largest_protocol_compares():
    facts = DatasetFacts("big", "key", None, n_genes=40, n_test=7000, n_pool=30_000, augmentation_type="a")
    assert facts.cells_to_make(None, ["strict"]) == 2000
    assert facts.cells_to_make(None, ["groundgan2024"]) == 1000
    assert facts.cells_to_make(None, ["groundgan2024", "strict"]) == 2000
    assert facts.cells_to_make(None, ["strict", "activa2022"]) == 7000
    assert facts.cells_to_make(500, ["strict", "activa2022"]) == 500


def test_unknown_protocols_and_metrics_that_do_not_exist_in_them():
    with pytest.raises(
        RequestError, match=r"--protocol .*'lenient' is unknown: choose from strict, activa2022"
    ):
        RunSpec.checked(protocol=("strict", "lenient"))
    with pytest.raises(RequestError, match=r"--protocol .*names something twice"):
        RunSpec.checked(protocol=("strict", "strict"))
    metric = next(m for m in choose_metrics((), "paper", ["strict"]) if "groundgan2024" not in m.protocols)
    with pytest.raises(RequestError, match=f"--metrics {metric.name}: not under protocol groundgan2024"):
        choose_metrics((metric.name,), "quick", ["groundgan2024"])
    assert metric not in choose_metrics((), "paper", ["groundgan2024"])
