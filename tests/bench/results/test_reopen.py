"""Going on with a run: refused by its true cause, and with the cells that the cache still has."""

import os

import pytest

import datasets
from bench.errors import RequestError
from bench.hardware import describe
from bench.request.spec import RunSpec
from bench.results import reopen as module
from bench.results.records import unstarted_record, versions
from bench.results.reopen import differences, reopen
from bench.results.run_folder import RunFolder
from tests.bench.results.test_damaged_files import job

HERE = describe({"OMP_NUM_THREADS": "4"}) | {
    "physical_cores": 2,
    "logical_cores": 4,
    "memory_bytes": 16 << 30,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"logical_cores": 1}, ["begun with logical cores 4, here it is 1"]),
        (
            {"physical_cores": 1, "logical_cores": 1, "threads": {"OMP_NUM_THREADS": "1"}},
            ["begun with logical cores 4, here it is 1", "begun with physical cores 2, here it is 1"],
        ),
        ({"threads": {"OMP_NUM_THREADS": "1"}}, ["begun with OMP_NUM_THREADS 4, here it is 1"]),
        ({"threads": {}}, ["begun with OMP_NUM_THREADS 4, here it is none"]),
        ({"cpu_model": "Other"}, [f"begun with cpu model {HERE['cpu_model']}, here it is Other"]),
        ({"memory_bytes": 8 << 30}, ["begun with memory 16 GiB, here it is 8 GiB"]),
        # A driver's few megabytes more or less, and another kernel, change no timing.
        ({"memory_bytes": (16 << 30) - 5, "operating_system": "Linux-9"}, []),
    ],
)
def test_what_is_unlike_is_named(change, words):
    assert differences(HERE, HERE | change) == words


@pytest.fixture
def run(tmp_path, prepared, monkeypatch):
    """Return a run whose prepared cells lie in the cache, too."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "describe_for", lambda *_asked: HERE | {"fingerprint": "here"})
    monkeypatch.setattr(module, "resolve_model", lambda reference: Model)
    monkeypatch.setattr(module, "hyperparameters", lambda generator, given: {})
    monkeypatch.setattr(module, "made", lambda choice, settings: Model)
    cells = prepared.copy()
    del cells.uns["bench"]
    cells.X = cells.layers["counts"].copy()
    kept = datasets.prepare(cells, cache_folder=tmp_path / "cache")
    run = RunFolder.create(tmp_path / "runs", "tiny")
    run.link_dataset(kept.path)
    run.write_request(
        RunSpec.checked(),
        [job()],
        hardware=HERE | {"fingerprint": "here"},
        versions=versions(),
        protocols=["strict"],
        dataset={"name": kept.name},
        dataset_key=kept.key,
    )
    return run, kept


class Model:
    generator = None
    source_hash = ""

    @staticmethod
    def content():
        return ""


def lose(path):
    path.unlink()


def cut_off(path):
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("damage", [lose, cut_off])
def test_lost_cells_are_taken_from_the_cache(run, damage):
    run, kept = run
    damage(run.dataset)
    assert reopen(run.path).path == run.path
    assert run.dataset.read_bytes() == kept.path.read_bytes()


@pytest.mark.parametrize("damage", [lose, cut_off])
def test_where_the_cache_lost_them_too_the_file_is_named(run, damage):
    run, kept = run
    damage(run.dataset)
    os.truncate(kept.path, 100)
    with pytest.raises(
        RequestError, match=r"dataset\.h5ad is missing or damaged, and the cache holds no copy"
    ):
        reopen(run.path)


@pytest.fixture
def with_fewer_cores(monkeypatch):
    here = HERE | {"fingerprint": "other", "logical_cores": 1}
    monkeypatch.setattr(module, "describe_for", lambda *_asked: here)


def test_fewer_cores_are_no_other_machine(run, with_fewer_cores):
    with pytest.raises(RequestError, match="begun with logical cores 4, here it is 1: timings would not"):
        reopen(run[0].path)


@pytest.mark.parametrize(
    ("status", "has_cells", "is_left"),
    [("ok", True, False), ("ok", False, True), ("skipped", False, False), ("failed", False, True)],
)
def test_where_nothing_is_left_to_be_timed_any_machine_goes_on(
    status, has_cells, is_left, run, prepared, with_fewer_cores
):
    folder = run[0].job_folder(run[0].jobs()[0])
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_record(unstarted_record(run[0].jobs()[0]).but(status=status))
    if has_cells:
        prepared.write_h5ad(folder.cells(0))
    if is_left:
        # Also cells that would be drawn again: nothing that is there is given up for them here.
        with pytest.raises(RequestError, match="timings would not compare"):
            reopen(run[0].path)
    else:
        assert reopen(run[0].path).path == run[0].path


def test_what_is_left_may_be_timed_elsewhere(run, with_fewer_cores):
    assert reopen(run[0].path, elsewhere=True).path == run[0].path
