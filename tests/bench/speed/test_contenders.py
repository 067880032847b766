"""Generators that take turns, each in a process of its own."""

import pytest

from bench.speed.contenders import measure_contenders, train_in_turns
from bench.speed.workload import Effort, Request, Shape
from bench.work.paced import PacedMonitor
from tests.places import THROWAWAY

pytestmark = pytest.mark.slow


def test_a_block_lies_within_one_phase_and_ends_with_a_turn():
    now, turns = [0.0], []
    monitor = PacedMonitor(
        steps=2, turn=lambda phase, seconds: turns.append((phase, seconds)), timer=lambda: now[0]
    )

    def advance(seconds, steps=1):
        now[0] += seconds
        monitor.advance(0.5, steps=steps)

    with monitor.phase("warm_up"):
        advance(100)  # the first step of a phase may compile
        advance(1)
        advance(3)
        advance(5)  # begins a block that the phase does not finish
    with monitor.phase("game"):
        advance(100)
        advance(6, steps=3)
    assert turns == [("warm_up", 2.0), ("game", 2.0)]


def test_a_block_in_which_something_was_compiled_is_not_timed():
    now, turns = [0.0], []
    monitor = PacedMonitor(steps=1, turn=lambda _, seconds: turns.append(seconds), timer=lambda: now[0])
    with monitor.phase("game"):
        for seconds in (9, 1, 2):
            if seconds == 1:
                with monitor.phase("compile"):
                    now[0] += 50
            now[0] += seconds
            monitor.advance(0.5)
    assert turns == [2.0]


class Scripted:
    failure = None

    def __init__(self, calls, name, answers):
        self.calls, self.name, self.answers = calls, name, iter(answers)

    def turn(self, do, *, steps):
        assert (do, steps) == ("train", 3)
        self.calls.append(self.name)
        return next(self.answers)


def test_training_takes_turns_and_keeps_the_busiest_phase():
    calls = []
    block = [{"phase": phase, "seconds": seconds} for phase, seconds in (("a", 9), ("b", 1), ("b", 2))]
    contenders = {
        "long": Scripted(calls, "long", [*block, {"trained": True}]),
        "short": Scripted(calls, "short", [{"phase": "b", "seconds": 5}, {}]),
        "still": Scripted(calls, "still", [{"trained": True}]),
    }
    assert train_in_turns(contenders, steps=3) == {"long": [1, 2], "short": [5], "still": []}
    assert calls == ["long", "short", "still", "long", "short", "long", "long"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        names = ("activa", f"{THROWAWAY}:Mean", f"{THROWAWAY}:Raises")
        shape = Shape(n_cells=200, n_genes=60, n_types=2, sample_cells=500)
        effort = Effort(repeats=2, limit_seconds=3000)
        found = measure_contenders(Request(names, shape, effort, "cpu", None), folder=folder)
    return {(row["measure"], row["name"]): row for row in found}


def test_every_contender_has_a_row_for_each_measure(rows):
    assert list(rows) == [
        (measure, name) for measure in ("step", "sampling") for name in ("activa", "mean", "raises")
    ]


def test_a_third_partys_generator_is_compared_with_the_first(rows):
    step = rows["step", "mean"]
    # 8 steps are allowed; the first of a phase is not timed.
    assert step["repeats"] == len(step["seconds"])
    activa = rows["step", "activa"]
    assert activa["ratio"] is None
    assert step["ratio"] == pytest.approx(activa["median_seconds"] / step["median_seconds"])
    sampling = rows["sampling", "mean"]
    assert sampling["repeats"] == 2 and sampling["n_cells"] == 500
    assert 0 < sampling["density"] < 1
    assert sampling["ratio"] == pytest.approx(
        rows["sampling", "activa"]["median_seconds"] / sampling["median_seconds"]
    )


def test_a_failure_is_a_row(rows):
    for measure in ("step", "sampling"):
        assert rows[measure, "raises"]["failed"] == "KeyError: 'a gene is missing'"
