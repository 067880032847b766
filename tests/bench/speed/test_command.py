"""``bench speed``: its options, its document, and what its processes import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from bench.errors import WRONG_REQUEST, RequestError
from bench.speed.command import carry_out, request
from bench.speed.workload import Effort, Shape
from tests.places import THROWAWAY

pytestmark = pytest.mark.slow


def test_a_contenders_process_starts_without_pytorch():
    code = "import sys, bench.work.serve; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_options_replace_the_shapes_numbers():
    asked = request(model="activa, mine.py:Mine", quick=True, n_genes=500, repeats=2, device="cpu")
    assert asked.names == ("activa", "mine.py:Mine")
    assert asked.shape == Shape(n_cells=1_280, n_genes=500, n_types=8, sample_cells=4_000)
    assert (asked.effort.repeats, asked.effort.limit_seconds) == (2, 10.0)
    assert request(model="activa", device="cpu").shape == Shape(20_000, 17_970, 8, 100_000)


def test_what_is_left_of_a_bounded_time_is_shared_among_the_measures_to_come():
    bounded = Effort(repeats=3, limit_seconds=10.0, total_seconds=40.0)
    assert bounded.share(4.0, n_left=6).limit_seconds == 6.0
    assert bounded.share(10.0, n_left=2).limit_seconds == 10.0
    assert bounded.share(50.0, n_left=1).limit_seconds == 0.0
    assert Effort(limit_seconds=10.0).share(1e9, n_left=1).limit_seconds == 10.0
    assert request(model="activa", quick=True, device="cpu").effort.total_seconds <= 60
    assert request(model="activa", device="cpu").effort.total_seconds is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": " , "}, "--model ' , ' names nothing"),
        ({"n_genes": 49}, "--genes 49 is too small: give at least 50"),
        ({"n_cells": 100}, "--cells 100 is too small: give at least 200"),
        ({"n_cells": 49, "n_types": 2}, "--cells 49 is too small: give at least 50"),
        (
            {"json": Path("nowhere/speed.json")},
            "--json 'nowhere/speed.json': give a file in a folder that exists",
        ),
        ({"repeats": 0}, "--repeats 0 is too small: give at least 1"),
        ({"device": "tpu"}, "--device 'tpu': choose from auto, cpu, cuda"),
    ],
)
def test_wrong_requests_are_named(options, words):
    with pytest.raises(RequestError, match=words):
        request(**{"model": "activa"} | options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(RequestError, match="PyTorch sees no GPU"):
        request(model="activa", device="cuda")


def test_the_first_model_is_the_baseline_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    asked = request(
        model=f"{THROWAWAY}:Mean,activa",
        device="cpu",
        n_cells=200,
        n_genes=60,
        n_types=2,
        sample_cells=300,
        repeats=1,
        json=tmp_path / "speed.json",
    )
    console = Console(width=100, record=True)
    found = carry_out(asked, console)
    assert json.loads((tmp_path / "speed.json").read_text()) == found
    assert found["models"] == list(asked.names) and len(found["machine"]["fingerprint"]) == 12
    rows = {(row["measure"], row["name"]): row["ratio"] for row in found["rows"]}
    assert list(rows) == [(what, name) for what in ("step", "sampling") for name in ("mean", "activa")]
    assert all((ratio is None) == (name == "mean") for (_, name), ratio in rows.items())
    assert f"baseline: {asked.names[0]}" in console.export_text().replace("\n", "")


def test_bench_speed_names_what_is_wrong():
    command = [sys.executable, "-m", "bench", "speed", "--genes", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == WRONG_REQUEST
    assert done.stderr.startswith("bench: --genes 3 is too small: give at least 50")
