"""``bench publish``, ``bench merge``: what was sent arrives, and pieces come to the same as one run."""

import json
import shutil
import zipfile
from io import StringIO
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench import api
from bench.commands.packs import site
from bench.errors import RequestError
from bench.hardware import usable_cores
from bench.request.registry import resolve_metric
from bench.results.files import read_json, sealed, write_json, write_sealed
from bench.results.merge import differences, merge, opened, pieces_of_one
from bench.results.packs import _elsewhere, publish, unpack
from bench.results.run_folder import RunFolder
from bench.scoring.tasks import missing_scores
from datasets.cache import sha256_of
from reports.console import print_report
from reports.table import results, results_frame
from tests.bench.scoring.test_donors import cells

pytestmark = pytest.mark.slow
TIMES = ["training_seconds", "sample_seconds", "peak_rss_gib", "steps_per_second"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packs")


@pytest.fixture(scope="module")
def whole(folder):
    """Return a run of two seeds and both experiments."""
    return made(folder, metrics=("mmd", "augmentation_f1"))


@pytest.fixture(scope="module")
def unlike(folder):
    """Return the same seeds with one thread more, and so with other keys, and another metric."""
    return made(folder, metrics=("mmd", "zero_fraction_error"), threads=usable_cores() + 1)


def made(folder, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        common = {"seeds": (0, 1), "profile": "smoke", "out": folder / "runs", "quiet": True}
        return RunFolder.open(api.run(["nb_copula"], cells(), **common, **options).folder)


@pytest.fixture
def apart(whole, tmp_path):
    """Return what two runs would have been, of a seed each: a retraining is of a run's first seed."""
    return [piece(whole, tmp_path / name, seed) for name, seed in (("first", 0), ("second", 1))]


def piece(whole, home, seed):
    run = RunFolder.open(shutil.copytree(whole.path, home))
    left_out = [job for job in run.jobs() if job.experiment.kind == "main" and job.seed != seed]
    for job in left_out:
        shutil.rmtree(run.job_folder(job).path)
    kept = [job.model_dump(mode="json") for job in run.jobs() if job not in left_out]
    write_json(run.plan, kept)
    rekeyed(run, lambda job: {"seed": seed})
    run.update_request(spec=run.read_request()["spec"] | {"seeds": [seed]})
    return run


def rekeyed(run, change):
    """Change Jobs of a run, and with them their keys."""
    jobs = [(job, job.model_copy(update=change(job))) for job in run.jobs()]
    for before, after in jobs:
        folder, new = run.job_folder(before), run.job_folder(after)
        record = folder.read_record().but(key=after.key)
        if before.key != after.key:
            folder.path.rename(new.path)
        new.write_record(record)
    write_json(run.plan, [job.model_dump(mode="json") for _, job in jobs])


def table(run):
    frame = results_frame(run.view())
    return frame[[name for name in frame.columns if not name.startswith(tuple(TIMES))]]


def test_pieces_come_to_the_same_as_one_run(whole, apart, tmp_path):
    packed, archive = tmp_path / "first.json", tmp_path / "second.zip"
    publish(apart[0], packed, with_cells=False)
    publish(apart[1], archive, with_cells=True)
    merged = merge(opened([packed, archive], tmp_path / "home"), tmp_path / "merged")
    pd.testing.assert_frame_equal(table(merged), table(whole))
    assert {job.key for job in merged.jobs()} == {job.key for job in whole.jobs()}
    assert merged.read_spec().seeds == (0, 1)
    assert [piece.name for piece in merged.facts().pieces] == ["first", "second"]
    # What went with its cells has them still, and can be scored again.
    sampled = [job for job in merged.jobs() if merged.job_folder(job).cells(0).exists()]
    assert {job.seed for job in sampled if job.experiment.kind == "main"} == {1}
    augmented = [job for job in merged.jobs() if job.experiment.kind == "augmentation"]
    # Both had the same files of these, if under other keys.
    assert [job for job in sampled if job.experiment.kind == "augmentation"] == augmented
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
    assert str(run.read_spec().out) not in file.read_text()
    assert run.read_spec().out.is_absolute()


def test_a_file_that_is_there_is_not_overwritten(apart, tmp_path):
    (tmp_path / "run.json").write_text("mine")
    with pytest.raises(RequestError, match="exists: name another file"):
        publish(apart[0], tmp_path / "run.json", with_cells=False)
    assert (tmp_path / "run.json").read_text() == "mine"


@pytest.mark.parametrize("with_cells", [False, True])
def test_a_generator_of_a_file_is_told_without_its_folder(apart, tmp_path, with_cells):
    run, file = apart[0], tmp_path / "run.pack"
    rekeyed(run, lambda job: {"reference": "/data/secret/mine.py:Mine"} if job.model == "nb_copula" else {})
    publish(run, file, with_cells=with_cells)
    again = unpack(file, tmp_path / "home")
    (record, *_) = [record for record in again.view().records if record.job.model == "nb_copula"]
    assert record.status == "ok"
    assert {job.reference for job in again.jobs() if job.model == "nb_copula"} == {"mine.py:Mine"}
    pd.testing.assert_frame_equal(table(again), table(run))
    jobs = [job for job in again.jobs() if again.job_folder(job).cells(0).exists()]
    assert len(jobs) == (len(again.jobs()) if with_cells else 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cannot read '/data/secret/patients.h5ad'", "cannot read 'patients.h5ad'"),
        ("/data/secret/a.h5ad; /data/secret/b.h5ad", "a.h5ad; b.h5ad"),
        ("https://example.org/a/b.h5ad", "https://example.org/a/b.h5ad"),
        ("doi:10.1093/bioinformatics/btac095", "doi:10.1093/bioinformatics/btac095"),
        ("synthetic:400x60", "synthetic:400x60"),
        ("mmd / real", "mmd / real"),
    ],
)
def test_absolute_paths_lose_their_folders_and_nothing_else_does(text, told):
    assert _elsewhere({"a": [text]}) == {"a": [told]}


def test_a_run_that_was_changed_is_neither_packed_nor_merged_nor_shown(apart, tmp_path):
    score = next(apart[0].path.glob("jobs/*/scores/*-mmd.json"))
    content = read_json(score)
    content["values"]["mmd"] = 0.0
    write_json(score, content)
    with pytest.raises(RequestError, match="changed since it was written"):
        publish(apart[0], tmp_path / "run.json", with_cells=False)
    with pytest.raises(RequestError, match="changed since it was written"):
        opened([apart[0].path, apart[1].path], tmp_path)
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("with_cells", [False, True])
def test_a_file_with_a_flipped_bit_is_refused_in_one_line(apart, tmp_path, with_cells):
    file = tmp_path / "run.pack"
    publish(apart[0], file, with_cells=with_cells)
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(len(whole), size=40):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(flipped))
        home = tmp_path / str(place)
        try:
            unpack(file, home)
        except RequestError as error:
            assert "\n" not in str(error)
            assert not list(home.glob("*"))
            refused += 1
    # A bit of an archive's own book-keeping may mean nothing.
    assert refused >= 38


