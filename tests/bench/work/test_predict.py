import json

import pytest

from bench.results.run_folder import RunFolder
from bench.work.left import UNKNOWN, Left, Watch, duration, job_left, scores_left
from bench.work.predict import Measured, Outlook, Past, past, predict
from reports.view import Record
from tests.bench.request.test_plan import facts, plan  # noqa: F401 - a fixture

PHASES = {"load": 2.0, "prepare": 4.0, "fit": 60.0, "fit/compile": 10.0, "save": 1.0}
PHASES |= {"sample": 3.0, "write": 0.5, "sample_timing": 6.0}


def plain(budget="100 steps", seconds=50.0, fingerprint="here", **changes):
    job = {"model": "mean", "role": "model", "seed": 0, "experiment": {}}
    return {
        "key": "abc",
        "status": "ok",
        "job": job | {"budget": budget, "n_cells": 75, "sample_seeds": [0]},
        "phases": PHASES,
        "training": {"seconds": seconds},
        "timing": {"median_seconds": 2.0, "n_cells": 1000},
        "memory": {"peak_rss_bytes": 10**9},
        "machine": {"fingerprint": fingerprint},
        "wall_seconds": 80.0,
    } | changes


def record(**changes):
    return Measured(Record.model_validate(plain(**changes)), (200, 100), 10**6)


def test_cost_grows_with_steps_genes_and_sampled_cells(facts):  # noqa: F811
    job = plan(facts, budget={"mean": "300steps"}, profile="smoke")[0]
    cost = predict(job, n_train=400, n_genes=200, records=[record()])
    # Of 80 s, 76.5 lay in phases: 3.5 s to start. 400 cells × 200 genes are four times as much to load.
    # 50 s × 3 as many steps × 2 as many genes, and 10 s of compiling as before; the Job draws 75 cells, too.
    # 2 000 cells once at 2 s per thousand × 2.
    assert cost.phases == pytest.approx({
        "start": 3.5, "load": 8.0, "prepare": 16.0, "fit": 310.0, "save": 2.0, "reload": 0.0, "sample": 6.0,
        "check": 0.0, "write": 1.0, "sample_timing": 8.0,
    })  # fmt: skip
    assert cost.seconds == pytest.approx(354.5)
    assert cost.peak_rss_bytes == 2 * 10**9
    assert cost.disk_bytes == 2 * 10**6


def test_epochs_grow_with_cells_too(facts):  # noqa: F811
    job = plan(facts, budget={"mean": "10epochs"}, profile="smoke")[0]
    cost = predict(job, n_train=400, n_genes=100, records=[record(budget="5 epochs")])
    assert cost.phases["fit"] == pytest.approx(50 * 2 * 2 + 10)
    timed = plan(facts, budget={"mean": "30s"}, profile="smoke")[0]
    assert predict(timed, n_train=400, n_genes=100, records=[record()]).phases["fit"] == 40


def test_no_timed_round_begins_behind_the_limit(facts):  # noqa: F811
    job = plan(facts, budget={"mean": "10epochs"})[0]
    slow = record(budget="10 epochs", timing={"median_seconds": 1.0, "n_cells": 1000})
    # A round of 100 000 cells takes 100 s, and none begins behind 5.
    assert predict(job, n_train=200, n_genes=100, records=[slow]).phases["sample_timing"] == 105
    fast = record(budget="10 epochs", timing={"median_seconds": 0.01, "n_cells": 1000})
    assert predict(job, n_train=200, n_genes=100, records=[fast]).phases["sample_timing"] == 3


def test_a_model_without_a_budget_is_predicted_too(facts):  # noqa: F811
    job = plan(facts)[0].model_copy(update={"budget": None, "timing_cells": 0})
    cost = predict(job, n_train=200, n_genes=100, records=[record(budget=None, training=None, timing=None)])
    assert cost.seconds == pytest.approx(80 - 6)


def test_nothing_is_predicted_from_nothing(facts):  # noqa: F811
    job = plan(facts, budget={"mean": "10epochs"})[0]
    for records in ([], [record(budget="5 steps")], [record(budget="5 epochs", timing=None)]):
        cost = predict(job, n_train=400, n_genes=100, records=records)
        assert (cost.seconds, cost.phases) == (None, {})
    # A retraining tells of training, the latest that was timed of sampling.
    both = [record(budget="5 epochs"), record(budget="5 epochs", timing=None)]
    assert predict(job, n_train=200, n_genes=100, records=both).seconds is not None


EXPECTED = {"start": 4.0, "load": 1.0, "prepare": 5.0, "fit": 100.0, "save": 1.0, "sample": 9.0}


