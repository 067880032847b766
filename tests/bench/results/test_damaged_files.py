"""Files of a run folder that are damaged: what can be made again counts as not there, all else is named."""

import pytest

from bench.request.plan import Experiment, Job
from bench.request.spec import RunSpec
from bench.results.files import DamagedFile, read_json, write_json
from bench.results.run_folder import JobFolder, RunFolder
from bench.scoring import processes
from bench.scoring.tasks import _key_in
from bench.work.processes import run_worker

DAMAGED = [b"", b'{"status": "ok"', b"\x00\xff\x00", b"[1, 2]", b"null"]


def job():
    return Job(
        model="mean",
        reference="mean",
        version="1",
        source_hash="",
        role="model",
        framework="numpy",
        conditional=True,
        space="counts",
        hyperparameters={},
        content="",
        dataset="tiny",
        dataset_key="key",
        seed=0,
        sample_seeds=(0,),
        experiment=Experiment(),
        budget=None,
        device="cpu",
        threads=1,
        n_cells=3,
        timing_cells=0,
        timing_repeats=1,
        timing_limit_seconds=1.0,
    )


@pytest.fixture
def run(tmp_path):
    made = RunFolder.create(tmp_path, "tiny")
    context = {"protocols": ["strict"], "metrics": [], "train_shape": [3, 4]}
    made.write_request(RunSpec.checked(), [job()], hardware={"fingerprint": "here"}, **context)
    return made


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_counts_as_not_run(tmp_path, content):
    folder = JobFolder(tmp_path)
    folder.record.write_bytes(content)
    assert folder.read_record() is None


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_score_is_computed_again(tmp_path, content):
    file = tmp_path / "score.json"
    file.write_bytes(content)
    assert _key_in(file) is None
    write_json(file, {"key": "abc"})
    assert _key_in(file) == "abc"


@pytest.mark.parametrize("content", [*DAMAGED, b'[{"model": "mean"}]'])
def test_a_damaged_plan_is_named(run, content):
    run.plan.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"plan\.json is damaged"):
        run.jobs()


def test_the_message_names_file_and_remedy(tmp_path):
    file = tmp_path / "request.json"
    file.write_text('{"spec": ')
    with pytest.raises(DamagedFile, match=r"request\.json is damaged \(Expecting value: .*\): restore it"):
        read_json(file)


def test_a_score_that_hangs_costs_itself_alone(run, tmp_path, monkeypatch):
    """A real process that says what it computes, then sleeps; the limit ends it, then the rest is scored."""
    (tmp_path / "hangs.py").write_text(
        "import sys, time, json, pathlib\n"
        "file = pathlib.Path(sys.argv[1])\n"
        "seen = file.with_name('seen')\n"
        "if seen.exists(): sys.exit(0)\n"
        "seen.touch()\n"
        "request = json.loads(file.read_text())\n"
        "current = {'title': 'mean', 'job': 'key', 'metric': 'mmd', 'sample_seed': 0, 'protocol': 'strict'}\n"
        "request['current'] = current\n"
        "file.write_text(json.dumps(request))\n"
        "time.sleep(600)\n"
    )
    failed = []
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(
        processes, "run_worker", lambda arguments, **words: run_worker(["hangs", arguments[1]], **words)
    )
    monkeypatch.setattr(processes, "failed_score", lambda run, current, cause: failed.append(cause))
    write_json(run.request, run.read_request() | {"spec": RunSpec.checked(metric_timeout=0.5).model_dump()})
    from rich.console import Console

    from bench.progress import Progress

    assert processes.run_scoring(run, ["mmd"], ["strict"], progress=Progress(Console(quiet=True)))
    assert failed == ["ended after 0.5 s, the limit of a score (--metric-timeout)"]
