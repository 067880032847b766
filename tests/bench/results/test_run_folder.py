import shutil

import numpy as np
import pytest

from bench.errors import RequestError
from bench.results.files import read_json, whole_folder, write_json
from bench.results.run_folder import RunFolder


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "record.json"
    write_json(file, {"value": np.float64(1.5), "path": tmp_path})
    with pytest.raises(TypeError):
        write_json(file, {"value": object()})
    assert read_json(file) == {"value": 1.5, "path": str(tmp_path)}
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    with whole_folder(target) as folder:
        (folder / "weights").write_text("first")
    with pytest.raises(RuntimeError), whole_folder(target) as folder:
        (folder / "weights").write_text("second")
        raise RuntimeError
    assert (target / "weights").read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_run_folders_never_share_a_name(tmp_path):
    made = {RunFolder.create(tmp_path, "tiny").path for _ in range(4)}
    assert len(made) == 4


def test_what_is_no_run_folder(tmp_path):
    with pytest.raises(RequestError, match="is not a run folder"):
        RunFolder.open(tmp_path)


def test_one_process_at_a_time_works_on_a_run(tmp_path):
    run = RunFolder.create(tmp_path, "tiny")
    with (
        run.locked(),
        pytest.raises(RequestError, match="another bench process"),
        RunFolder(run.path).locked(),
    ):
        pass
    with run.locked():
        pass


def test_a_swap_cut_short_leaves_a_whole_folder(tmp_path, monkeypatch):
    target = tmp_path / "checkpoint"
    with whole_folder(target) as folder:
        (folder / "state").write_text("first")

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt), whole_folder(target) as folder:
        (folder / "state").write_text("second")
    assert (target / "state").read_text() == "second"


def test_files_of_a_run_have_one_mode(tmp_path):
    """Weights, say, are written by a library that leaves them readable by their owner alone."""
    with whole_folder(tmp_path / "model") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").touch(mode=0o600)
        (folder / "facts.json").touch()
    modes = {file.stat().st_mode & 0o777 for file in (tmp_path / "model").rglob("*") if file.is_file()}
    assert len(modes) == 1
