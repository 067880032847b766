"""``bench publish``, ``bench merge``: what was sent arrives, and pieces come to the same as one run."""

import json
import shutil
import zipfile
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from bench import api
from bench.commands.packs import site
from bench.errors import RequestError
from bench.results.files import read_json, sealed, write_json, write_sealed
from bench.results.merge import differences, merge, opened, pieces_of_one
from bench.results.packs import publish, unpack
from bench.results.run_folder import RunFolder
from reports.console import print_report
from reports.table import results_frame
from tests.bench.scoring.test_donors import cells

pytestmark = pytest.mark.slow
TIMES = ["training_seconds", "sample_seconds", "peak_rss_gib", "steps_per_second"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a run of two seeds, and one of each of them."""
    folder = tmp_path_factory.mktemp("packs")
    wanted = {"profile": "smoke", "metrics": ("mmd", "augmentation_f1"), "quiet": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        return [
            RunFolder.open(
                api.run(["nb_copula"], cells(), seeds=seeds, out=folder / str(len(seeds)), **wanted).folder
            )
            for seeds in ((0, 1), (0,), (1,))
        ]


@pytest.fixture
def apart(runs, tmp_path):
    return [
        RunFolder.open(shutil.copytree(run.path, tmp_path / name))
        for run, name in zip(runs[1:], ("first", "second"), strict=True)
    ]


def table(run):
    frame = results_frame(run.view())
    return frame[[name for name in frame.columns if not name.startswith(tuple(TIMES))]]


def test_pieces_come_to_the_same_as_one_run(runs, apart, tmp_path):
    whole = runs[0]
    packed, archive = tmp_path / "first.json", tmp_path / "second.zip"
    publish(apart[0], packed, with_cells=False)
    publish(apart[1], archive, with_cells=True)
    merged = merge(opened([packed, archive], tmp_path / "home"), tmp_path / "merged")
    pd.testing.assert_frame_equal(table(merged), table(whole))
    assert {job.key for job in merged.jobs()} == {job.key for job in whole.jobs()}
    assert merged.read_spec().seeds == (0, 1)
    assert [piece.name for piece in merged.facts().pieces] == ["first", "second"]
    # What went with its cells has them still, and can be scored again.
    sampled = {job.seed for job in merged.jobs() if merged.job_folder(job).cells(0).exists()}
    assert sampled == {1}
    augmented = [job for job in merged.jobs() if job.experiment.kind == "augmentation"]
    assert len(augmented) == len([job for job in whole.jobs() if job.experiment.kind == "augmentation"])


def test_a_pack_tells_records_scores_and_digests_and_no_path(apart, tmp_path):
    run, file = apart[0], tmp_path / "run.json"
    publish(run, file, with_cells=False)
    again = unpack(file, tmp_path / "home")
    for job in run.jobs():
        before, after = run.job_folder(job), again.job_folder(job)
        assert after.read_record() == before.read_record()
        assert after.read_scores() == [score.but(details={}) for score in before.read_scores()]
        if (record := after.read_record()).samples:
            assert record.samples["0"].sha256
    assert str(tmp_path) not in file.read_text()
    assert str(Path.home()) + "/" not in file.read_text()


def test_a_file_that_is_there_is_not_overwritten(apart, tmp_path):
    (tmp_path / "run.json").write_text("mine")
    with pytest.raises(RequestError, match="exists: name another file"):
        publish(apart[0], tmp_path / "run.json", with_cells=False)
    assert (tmp_path / "run.json").read_text() == "mine"


def better(content):
    scores = next(job["scores"] for job in content["jobs"].values() if job["scores"])
    scores[0]["values"] = {"mmd": 0.0}


def faster(content):
    next(iter(content["jobs"].values()))["record"]["wall_seconds"] = 0.0


@pytest.mark.parametrize("change", [better, faster])
def test_a_changed_pack_is_refused(apart, tmp_path, change):
    file = tmp_path / "run.json"
    publish(apart[0], file, with_cells=False)
    content = read_json(file)
    change(content)
    write_json(file, content)
    with pytest.raises(RequestError, match="it was changed since it was written"):
        unpack(file, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_changed_cells_are_refused(apart, tmp_path):
    file, forged = tmp_path / "run.zip", tmp_path / "forged.zip"
    publish(apart[0], file, with_cells=True)
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(forged, "w") as other:
        for name in whole.namelist():
            other.writestr(name, whole.read(name) + (b" " if name.endswith("cells-0.h5ad") else b""))
    with pytest.raises(RequestError, match=r"cells-0.h5ad was changed"):
        unpack(forged, tmp_path / "home")


@pytest.mark.parametrize("name", ["../../outside", "/outside"])
def test_nothing_is_written_outside(apart, tmp_path, name):
    file = tmp_path / "run.zip"
    publish(apart[0], file, with_cells=True)
    with zipfile.ZipFile(file) as archive:
        content = json.loads(archive.read("pack.json"))
    with zipfile.ZipFile(tmp_path / "forged.zip", "w") as archive:
        archive.writestr("pack.json", json.dumps(sealed(content | {"files": {name: "0"}})))
        archive.writestr(name, "x")
    with pytest.raises(RequestError, match="lies outside of it"):
        unpack(tmp_path / "forged.zip", tmp_path / "home")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "no pack of a run"), ("nothing", "no pack of a run"), ("", "no pack of a run")],
)
def test_what_is_no_pack_is_named(tmp_path, content, message):
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(RequestError, match=message):
        unpack(file, tmp_path / "home")


def with_request(run, **changes):
    write_sealed(run.request, run.read_request() | changes)


def with_jobs(run, **changes):
    write_json(run.plan, [job.model_dump(mode="json") | changes for job in run.jobs()])


def with_code(run):
    file = next(file for job in run.jobs() for file in run.job_folder(job).scores.glob("*-mmd.json"))
    write_sealed(file, read_json(file) | {"code": "another"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: with_request(run, dataset_key="others"), "differ in their prepared cells"),
        (lambda run: with_request(run, n_cells=7), "differ in their cells a side"),
        (lambda run: with_request(run, protocol_facts={}), "differ in their protocols"),
        (lambda run: with_jobs(run, source_hash="another"), "model nb_copula has another version, code"),
        (lambda run: with_jobs(run, budget="7 steps"), "model nb_copula has another version, code"),
        (with_code, "metric mmd was computed by different code"),
    ],
)
def test_what_is_no_piece_is_refused_and_stands_alone(apart, tmp_path, change, message):
    change(apart[1])
    with pytest.raises(RequestError, match=message):
        merge(apart, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    assert pieces_of_one(apart) == [[apart[0]], [apart[1]]]


def test_pieces_of_unlike_machines_say_so_in_the_columns_of_times(apart, tmp_path):
    other = dict(apart[1].read_request()["hardware"]) | {"cpu_model": "Another CPU", "fingerprint": "other"}
    with_request(apart[1], hardware=other)
    for job in apart[1].jobs():
        folder = apart[1].job_folder(job)
        if (record := folder.read_record()) is not None:
            folder.write_record(record.but(machine={"fingerprint": "other"}))
    assert next(differences(apart), None) is None
    view = merge(apart, tmp_path / "merged").view()
    assert [machine.cpu_model for machine in view.run.machines][1:] == ["Another CPU"]
    out = StringIO()
    print_report(view, console=Console(file=out, width=400))
    assert "Another CPU" in out.getvalue()
    assert "(seeds 1): times and memory do not compare" in out.getvalue()


def test_a_job_is_taken_from_where_it_ended_well(apart, tmp_path):
    failing, whole = apart[0], RunFolder.open(shutil.copytree(apart[0].path, tmp_path / "whole"))
    job = failing.jobs()[0]
    folder = failing.job_folder(job)
    folder.write_record(folder.read_record().but(status="failed", reason="an accident"))
    merged = merge([failing, whole], tmp_path / "merged")
    assert merged.job_folder(job).read_record().status == "ok"


def test_a_site_unites_pieces_and_replaces_none_but_a_site(apart, tmp_path):
    packed, out = tmp_path / "first.json", tmp_path / "site"
    publish(apart[0], packed, with_cells=False)
    assert site([packed, apart[1].path], out) == 0
    assert len(list(out.glob("*/*-nb_copula.html"))) == 1
    assert "training seeds 0, 1" in (out / "results.md").read_text()
    assert site([packed], out) == 0
    (out / "assets" / "tables.js").unlink()
    with pytest.raises(RequestError, match="exists and is no site"):
        site([packed], out)
