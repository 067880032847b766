"""Rounds, ratios and the table of `bench.speed`, by hand."""

import json

import pytest
from rich.console import Console

from bench.speed.rounds import best_of, interleave
from bench.speed.table import compare, duration, failed_row, row, speed_table
from bench.work.clock import once


def test_contenders_take_turns_until_their_repeats_or_the_limit():
    turns = []

    def contender(name, seconds):
        return lambda: turns.append(name) or seconds

    both = {"a": contender("a", 1.0), "b": contender("b", 2.0)}
    assert interleave(both, repeats=2, limit_seconds=100) == {"a": [1.0, 1.0], "b": [2.0, 2.0]}
    assert turns == ["a", "b", "a", "b"]
    assert interleave(both, repeats=9, limit_seconds=5) == {"a": [1.0, 1.0], "b": [2.0, 2.0]}
    assert interleave(both, repeats=9, limit_seconds=0) == {"a": [1.0], "b": [2.0]}


def test_a_call_is_timed_between_two_waits():
    events = []
    assert once(lambda: events.append("work"), lambda: events.append("wait")) >= 0
    assert events == ["wait", "work", "wait"]


def test_the_best_of_five_follows_one_untimed_call():
    calls = []
    best_of(lambda: calls.append(1), synchronise=lambda: None)
    assert len(calls) == 6


def test_a_comparison_by_hand():
    found = compare([2.0, 1.0, 4.0], baseline=[6.0, 5.0, 7.0], floor_seconds=0.5)
    assert found == {
        "repeats": 3,
        "median_seconds": 2.0,
        "min_seconds": 1.0,
        "max_seconds": 4.0,
        "mad_seconds": 1.0,
        "floor_seconds": 0.5,
        "times_floor": 4.0,
        "baseline": {"median_seconds": 6.0, "min_seconds": 5.0, "max_seconds": 7.0, "mad_seconds": 1.0},
        "ratio": 3.0,
        "ratio_min": 7 / 4,
        "ratio_max": 5.0,
    }


def test_without_baseline_and_floor_there_are_no_ratios():
    found = compare([2.0], baseline=None, floor_seconds=None)
    assert [found[name] for name in ("baseline", "ratio", "ratio_min", "ratio_max", "times_floor")] == [
        None
    ] * 5


def test_rounds_of_unequal_length_are_refused():
    with pytest.raises(ValueError):
        compare([1.0, 2.0], baseline=[1.0], floor_seconds=None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (12.345, "12.3 s"), (1.0, "1 s"), (0.0987, "98.7 ms"), (2.5e-5, "25 µs")],
)
def test_durations_have_three_figures(seconds, words):
    assert duration(seconds) == words


def test_the_table_shows_ratios_notes_and_failures():
    rows = [
        row("step", "paper, bf16", [0.2], baseline=[0.5], floor_seconds=0.1, steps=50),
        row("sampling", "fp32", [3.0], baseline=None, n_cells=10, density=0.0625),
        failed_row("step", "mine", "no GPU"),
    ]
    console = Console(width=100, record=True)
    console.print(speed_table(rows, title="title", caption="baseline: the release;"))
    text = console.export_text()
    first = next(line for line in text.splitlines() if "paper, bf16" in line)
    assert first.split()[3:] == ["200", "ms", "–", "500", "ms", "2.50", "100", "ms", "2.00"]
    assert (
        "1 repeat of 50 steps" in text
        and "baseline: the release;" in text
        and "10 cells, 6.2 % non-zero" in text
        and "no GPU" in text
    )
    assert json.loads(json.dumps(rows)) == rows


def test_without_floors_the_table_has_no_column_for_them():
    console = Console(width=100, record=True)
    rows = [row("step", "mine", [0.2], baseline=[0.5])]
    rows.append(row("step", "slow", [1_000.0], baseline=[0.5]))
    console.print(speed_table(rows, title="title", caption="baseline: yours"))
    text = console.export_text()
    # A ratio is never shown as none at all.
    assert "floor" not in text and "2.50" in text and "0.0005" in text