@pytest.mark.parametrize(
    ("phase", "fraction", "elapsed", "pace", "seconds"),
    [
        # Starting takes 4 s, of which 3 are over; 116 s follow.
        ("", None, 3.0, None, 117.0),
        # Later than expected, but behind it as much follows.
        ("prepare", None, 8.0, None, 110.0),
        ("fit", None, 10.0, None, 100.0),
        # A quarter done: 75 s by what was expected; at a pace of 200 s for the whole 150.
        ("fit/warm-up", 0.25, 40.0, None, 85.0),
        ("fit/warm-up", 0.25, 40.0, 200.0, 160.0),
        ("sample", 0.5, 1.0, None, 4.5),
        ("sample_timing", None, 1.0, None, 0.0),
    ],
)
def test_what_is_left_of_a_job_worked_by_hand(phase, fraction, elapsed, pace, seconds):
    left = job_left(EXPECTED, phase=phase, fraction=fraction, elapsed=elapsed, pace=pace)
    assert left == Left(pytest.approx(seconds), whole=True)


def test_of_a_job_never_seen_only_the_pace_tells():
    assert job_left({}, phase="prepare", fraction=None, elapsed=5.0, pace=None) == UNKNOWN
    assert str(UNKNOWN) == "time left not known yet"
    left = job_left({}, phase="fit", fraction=0.75, elapsed=30.0, pace=40.0)
    assert (left, str(left)) == (Left(10.0, whole=False), "more than 10 s left")


def test_a_watch_learns_the_pace_of_a_phase_from_its_own_seconds():
    watch = Watch(EXPECTED)
    assert watch.left({}, 100.0).seconds == 120
    assert watch.left({}, 102.0).seconds == 118
    assert watch.left({"phase": "fit", "fraction": None}, 110.0).seconds == 110
    # Compiling ends at 130; the pace counts from there: 2 % a second.
    assert watch.left({"phase": "fit/steps", "fraction": 0.0}, 130.0).seconds == 110
    assert watch.left({"phase": "fit/steps", "fraction": 0.01}, 130.5).seconds == pytest.approx(109)
    assert watch.left({"phase": "fit/steps", "fraction": 0.2}, 140.0).seconds == pytest.approx(40 + 10)
    # The next phase begins anew.
    assert watch.left({"phase": "sample", "fraction": None}, 150.0).seconds == 9


def test_scores_of_this_run_count_for_more_than_earlier_ones():
    waiting, expected = {"rf_auc": 3, "mmd": 2, "cd": 0}, {"rf_auc": 10.0, "mmd": 1.0}
    assert scores_left(waiting, expected, {}) == Left(32.0)
    assert scores_left(waiting, expected, {"rf_auc": [18.0, 20.0]}) == Left(59.0)
    assert scores_left(waiting, {}, {"rf_auc": [18.0, 20.0]}) == Left(57.0, whole=False)
    assert scores_left({}, {}, {}) == Left(0.0)
    # The one that is being computed began 4 s ago; one that takes longer than it should has nothing left.
    assert scores_left(waiting, expected, {}, current=("rf_auc", 4.0)) == Left(28.0)
    assert scores_left(waiting, expected, {}, current=("rf_auc", 400.0)) == Left(22.0)
    assert scores_left({"cd": 1}, expected, {}, current=("cd", 4.0)) == UNKNOWN


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (240, "4 min"), (5999, "100 min"), (9000, "2.5 h")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words
    assert str(Left(seconds)) == f"about {words} left"


