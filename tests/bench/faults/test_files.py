"""Files of a finished run that are lost, cut off or overwritten: named, or made again; never a traceback."""

import contextlib
import io
import shutil
import sys
from unittest import mock

import anndata
import h5py
import pytest

from bench import cli, flow
from bench.api import RunResult
from bench.errors import RequestError
from bench.results.files import read_json, write_json
from bench.results.run_folder import RunFolder
from datasets.cache import sha256_of
from tests.bench.work.test_executor import FILE

pytestmark = pytest.mark.slow


def lose(path):
    path.unlink()


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    path.write_bytes(b"\x00\xff not what it was")


def flip(path):
    """Change a few bytes in the middle of the values of X: the file opens, and its size stays."""
    with h5py.File(path) as file:
        values = file["X/data"]
        place = values.id.get_chunk_info(0).byte_offset if values.chunks else values.id.get_offset()
        middle = place + values.id.get_storage_size() // 2
    # Not the very file that the cache keeps, too.
    content = bytearray(path.read_bytes())
    content[middle : middle + 4] = bytes(byte ^ 0x10 for byte in content[middle : middle + 4])
    path.unlink()
    path.write_bytes(content)


DAMAGES = (lose, cut_off, overwrite)


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COLUMNS", "300")
        # What is looked at here are the run folder's own files.
        patch.setattr(flow, "track", lambda *arguments: None)
        patch.setattr("reports.figures.save_figures", lambda *arguments, **words: [])
        yield


