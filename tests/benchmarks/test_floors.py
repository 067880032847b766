"""Floors of ACTIVA's steps and samples, by hand."""

from dataclasses import asdict

import pytest

from benchmarks.activa import floors
from benchmarks.activa.rates import product_shapes, rate_lines
from models.activa.reference import PlainActiva


@pytest.fixture
def rates():
    seconds = {"encode": 1.0, "decode": 2.0, "encoder_weights": 3.0, "decoder_weights": 4.0}
    seconds |= {"encoder_input": 5.0, "decoder_input": 6.0}
    return floors.Rates(
        product_seconds={"fp32": seconds, "bf16": {name: value / 10 for name, value in seconds.items()}},
        draw_seconds_per_cell={"fp32": 1e-3, "bf16": 1e-4},
        narrow_seconds_per_flop={"fp32": 1e-9, "bf16": 1e-10},
        memory_bytes_per_second=1e9,
        pinned_bytes_per_second=None,
    )


def test_a_product_of_brain_small_is_4_7_gigaflops():
    assert floors.product_flops(128, 17_970) == 2 * 128 * 17_970 * 1024 == 4_710_727_680


def test_parameters_are_those_of_the_networks():
    model = PlainActiva(50, 3)
    players = [*model.encoder.parameters(), *model.decoder.parameters()]
    assert floors.parameters(50) == sum(parameter.numel() for parameter in players)
    assert floors.parameters(17_970) == pytest.approx(38e6, rel=0.01)


def test_adam_moves_seven_numbers_of_four_bytes_for_each_parameter():
    assert floors.optimiser_bytes(50) == 28 * floors.parameters(50)


def test_the_floor_of_a_step_adds_products_and_bytes(rates):
    adam = floors.optimiser_bytes(50) / 1e9
    paper = 3 * 1 + 2 * 2 + 3 * 3 + 2 * 4 + 2 * 5 + 3 * 6
    release = 5 * 1 + 2 * 2 + 3 * 3 + 1 * 4 + 1 * 6
    floor = {
        key: floors.step_floor(rates, objective=key[0], precision=key[1], n_genes=50, batch_size=128)
        for key in (("paper", "fp32"), ("release", "fp32"), ("paper", "bf16"))
    }
    encoder, decoder = 1024 * 512 + 512 * 256 + 256 * 256, 128 * 256 + 256 * 512 + 512 * 1024
    conditioner = 50 * 100 + 100 * 50 + 50 * 25
    narrow = 256e-9 * (9 * encoder + 7 * decoder - 2 * 128 * 256 + 2 * conditioner)
    of_release = 256e-9 * (11 * encoder + 4 * decoder + 2 * conditioner)
    assert floor["paper", "fp32"] == pytest.approx((paper + adam + narrow, paper + adam))
    assert floor["release", "fp32"] == pytest.approx((release + adam + of_release, release + adam))
    assert floor["paper", "bf16"] == pytest.approx((paper / 10 + adam + narrow / 10, paper / 10 + adam))


def test_a_third_of_a_steps_arithmetic_is_narrow_at_2_000_genes_and_4_per_cent_at_17_970():
    shares = {}
    for n_genes in (2_000, 17_970):
        narrow = floors.narrow_flops("paper", batch_size=128, n_genes=n_genes)
        shares[n_genes] = narrow / (narrow + 15 * floors.product_flops(128, n_genes))
    assert shares == {2_000: pytest.approx(0.28, abs=0.01), 17_970: pytest.approx(0.05, abs=0.01)}


def test_without_bf16_units_the_floor_is_that_of_fp32(rates):
    slow = {name: 2 * value for name, value in rates.product_seconds["fp32"].items()}
    facts, fp32 = asdict(rates), rates.product_seconds["fp32"]
    emulated = floors.Rates(**(facts | {"product_seconds": {"fp32": fp32, "bf16": slow}}))
    without = floors.Rates(**(facts | {"product_seconds": {"fp32": fp32}}))
    assert rates.has_bf16_units and not emulated.has_bf16_units and not without.has_bf16_units
    assert "no faster" in rate_lines(emulated, n_genes=50, batch_size=128)[-1]
    assert "has no bf16 units" in rate_lines(without, n_genes=50, batch_size=128)[-1]
    size = {"objective": "paper", "n_genes": 50, "batch_size": 128}
    assert floors.step_floor(without, precision="bf16", **size) == floors.step_floor(
        without, precision="fp32", **size
    )
    floor = floors.sampling_floor(without, n_cells=10, n_genes=50, density=1, precision="bf16")
    assert floor.wide_seconds == 0.01


def test_the_csr_of_brain_small_is_the_issues_0_9_and_9_8_gigabytes():
    assert floors.csr_bytes(100_000, 17_970, 0.06) == pytest.approx(0.86e9, rel=0.01)
    assert floors.csr_bytes(100_000, 17_970, 0.68) == pytest.approx(9.8e9, rel=0.01)


def test_sampling_on_a_gpu_is_bound_by_what_takes_longer(rates):
    facts = asdict(rates)
    narrow = floors.Rates(**(facts | {"pinned_bytes_per_second": 1e3}))
    wide = floors.Rates(**(facts | {"pinned_bytes_per_second": 1e12}))
    size = {"n_cells": 10, "n_genes": 50, "density": 0.5, "precision": "fp32"}
    flops = 2 * (128 * 256 + 256 * 512 + 512 * 1024 + 50 * 100 + 100 * 50 + 50 * 25)
    assert floors.sampling_floor(rates, **size) == pytest.approx((0.01 + 10e-9 * flops, 0.01))
    assert floors.sampling_floor(wide, **size) == pytest.approx((0.01 + 10e-9 * flops, 0.01))
    assert floors.sampling_floor(narrow, **size) == pytest.approx(((8 * 250 + 44) / 1e3,) * 2)


def test_rates_are_told_in_flops(rates):
    lines = rate_lines(rates, n_genes=17_970, batch_size=128)
    assert lines[0].startswith("fp32 products of a step: encode 5, decode 2,")
    assert lines[2] == "memory: 1.0 GB/s, read and written"
    assert len(lines) == 3


def test_the_products_of_a_step_have_the_same_cost():
    shapes = product_shapes(n_genes=17_970, n_rows=128)
    assert {2 * rows * inner * columns for rows, inner, columns in shapes.values()} == {
        2 * 128 * 17_970 * 1024
    }
