"""bf16 or fp32: by the hardware first, then by what takes less time."""

import os
from pathlib import Path

import pytest
import torch

from models import precision
from models.activa.settings import Settings
from models.precision import has_bf16_units, settle_precision

LAYERS = [(8, 30), (30, 8)]


@pytest.fixture
def timed(monkeypatch):
    """Have the probe read given seconds, fp32's first, instead of the clock."""

    def set_seconds(*seconds):
        precision._bf16_over_fp32.cache_clear()
        readings = iter(seconds)
        monkeypatch.setattr(precision, "has_bf16_units", lambda device: True)
        monkeypatch.setattr(precision, "_timed", lambda step, device: next(readings))

    yield set_seconds
    precision._bf16_over_fp32.cache_clear()


def settled(**changes):
    return settle_precision(**{"precision": "auto", "rows": 4, "widest": LAYERS, "device": "cpu"} | changes)


def test_what_is_set_stays():
    assert [settled(precision=given).value for given in ("bf16", "fp32")] == ["bf16", "fp32"]


def test_without_units_nothing_is_timed(monkeypatch):
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: False)
    monkeypatch.setattr(precision, "_bf16_over_fp32", lambda *_: pytest.fail("timed"))
    assert settled() == ("fp32", "this CPU has no bf16 units")
    assert settled(device="cuda") == ("fp32", "this GPU has no bf16 units")


@pytest.mark.parametrize(("bf16", "chosen"), [(0.5, "bf16"), (0.95, "bf16"), (0.96, "fp32"), (30.0, "fp32")])
def test_units_alone_are_not_enough(timed, bf16, chosen):
    # A round takes longer than the limit, so there are no more than the least.
    timed(*[1.0, bf16] * 3)
    assert settled() == (chosen, f"products of this model take {bf16:.2g} times as long in bf16 on this CPU")


def test_other_work_on_the_machine_decides_nothing(timed):
    """The least of several rounds counts, which were disturbed in one and in the other."""
    timed(0.2, 0.3, 0.1, 0.05, 0.4, 0.9)
    assert settled().value == "bf16"
    timed(0.2, 0.03, 0.01, 0.05, 0.4, 0.9)
    assert settled().value == "fp32"


def test_the_probe_computes_every_product_of_a_step():
    """Multiply-adds counted by PyTorch against those worked out by hand: three products a layer."""
    from torch.utils.flop_counter import FlopCounterMode

    step = precision._products(4, LAYERS, dtype=torch.float32, device="cpu")
    with FlopCounterMode(display=False) as counter:
        step()
    assert counter.get_total_flops() == 2 * 3 * 2 * 4 * 8 * 30


def test_units_are_those_of_the_processor():
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        pytest.skip("this system does not list the processor's features")
    flags = facts.read_text()
    able = any(name in flags for name in ("avx512_bf16", "amx_bf16", " bf16"))
    held_back = any(name in os.environ for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"))
    if held_back:
        assert has_bf16_units("cpu") <= able
    else:
        assert has_bf16_units("cpu") == able


def test_avx512_without_bf16_is_no_unit(monkeypatch):
    """oneDNN calls such a CPU able, because it can emulate bf16 there."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert not has_bf16_units("cpu")


def test_settings_settle_to_something_that_can_be_trained_with():
    settings = Settings(hidden_sizes=(8,)).settled(n_genes=30, device="cpu")
    assert settings.precision in ("bf16", "fp32")
    assert settings.settled(n_genes=30, device="cpu") == settings