def bench(*arguments):
    """Give a command to this process: its exit code, and all that it printed."""
    printed = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["bench", *map(str, arguments)]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    return ended.value.code, printed.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, prepared):
    """One whole run."""
    home = tmp_path_factory.mktemp("home")
    counts = anndata.AnnData(prepared.layers["counts"], obs=prepared.obs[["cell_type"]], var=prepared.var)
    counts.write_h5ad(home / "tiny.h5ad")
    options = ["--profile", "smoke", "--dataset", home / "tiny.h5ad", "--metrics", "cd"]
    code, printed = bench("run", *options, "--models", f"{FILE}:Mean", "--out", home / "runs")
    assert code == 0, printed
    (plan,) = home.glob("runs/*/plan.json")
    return plan.parent


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it, whose files are not those of the cache."""
    return RunFolder.open(shutil.copytree(finished, tmp_path / "runs" / finished.name))


def of_mean(run, pattern):
    (job,) = (job for job in run.jobs() if job.model == "mean")
    return next(run.job_folder(job).path.glob(pattern))


def finished_at(run):
    return {job.model: getattr(run.job_folder(job).read_record(), "finished", None) for job in run.jobs()}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["plan.json", "request.json"])
def test_what_cannot_be_made_again_is_named(run, name, damage):
    damage(run.path / name)
    for command in (["report", run.path], ["run", "--resume", run.path], ["score", run.path]):
        code, printed = bench(*command)
        assert code == 2
        assert name in printed
        assert "restore it from a copy, or start a new run" in printed or "not a run folder" in printed
        assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("record.json", lose),
        ("record.json", overwrite),
        ("cells-0.h5ad", lose),
        ("cells-0.h5ad", cut_off),
        ("cells-0.h5ad", flip),
        ("fitted.json", cut_off),
        ("scores/*.json", cut_off),
        ("job.json", overwrite),
    ],
)
def test_what_can_be_made_again_is_made_again(run, pattern, damage):
    before, file = finished_at(run), of_mean(run, pattern)
    cells, scores = of_mean(run, "cells-0.h5ad"), of_mean(run, "scores/*.json")
    expected = anndata.read_h5ad(cells).X
    damage(file)
    code, printed = bench("run", "--resume", run.path)
    assert code == 0, printed
    assert (expected != anndata.read_h5ad(cells).X).nnz == 0
    assert "cd" in scores.read_text()
    after = finished_at(run)
    others = before.keys() - {"mean"}
    assert {name: after[name] for name in others} == {name: before[name] for name in others}
    assert {record.status for record in run.view().records} == {"ok"}


@pytest.mark.parametrize("damage", [lose, cut_off])
def test_a_damaged_model_is_trained_anew(run, damage):
    damage(of_mean(run, "model/mean.json"))
    of_mean(run, "record.json").unlink()
    assert bench("run", "--resume", run.path)[0] == 0
    (record,) = (record for record in run.view().records if record.job.model == "mean")
    assert any("trained anew: its stored model could not be loaded" in told for told in record.warnings)
    assert record.steps == {"looping": 3}


@pytest.mark.parametrize("damage", [*DAMAGES, flip])
def test_lost_cells_are_not_ok(run, damage):
    file = of_mean(run, "cells-0.h5ad")
    damage(file)
    code, printed = bench("score", run.path, "--metrics", "cd")
    assert code == 1
    assert f"not scored: {file} is missing or damaged" in printed
    assert f"draw these cells again with: bench run --resume {run.path}" in printed


@pytest.mark.parametrize("damage", [cut_off, flip])
def test_a_score_of_damaged_cells_does_not_stay(run, damage):
    cells, score = of_mean(run, "cells-0.h5ad"), of_mean(run, "scores/*.json")
    before = read_json(score)["values"]
    damage(cells)
    assert bench("score", run.path, "--metrics", "cd")[0] == 1
    assert read_json(score)["failed"] and read_json(score)["values"] == {}
    code, printed = bench("run", "--resume", run.path)
    assert code == 0, printed
    assert read_json(score)["values"] == before


@pytest.mark.parametrize("damage", [lose, cut_off, flip])
@pytest.mark.parametrize("command", [("run", "--resume"), ("score", "--metrics", "cd")])
def test_a_damaged_data_set_comes_from_the_cache(run, command, damage):
    before = sha256_of(run.dataset)
    damage(run.dataset)
    code, printed = bench(*command, run.path)
    assert code == 0, printed
    assert sha256_of(run.dataset) == before


@pytest.mark.parametrize("damage", [lose, cut_off, flip])
@pytest.mark.parametrize("command", [("run", "--resume"), ("score", "--metrics", "cd")])
def test_a_damaged_data_set_is_named_where_the_cache_has_none(run, command, damage, monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "empty"))
    damage(run.dataset)
    code, printed = bench(*command, run.path)
    assert (code, printed) == (
        2,
        f"bench: {run.dataset} is missing or damaged, and the cache holds no copy: start a new run\n",
    )


def test_a_run_without_a_checksum_is_taken_as_it_is(run):
    request = run.read_request()
    del request["dataset_sha256"]
    write_json(run.request, request)
    flip(run.dataset)
    code, printed = bench("run", "--resume", run.path)
    assert code == 0, printed


@pytest.mark.parametrize("content", ["", '{"status": "ok"', "[]", "{}"])
def test_a_damaged_record_is_named(run, content):
    file = of_mean(run, "record.json")
    told = f"{file} is damaged: its Job counts as not run; bench run --resume makes it again"
    for command, expected in ((["report"], 1), (["score", "--metrics", "cd"], 1), (["run", "--resume"], 0)):
        file.write_text(content)
        code, printed = bench(*command, run.path)
        assert code == expected, printed
        assert next(line for line in printed.splitlines() if str(file) in line).endswith(told)
    assert "is damaged" not in bench("report", run.path)[1]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name", ["curves.jsonl", "resources.jsonl", "log.txt", "job.json", "cells-0.h5ad", "model/mean.json"]
)
def test_a_report_needs_neither_cells_nor_models(run, name, damage):
    damage(of_mean(run, name))
    code, printed = bench("report", run.path)
    assert code == 0
    assert "mean" in printed


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", '{"protocol": "strict"}'])
def test_a_report_shows_a_damaged_score_as_missing_and_names_it(run, content):
    file = of_mean(run, "scores/*.json")
    file.write_text(content)
    code, printed = bench("report", run.path)
    assert code == 1
    assert f"{file} is damaged: this score counts as missing; bench score makes it again" in printed
    assert "Run folder" in printed
    assert bench("score", run.path, "--metrics", "cd")[0] == 0
    code, printed = bench("report", run.path)
    assert (code, "is damaged" in printed) == (0, False)


@pytest.mark.parametrize("pattern", ["record.json", "scores/*.json"])
def test_what_needs_every_score_is_refused_in_one_line(run, pattern):
    file = of_mean(run, pattern)
    overwrite(file)
    compared = ["compare", run.path, "--models", "mean,real"]
    for command in (compared, ["sync", run.path], ["gate", "--baseline", run.path, "--current", run.path]):
        code, printed = bench(*command)
        assert code == 2, printed
        assert printed.startswith(f"bench: {file} is damaged: ")
        assert len(printed.splitlines()) == 1
    with pytest.raises(RequestError, match="is damaged"):
        _ = RunResult(run.path).table


@pytest.mark.parametrize("damage", DAMAGES)
def test_sampling_from_a_damaged_model_is_refused_in_one_line(run, damage):
    damage(of_mean(run, "model/mean.json"))
    code, printed = bench("sample", run.path, "--model", "mean", "--out", run.path / "more.h5ad")
    assert code == 2
    assert printed.startswith(f"bench: --model 'mean': what is stored in {run.path}")
    assert len(printed.splitlines()) == 1
    assert not (run.path / "more.h5ad").exists()
