"""What a generator leaves to the machine is decided once, remembered, and part of the Job."""

import json
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import RequestError
from bench.hardware import usable_cores
from bench.request.hyperparameters import hyperparameters
from bench.request.plan import DatasetFacts, make_plan
from bench.request.registry import resolve_model
from bench.request.spec import RunSpec
from bench.results.run_folder import RunFolder
from bench.work import settle
from tests.places import THROWAWAY

FILE = THROWAWAY
FACTS = DatasetFacts(
    "tiny", "key", pd.Series(["a"] * 60), n_genes=7, n_test=20, n_pool=20, augmentation_type="a"
)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))


def jobs(**settings):
    spec = RunSpec.checked(
        models=(f"{FILE}:Settles",), profile="smoke", settings={"settles": settings} if settings else {}
    )
    choices = [resolve_model(spec.models[0])]
    found = settle.all_settled(spec, choices, n_genes=FACTS.n_genes, device="cpu")
    return make_plan(spec, FACTS, choices, device="cpu", with_augmentation=False, settled=found)


def test_the_plan_holds_what_was_settled_and_why():
    (job,) = jobs()
    assert job.hyperparameters == {"arithmetic": "seven"}
    assert job.settled == {"arithmetic": "7 genes on cpu"}


def test_unlike_settings_are_unlike_jobs_and_the_reason_is_no_part_of_the_key():
    (settled,), (given,), (other,) = jobs(), jobs(arithmetic="seven"), jobs(arithmetic="eight")
    assert given.settled == {}
    assert settled.key == given.key
    assert settled.key != other.key


def test_it_is_settled_once_for_a_machine(monkeypatch):
    first = jobs()
    monkeypatch.setattr(settle, "_ask", lambda *_: pytest.fail("asked again"))
    assert jobs() == first


def test_it_is_settled_for_the_threads_of_a_job(monkeypatch):
    asked = []
    answer = {"arithmetic": ["x", "y"]}
    monkeypatch.setattr(settle, "_ask", lambda model, request, threads: asked.append(threads) or answer)
    choice = resolve_model(f"{FILE}:Settles")
    for threads in (3, 3, None):
        settle.settled(choice, {"arithmetic": "auto"}, n_genes=7, device="cpu", threads=threads)
    assert asked == [3, usable_cores()]


@pytest.mark.parametrize("what", ["machine", "genes"])
def test_another_number_of_genes_or_machine_is_asked_anew(monkeypatch, what):
    jobs()
    asked = []
    answer = {"arithmetic": ["x", "y"]}
    monkeypatch.setattr(settle, "_ask", lambda model, request, *_: asked.append(request["n_genes"]) or answer)
    if what == "machine":
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2_OF_A_TEST")
        assert jobs()[0].hyperparameters == {"arithmetic": "x"}
        assert asked == [7]
    else:
        choice = resolve_model(f"{FILE}:Settles")
        settle.settled(choice, {"arithmetic": "auto"}, n_genes=8, device="cpu")
        assert asked == [8]


def test_settings_that_it_does_not_look_at_change_nothing(monkeypatch):
    """An ablation is not to compute in another precision than what it is compared with."""
    asked = []
    answer = {"precision": ["fp32", "so be it"]}
    monkeypatch.setattr(
        settle, "_ask", lambda model, request, *_: asked.append(request["settings"]) or answer
    )
    choice = resolve_model("activa")
    every = hyperparameters(choice.generator)
    for margin in (110.0, 100.0):
        settle.settled(choice, every | {"margin": margin}, n_genes=50, device="cpu")
    settle.settled(choice, every | {"batch_size": 64}, n_genes=50, device="cpu")
    assert [settings["batch_size"] for settings in asked] == [128, 64]


def test_a_cache_that_cannot_be_written_to_costs_only_the_time(tmp_path):
    (tmp_path / "settled").touch()
    assert jobs()[0].hyperparameters == {"arithmetic": "seven"}


def test_nothing_is_asked_where_nothing_is_left_to_the_machine(monkeypatch):
    monkeypatch.setattr(settle, "_ask", lambda *_: pytest.fail("asked"))
    assert jobs(arithmetic="eight")[0].hyperparameters == {"arithmetic": "eight"}


def test_a_generator_that_fails_at_it_is_a_wrong_request():
    choice = resolve_model(f"{FILE}:Settles")
    with pytest.raises(RequestError, match=r"^settles: settings for this machine: KeyError: 'no genes'$"):
        settle.settled(choice, {"arithmetic": "auto"}, n_genes=0, device="cpu")


def test_activa_without_bf16_units_is_fp32_and_nothing_is_timed(monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    choice = resolve_model("activa")
    found = settle.settled(choice, hyperparameters(choice.generator), n_genes=50, device="cpu")
    assert found == {"precision": ("fp32", "this CPU has no bf16 units")}
    (memory,) = Path(settle._memory(choice, {"device": "cpu"}, 1)).parent.glob("*.json")
    assert json.loads(memory.read_text()) == {"precision": ["fp32", "this CPU has no bf16 units"]}


def test_a_run_that_goes_on_keeps_what_was_settled(tmp_path, monkeypatch):
    run = RunFolder.create(tmp_path / "runs", "tiny")
    run.write_request(RunSpec.checked(), jobs())
    monkeypatch.setattr(settle, "_ask", lambda *_: pytest.fail("asked again"))
    (job,) = RunFolder.open(run.path).jobs()
    assert (job.hyperparameters, job.settled) == ({"arithmetic": "seven"}, {"arithmetic": "7 genes on cpu"})
