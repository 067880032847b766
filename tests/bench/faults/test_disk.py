"""Disks that are really full: a small one of our own, where the tests may mount one."""

import contextlib
import os
import shutil
import subprocess
import sys

import anndata
import pytest

from bench.results.disk import NO_SPACE
from bench.results.run_folder import RunFolder
from tests.bench.work.test_executor import FILE, carry_out, make_run

pytestmark = pytest.mark.slow

SIZE = "16m"
KIB_OF_CELLS = 12
"""Room for records and progress, but not for the cells of a Job."""


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A file system of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    monkeypatch.setenv("BENCH_TEST_DISK", str(folder))
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    """A cache on another disk, and no server of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COLUMNS", "200")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


def fill(disk, *, left):
    """Take the whole disk but for so many KiB."""
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))
    os.truncate(disk / "ballast", (disk / "ballast").stat().st_size // 1024 * 1024 - 1024 * left)


def half_written(folder):
    """Return what is neither a file of a run nor a lock."""
    return [path for path in folder.rglob(".*") if not path.name.endswith(".lock")]


@pytest.mark.parametrize("left", [0, KIB_OF_CELLS, 80])
def test_a_job_that_finds_the_disk_full_fails_by_name_and_the_next_run_does_it(disk, prepared, left):
    settings = {"fills_the_disk": {"left": str(left)}}
    run, spec = make_run(disk / "runs", prepared, ["Mean", "FillsTheDisk", "Expression"], settings=settings)
    records = carry_out(run, spec)
    assert records["mean"].status == "ok"
    # Where it is too full for a Record there is none.
    for model in ("fills_the_disk", "expression"):
        assert records[model] is None or records[model].reason == NO_SPACE or left >= 40
    assert half_written(run.path) == []
    (disk / "ballast").unlink()
    (disk / "room").touch()
    before = records["mean"].finished
    after = carry_out(run, spec)
    assert {name: record.status for name, record in after.items()} == dict.fromkeys(after, "ok")
    assert after["mean"].finished == before
    for job in run.jobs():
        assert anndata.read_h5ad(run.job_folder(job).cells(0)).n_obs == 30


@pytest.fixture(scope="module")
def cells(tmp_path_factory, prepared):
    counts = anndata.AnnData(prepared.layers["counts"], obs=prepared.obs[["cell_type"]], var=prepared.var)
    file = tmp_path_factory.mktemp("cells") / "tiny.h5ad"
    counts.write_h5ad(file)
    return file


@pytest.fixture(scope="module")
def options(cells):
    return ["--profile", "smoke", "--dataset", cells, "--metrics", "cd"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, options):
    """A whole run, elsewhere."""
    out = tmp_path_factory.mktemp("runs")
    assert bench("run", *options, "--models", f"{FILE}:Mean", "--out", out).returncode == 0
    (plan,) = out.glob("*/plan.json")
    return plan.parent


def bench(*arguments):
    """Run a command as a user does."""
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done


def test_the_whole_run_survives_a_full_disk_and_goes_on(disk, options):
    models = f"{FILE}:Mean,{FILE}:FillsTheDisk"
    full = bench("run", *options, "--models", models, "--out", disk / "runs")
    assert full.returncode == 1
    (plan,) = disk.glob("runs/*/plan.json")
    command = f"bench run --resume {plan.parent}"
    assert f"{NO_SPACE}; what was finished is kept: free some and go on with: {command}" in full.stdout
    run = RunFolder.open(plan.parent)
    records = {job.model: run.job_folder(job).read_record() for job in run.jobs()}
    assert records["mean"].status == "ok"
    assert half_written(run.path) == []
    (disk / "ballast").unlink()
    (disk / "room").touch()
    done = bench(*command.split()[1:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert {record.status for record in run.view().records} == {"ok"}
    assert next(run.figures.glob("*.png")).stat().st_size


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["score", "RUN", "--metrics", "cd"], "request.json: free some"),
        (["report", "RUN"], "no space left on the disk"),
        (["report", "RUN", "--html", "DISK/page.html"], "cannot be written: No space left on device"),
        (
            ["sample", "RUN", "--model", "mean", "--out", "DISK/drawn.h5ad", "--cells", "4000"],
            "no space left on",
        ),
        (["sync", "RUN"], "MLflow was not updated: "),
        (
            ["run", "--models", f"{FILE}:Mean", "--dataset", "CELLS", "--out", "DISK/runs"],
            "No space left on device",
        ),
    ],
)
def test_commands_on_a_full_disk_say_so_in_one_line(disk, cells, finished, command, message):
    run = shutil.copytree(finished, disk / "runs" / finished.name)
    fill(disk, left=0)
    before = {path: path.stat().st_size for path in disk.rglob("*") if path.is_file()}
    words = {"RUN": run, "DISK": disk, "CELLS": cells}
    done = bench(*(_filled_in(word, words) for word in command))
    assert done.returncode in (1, 2)
    assert message in done.stdout + done.stderr
    after = {path: path.stat().st_size for path in disk.rglob("*") if path.is_file()}
    assert {path.name for path in after.keys() - before.keys()} <= {".lock", ".mlflow.lock", ".seconds.lock"}
    # What is computed anew is forgotten first.
    assert {path for path in before.keys() - after.keys() if path.parent.name != "scores"} == set()


def _filled_in(word, words):
    for name, value in words.items():
        word = word.replace(name, str(value))
    return word