@pytest.mark.parametrize(
    "change",
    [
        {"name": ".."},
        {"name": ""},
        {"name": "a\0b"},
        {"plan": {}},
        {"augmenters": None},
        {"jobs": {"..": {"record": None, "scores": []}}},
        {"jobs": {"a": {"record": {}, "scores": []}}},
        {"request": {}},
    ],
)
def test_a_pack_that_somebody_wrote_is_refused_in_one_line(apart, tmp_path, change):
    file = tmp_path / "run.json"
    publish(apart[0], file, with_cells=False)
    write_json(file, sealed(read_json(file) | change))
    with pytest.raises(RequestError):
        unpack(file, tmp_path / "home")
    assert not list((tmp_path / "home").rglob("*.json"))


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
    with pytest.raises(RequestError, match="is no name of a file"):
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


def with_spec(**changes):
    return lambda run: with_request(run, spec=run.read_request()["spec"] | changes)


def with_code(run):
    file = next(file for job in run.jobs() for file in run.job_folder(job).scores.glob("*-mmd.json"))
    write_sealed(file, read_json(file) | {"code": "another"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: with_request(run, dataset_key="others"), "differ in their prepared cells"),
        (lambda run: with_request(run, n_cells=7), "differ in their cells a side"),
        (lambda run: with_request(run, protocol_facts={}), "differ in their protocols"),
        (with_spec(profile="quick"), "differ in their profiles"),
        (with_spec(sample_seeds=[0, 1]), "differ in their sample seeds"),
        (lambda run: with_jobs(run, source_hash="another"), "model nb_copula differs in source_hash between"),
        (lambda run: with_jobs(run, budget="7 steps"), "model nb_copula differs in budget between .*7 steps"),
        (with_code, "metric mmd differs in code between"),
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
    assert [machine.cpu_model for machine in view.machines][1:] == ["Another CPU"]
    out = StringIO()
    print_report(view, console=Console(file=out, width=400))
    assert "Another CPU" in out.getvalue()
    assert "(seeds 1): times and memory do not compare" in out.getvalue()


def test_what_both_have_is_united_if_it_is_the_same_and_refused_if_not(apart, tmp_path):
    """Scores of the same cells come together; the same Job with other cells is another run."""
    one, other = (
        RunFolder.open(shutil.copytree(apart[0].path, tmp_path / name)) for name in ("one", "other")
    )
    for file in one.path.glob("jobs/*/scores/*-mmd.json"):
        file.unlink()
    for file in other.path.glob("jobs/*/cells-0.h5ad"):
        file.unlink()
    merged = merge([other, one], tmp_path / "merged")
    assert len(list(merged.path.glob("jobs/*/scores/*-mmd.json"))) > 0
    assert len(list(merged.path.glob("jobs/*/cells-0.h5ad"))) > 0
    score = next(other.path.glob("jobs/*/scores/*-mmd.json"))
    doubled = read_json(score)
    doubled["values"]["mmd"] = 2 * doubled["values"]["mmd"] + 1
    write_sealed(score, doubled)
    with pytest.raises(RequestError, match=r"mmd of .* differs between"):
        merge([apart[0], other], tmp_path / "again")
    job = next(job for job in one.jobs() if one.job_folder(job).read_record().samples)
    folder = one.job_folder(job)
    record = folder.read_record()
    sample = record.samples["0"].but(sha256="0" * 64)
    folder.write_record(record.but(samples={"0": sample}))
    with pytest.raises(RequestError, match="differs in cells between"):
        merge([apart[0], one], tmp_path / "again")
    # Another processor may well draw others: those of the Job that is taken count.
    folder.write_record(folder.read_record().but(machine={"fingerprint": "other"}))
    merged = merge([apart[0], one], tmp_path / "again")
    assert merged.job_folder(job).read_record() == record


def test_merging_leaves_the_pieces_as_they_are(apart, tmp_path):
    apart[0].dataset.chmod(0o600)
    merge(apart, tmp_path / "merged")
    assert apart[0].dataset.stat().st_mode & 0o777 == 0o600


def test_a_job_is_taken_from_where_it_ended_well(apart, tmp_path):
    failing, whole = apart[0], RunFolder.open(shutil.copytree(apart[0].path, tmp_path / "whole"))
    job = failing.jobs()[0]
    folder = failing.job_folder(job)
    folder.write_record(folder.read_record().but(status="failed", reason="an accident"))
    merged = merge([failing, whole], tmp_path / "merged")
    assert merged.job_folder(job).read_record().status == "ok"


def main_jobs(run, *models):
    return {
        (job.model, job.seed): job
        for job in run.jobs()
        if job.experiment.kind == "main" and job.model in (models or (job.model,))
    }


def copied(run, home):
    return RunFolder.open(shutil.copytree(run.path, home))


def test_a_seed_counts_once_whatever_its_threads(whole, unlike, tmp_path):
    assert not {job.key for job in whole.jobs()} & {job.key for job in unlike.jobs()}
    merged = merge([whole, unlike], tmp_path / "merged")
    # Neither more seeds, nor an interval of twice two.
    alone = table(whole)
    assert alone["n_seeds"].unique() == [2]
    pd.testing.assert_frame_equal(table(merged)[alone.columns], alone)
    for before, row in zip(results(whole.view()).rows, results(merged.view()).rows, strict=True):
        assert row.values["mmd"] == before.values["mmd"]
        assert str(row.summary("mmd")) == str(before.summary("mmd"))
    assert main_jobs(merged) == main_jobs(whole)
    other_way = merge([unlike, whole], tmp_path / "other way")
    assert main_jobs(other_way) == main_jobs(unlike)
    assert table(other_way)["n_seeds"].unique() == [2]


def test_scores_that_one_piece_has_of_equal_cells_are_those_of_the_job_that_is_taken(whole, unlike, tmp_path):
    merged = merge([whole, unlike], tmp_path / "merged")
    controls = main_jobs(merged, "real", "shuffle")
    assert controls == main_jobs(whole, "real", "shuffle")
    for place, job in controls.items():
        there = unlike.job_folder(main_jobs(unlike)[place])
        taken, theirs = (
            [score for score in folder.read_scores() if score.metric == "zero_fraction_error"]
            for folder in (merged.job_folder(job), there)
        )
        assert len(taken) == 1
        assert [score.but(key="") for score in taken] == [score.but(key="") for score in theirs]
    # As if scored here: nothing is scored again, and nothing was changed.
    metrics = [resolve_metric(name) for name in ("mmd", "zero_fraction_error")]
    missing = missing_scores(merged, metrics, merged.read_request()["protocols"])
    assert not [task for task in missing if task.job in controls.values()]
    for job in merged.jobs():
        assert merged.job_folder(job).read_record().key == job.key
        assert not merged.job_folder(job).damaged_cells(job.sample_seeds)
    opened([merged.path], tmp_path)


def test_a_job_that_failed_is_taken_from_a_machine_with_other_threads(whole, unlike, tmp_path):
    failing = copied(whole, tmp_path / "failing")
    place = ("nb_copula", 0)
    folder = failing.job_folder(main_jobs(failing)[place])
    folder.write_record(folder.read_record().but(status="failed", reason="an accident", samples={}))
    shutil.rmtree(folder.scores)
    merged = merge([failing, unlike], tmp_path / "merged")
    expected = main_jobs(whole) | {place: main_jobs(unlike)[place]}
    assert main_jobs(merged) == expected
    record = merged.job_folder(expected[place]).read_record()
    assert record == unlike.job_folder(expected[place]).read_record()
    frame = results_frame(merged.view()).set_index("model")
    assert frame.loc["nb_copula", ["status", "reason", "n_seeds"]].to_list() == ["ok", "", 2]


def test_of_other_cells_those_of_the_job_that_is_taken_count(whole, unlike, tmp_path):
    other = copied(unlike, tmp_path / "other")
    place = ("shuffle", 1)
    folder = other.job_folder(main_jobs(other)[place])
    with h5py.File(folder.cells(0), "r+") as file:
        file["X/data"][...] += 1
    record = folder.read_record()
    sample = record.samples["0"].but(sha256=sha256_of(folder.cells(0)))
    folder.write_record(record.but(samples={"0": sample}))
    change_mmd(folder)
    merged = merge([whole, other], tmp_path / "merged")
    job = main_jobs(whole)[place]
    assert merged.job_folder(job).read_scores() == whole.job_folder(job).read_scores()
    # Of equal cells there is one truth, whatever the key.
    change_mmd(other.job_folder(main_jobs(other)["real", 0]))
    with pytest.raises(RequestError, match="mmd of real · seed 0 differs between"):
        merge([whole, other], tmp_path / "again")


def change_mmd(folder):
    file = next(folder.scores.glob("*-mmd.json"))
    content = read_json(file)
    content["values"]["mmd"] += 1
    write_sealed(file, content)


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
    with pytest.raises(RequestError, match=r"--out .*: No such file"):
        site([packed], Path("/proc/board"))