def test_a_run_is_its_jobs_their_scores_and_its_end(facts, monkeypatch):  # noqa: F811
    monkeypatch.setattr("bench.work.predict.scoring_processes", lambda n_jobs, dataset_bytes: 2)
    jobs = plan(facts, budget={"mean": "100steps"}, profile="smoke", seeds=(0, 1, 2), sample_seeds=(0, 1))
    learnt = Past(
        [],
        {"rf_auc": 0.002, "mmd": 0.0004},
        {"augmenters": 1.0, "maps": 1.0, "figures": 0.5, "tracking": 0.25},
    )
    experiments = {"rf_auc": "main", "mmd": "main", "augmentation_f1": "augmentation"}
    outlook = Outlook(
        jobs, shape=(200, 100), experiments=experiments, protocols=("strict", "activa2022"), past=learnt
    )
    # A score is of 75 cells × 100 genes: rf_auc 15 s, mmd 3 s; three Jobs, two samples, two
    # protocols, in two processes.
    assert outlook.scoring_left() == Left(pytest.approx(6 * 18))
    assert outlook.end_left() == Left(pytest.approx(3 * 2.75))
    # rf_auc under one of the two only: 15 s less, six times, in two processes.
    known = {"shape": (200, 100), "experiments": experiments, "protocols": ("strict", "activa2022")}
    restricted = Outlook(jobs, **known, only_under={"rf_auc": ["strict", "other"]}, past=learnt)
    assert restricted.scoring_left() == Left(pytest.approx(6 * 18 - 3 * 15))
    assert outlook.left_with(jobs) == Left(pytest.approx(6 * 18 + 3 * 2.75), whole=False)
    outlook.learn(record(status="failed").record)
    assert not outlook.left_with(jobs).whole
    outlook.learn(record().record)
    # As before, but for two samples instead of one, and 2 000 cells timed at 2 s per thousand: 80 + 3.5 - 2.
    assert outlook.left_with(jobs[1:]) == Left(pytest.approx(2 * 81.5 + 6 * 18 + 3 * 2.75))
    assert outlook.left_with([]) == Left(pytest.approx(6 * 18 + 3 * 2.75))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def a_run(out, name, fingerprint, *, score, figures=None):
    folder = out / name
    hardware = {"fingerprint": fingerprint}
    write(folder / "request.json", {"train_shape": [200, 100], "hardware": hardware})
    write(folder / "plan.json", [{}, {}])
    write(folder / "jobs" / "abc" / "record.json", plain(fingerprint=fingerprint, reason=name))
    for metric, seconds in score.items():
        taken = {"metric": metric, "seconds": seconds, "shared_seconds": 1.0, "n_cells": 50}
        taken |= {"protocol": "strict", "values": {metric: 0.5}}
        write(folder / "jobs" / "abc" / "scores" / f"0-strict-{metric}.json", taken)
    if figures is not None:
        RunFolder(folder).note_seconds("figures", figures)


def test_only_this_machine_counts_and_the_latest_run_first(tmp_path):
    a_run(tmp_path, "2026-1", "here", score={"mmd": 4.0, "cd": 9.0}, figures=8.0)
    a_run(tmp_path, "2026-2", "here", score={"mmd": 1.0})
    a_run(tmp_path, "2026-3", "there", score={"mmd": 70.0})
    # What an earlier version left, or a run that was cut short, is passed over.
    write(tmp_path / "2026-4" / "request.json", {"spec": {}})
    write(tmp_path / "2026-5" / "request.json", {"train_shape": [1, 1], "hardware": {"fingerprint": "here"}})
    found = past(tmp_path, "here")
    assert [(each.record.reason, each.shape) for each in found.records] == [
        ("2026-1", [200, 100]),
        ("2026-2", [200, 100]),
    ]
    # (1 + 1) s and (9 + 1) s of 50 cells × 100 genes.
    assert found.scores == pytest.approx({"mmd": 2 / 5000, "cd": 10 / 5000})
    # Of two Jobs.
    assert found.stages == {"figures": 4.0}


def test_what_was_done_beside_others_foretells_memory_alone(facts):  # noqa: F811
    job = plan(facts, budget={"mean": "100steps"}, profile="smoke")[0]
    disturbed = record(beside=1, training=None, timing=None, memory={"peak_rss_bytes": 3 * 10**9})
    cost = predict(job, n_train=200, n_genes=100, records=[disturbed])
    assert (cost.seconds, cost.peak_rss_bytes) == (None, 3 * 10**9)
    # Of the seconds the last that was alone tells, of memory the newest.
    cost = predict(job, n_train=200, n_genes=100, records=[record(), disturbed])
    assert cost.phases["fit"] == 60.0
    assert cost.peak_rss_bytes == 3 * 10**9


def test_what_is_done_again_in_part_is_not_taken_for_quick(tmp_path):
    run = RunFolder(tmp_path)
    run.note_seconds("figures", 8.0)
    run.note_seconds("figures", 0.5)
    run.note_seconds("maps", 2.0)
    assert json.loads(run.seconds.read_text()) == {"figures": 8.0, "maps": 2.0}


def test_runs_that_cannot_be_read_tell_nothing(tmp_path):
    """Damaged, of an earlier version, or being written by somebody else: they stop no other run."""
    a_run(tmp_path, "1-good", "here", score={"mmd": 1.0})
    for number, damage in enumerate(
        [
            lambda folder: (folder / "jobs" / "abc" / "record.json").write_text("{"),
            lambda folder: (
                (folder / "plan.json").write_text("[]") and write(folder / "seconds.json", {"maps": 1})
            ),
            lambda folder: (folder / "request.json").write_text(""),
            lambda folder: write(folder / "jobs" / "abc" / "record.json", {"status": "ok"}),
            lambda folder: write(folder / "jobs" / "abc" / "scores" / "0-strict-cd.json", {}),
        ],
        start=2,
    ):
        a_run(tmp_path, f"{number}-bad", "here", score={})
        damage(tmp_path / f"{number}-bad")
    found = past(tmp_path, "here")
    assert [measured.record.reason for measured in found.records] == ["1-good"]
    assert set(found.scores) == {"mmd"}
