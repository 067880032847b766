"""Base and head take turns until the looks have decided."""

import numpy as np
import pytest

from bench.gate.looks import FACTOR
from bench.gate.wall_clock import BASE, HEAD, found_in, take_pairs
from bench.work import opened as opening


class Scripted:
    """A side that takes as long as it is told, by what it is asked."""

    def __init__(self, name, calls, **seconds):
        self.name, self.calls, self.seconds = name, calls, seconds

    def __call__(self, action):
        self.calls.append((self.name, action))
        if action == "fit":
            return {name: self.seconds[name] for name in ("fit", "step") if name in self.seconds}
        return {"sample": self.seconds["sample"]} if action == "sample" else {"kernel": 1.0}


def taken(base, head, seed=0):
    calls = []
    sides = {BASE: Scripted(BASE, calls, **base), HEAD: Scripted(HEAD, calls, **head)}
    return take_pairs(sides, factor=FACTOR, n_measures=1, rng=np.random.default_rng(seed)), calls


def test_nine_pairs_decide_clear_cases_in_an_order_that_is_drawn():
    pairs, calls = taken({"fit": 2.0, "step": 0.2, "sample": 1.0}, {"fit": 2.0, "step": 0.26, "sample": 0.5})
    verdicts = {name: judgement.verdict for name, judgement in pairs.judgements.items()}
    assert verdicts == {"step": "regression", "fit": "no regression", "sample": "no regression"}
    assert {len(values) for side in pairs.seconds.values() for values in side.values()} == {9}
    # Three untimed calls of each side, then nine rounds of three pairs.
    assert len(calls) == 6 + 54
    firsts = [name for name, action in calls[6::2]]
    assert 5 < firsts.count(BASE) < 22
    assert (
        calls == taken({"fit": 2.0, "step": 0.2, "sample": 1.0}, {"fit": 2.0, "step": 0.26, "sample": 0.5})[1]
    )
    assert (
        calls != taken({"fit": 2.0, "step": 1.0, "sample": 1.0}, {"fit": 2.0, "step": 1, "sample": 1}, 1)[1]
    )


def test_what_is_open_goes_on_and_what_is_decided_does_not():
    rng = np.random.default_rng(0)

    class Noisy(Scripted):
        def __call__(self, action):
            found = super().__call__(action)
            return {"sample": float(np.exp(rng.normal(0, 2)))} if action == "sample" else found

    calls = []
    sides = {name: Noisy(name, calls, fit=1.0) for name in (BASE, HEAD)}
    for side in sides.values():
        side.seconds["sample"] = 1.0
    pairs = take_pairs(sides, factor=FACTOR, n_measures=3, rng=np.random.default_rng(0))
    assert pairs.judgements["sample"].verdict == "undecided"
    assert len(pairs.seconds[BASE]["sample"]) == len(pairs.seconds[BASE]["kernel"]) == 25
    assert len(pairs.seconds[BASE]["fit"]) == 9


def test_findings_tell_medians_bounds_and_the_kernel():
    pairs, _ = taken({"fit": 2.0, "sample": 1.0}, {"fit": 2.0, "step": 0.2, "sample": 1.3})
    outcome = found_in("mine", pairs)
    by_measure = {finding.measure: finding for finding in outcome.findings}
    assert by_measure["step"].status == "not comparable"
    sample = by_measure["sample"]
    assert (sample.status, sample.baseline, sample.current) == ("regression", 1.0, 1.3)
    assert sample.ratio == pytest.approx(1.3) and sample.note == "1.3 × the kernel"
    assert sample.allowed == "1.300 … 1.300, 9 pairs"
    assert "took 1.000 × as long" in outcome.remarks[0]
    assert outcome.exit_code == 3


def test_one_interrupted_call_of_the_kernel_does_not_make_its_time(monkeypatch):
    calls = iter([0.020, 0.090, 0.021, 0.022, 0.019])
    monkeypatch.setattr(opening, "once", lambda function, synchronise: next(calls))
    # Without the cells and the generator that opening takes.
    opened = opening.Opened.__new__(opening.Opened)
    assert opened.calibrate() == {"seconds": {"kernel": 0.021}}
