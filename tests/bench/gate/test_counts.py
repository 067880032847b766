"""The deterministic tier: what is counted, and what counts as more."""

import gc
import math

import pytest

from bench.errors import RequestError
from bench.gate.baseline import Baseline
from bench.gate.counts import (
    accepted_counts,
    check_counts,
    choose_target,
    compare_count,
    compare_counts,
    count_model,
    smoothed,
    steps_to,
)
from tests.places import GATED

pytestmark = pytest.mark.slow

GENERATORS = GATED


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def stored():
    return accepted_counts(f"{GENERATORS}:Tiny")


@pytest.fixture(scope="module")
def again():
    return count_model(f"{GENERATORS}:Tiny")


def test_torch_operators_worked_by_hand():
    import torch

    from bench.work.counting_torch import OperatorCounter

    with OperatorCounter() as counter:
        a = torch.ones(4)
        b = a + a
        b.add_(1)
        b.view(2, 2)
        # ones, add, add_, view; 16 bytes written by all but the view, memory taken by the first two.
        assert counter.totals() == {"operators": 4, "bytes written": 48, "allocations": 2}
        assert counter.peaks() == {"peak bytes": 32}
        del a
        gc.collect()
        torch.zeros(2)
        # b stays; 8 bytes come and go beside it.
        assert counter.peaks() == {"peak bytes": 32}
        assert counter.peaks() == {"peak bytes": 16}
        torch.zeros(4)
        assert counter.peaks() == {"peak bytes": 32}
    torch.ones(4)
    assert counter.totals()["operators"] == 6


def test_torch_backward_and_optimiser_are_counted():
    import torch

    from bench.work.counting_torch import OperatorCounter

    weight = torch.ones(3, requires_grad=True)
    optimiser = torch.optim.SGD([weight], lr=1.0, foreach=False)
    with OperatorCounter() as counter:
        (weight * 2).sum().backward()
        forward_and_backward = counter.totals()["operators"]
        optimiser.step()
    # At least mul, sum, ones_like, expand and mul; then an addition in place.
    assert forward_and_backward >= 5
    assert counter.totals()["operators"] > forward_and_backward


def test_tensorflow_operators_of_graphs_and_calls():
    tf = pytest.importorskip("tensorflow")
    from bench.work.counting import TensorFlowCounter

    def counted(function):
        with TensorFlowCounter() as counter:
            graph = tf.function(function)
            for _ in range(3):
                graph(two)
        return counter.totals()

    two = tf.constant(2.0)
    fewer, more = counted(lambda x: tf.exp(x)), counted(lambda x: tf.exp(tf.exp(x)))
    assert more["graph operators"] == fewer["graph operators"] + 1
    assert fewer["called operators"] == more["called operators"] == 3


def test_the_same_code_counts_the_same(stored, again):
    findings = compare_counts("tiny", stored, again)
    assert {finding.measure for finding in findings} >= {
        "training steps",
        "step operators",
        "fit operators",
        "fit bytes written",
        "fit allocations",
        "fit peak bytes",
        "sample operators",
        "steps to loss",
    }
    assert {finding.status for finding in findings} == {"no regression"}
    assert stored["counts"]["training steps"] == 300
    # zeros, the decoder's transposed weight, addmm and relu, besides what keeps no account.
    assert 4 <= stored["counts"]["sample operators"] <= 8


def test_an_operator_more_in_every_step_is_a_regression(stored):
    found = count_model(f"{GENERATORS}:OneOperatorMore")
    by_measure = {finding.measure: finding for finding in compare_counts("tiny", stored, found)}
    step, fit = by_measure["step operators"], by_measure["fit operators"]
    assert step.status == fit.status == "regression"
    assert step.current == step.baseline + 1 and fit.current == fit.baseline + 300
    assert (
        by_measure["step bytes written"].current - by_measure["step bytes written"].baseline == 64 * 200 * 4
    )
    assert by_measure["sample operators"].status == by_measure["steps to loss"].status == "no regression"
    # And the way back is an improvement.
    back = {
        finding.measure: finding
        for finding in compare_counts(
            "tiny",
            {**found, "loss": None},
            {
                "counts": stored["counts"],
                "curve": [],
                "versions": stored["versions"],
                "workload": stored["workload"],
            },
        )
    }
    assert back["step operators"].status == "better"


@pytest.mark.parametrize(
    ("stored", "now", "status"), [(0, 5, "regression"), (5, 0, "better"), (0, 0, "no regression")]
)
def test_none_is_a_count_too(stored, now, status):
    finding = compare_count("counts", "mine", "sample allocations", stored, now)
    assert (finding.status, finding.baseline, finding.current) == (status, stored, now)
    assert finding.ratio is None or status == "better"
    assert (finding.note == "there was none") == (status == "regression")


def test_what_is_done_for_the_first_time_is_a_regression(again):
    nothing = accepted_counts(f"{GENERATORS}:DrawsNothing")
    assert nothing["counts"]["sample operators"] == nothing["counts"]["sample allocations"] == 0
    first = {finding.measure: finding for finding in compare_counts("tiny", nothing, again)}
    assert first["sample operators"].status == first["sample allocations"].status == "regression"
    assert first["fit operators"].status == "no regression"


def test_other_versions_do_not_compare(stored, again):
    [finding] = compare_counts("tiny", stored, again | {"versions": {"torch": "9.9.9"}})
    assert finding.status == "not comparable" and "here it is 9.9.9" in finding.note
    release = stored["versions"]["torch"].partition("+")[0]
    same = compare_counts("tiny", stored, again | {"versions": {"torch": f"{release}+cu999"}})
    assert {finding.status for finding in same} == {"no regression"}
    [unknown] = compare_counts("tiny", None, again)
    assert unknown.status == "not comparable" and "--accept" in unknown.note


def test_a_loss_that_comes_later_or_never_is_a_regression(stored, again):
    def judged(factor):
        curve = [point | {"steps": point["steps"] * factor} for point in again["curve"]]
        return next(
            finding
            for finding in compare_counts("tiny", stored, again | {"curve": curve})
            if finding.measure == "steps to loss"
        )

    assert [judged(factor).status for factor in (1.2, 1.3, 0.7)] == ["no regression", "regression", "better"]
    flat = [point | {"values": {"loss": 1e9}} for point in again["curve"]]
    lost = [
        f for f in compare_counts("tiny", stored, again | {"curve": flat}) if f.measure == "steps to loss"
    ]
    assert lost[0].status == "regression" and "not reached" in lost[0].note


def test_the_loss_to_watch_and_the_steps_to_it_worked_by_hand():
    def point(phase, steps, **values):
        return {"phase": phase, "steps": steps, "values": values}

    # Means of five: b 10, 8, 6, 4; a 10, 9, 8, 7; c rises; d comes down and goes up again: 50, 40, 50, 40.
    logged = {
        "a": [12, 11, 10, 9, 8, 7, 6, 5],
        "b": [14, 12, 10, 8, 6, 4, 2, 0],
        "c": [1, 2, 3, 4, 5, 6, 7, 8],
        "d": [50, 50, 50, 50, 50, 0, 100, 0],
    }
    curve = [point("early", step, b=100.0 / step) for step in range(1, 9)]
    curve += [
        point("long", 1 + 20 * number, **{name: float(values[number]) for name, values in logged.items()})
        for number in range(8)
    ]
    assert smoothed(curve, "long", "b") == [(81, 10), (101, 8), (121, 6), (141, 4)]
    target = choose_target(curve)
    assert target == {"phase": "long", "name": "b", "value": 7.0}
    # From 8 at 101 to 6 at 121.
    assert steps_to(curve, target) == 111
    assert steps_to(curve, target | {"value": 10.0}) == 81
    assert steps_to(curve, target | {"value": 3.9}) is None
    assert choose_target([point("long", step, c=1.0 - 0.01 * step) for step in range(9)]) is None
    assert choose_target([]) is None


@pytest.mark.parametrize("end", [-1e-3, -29226.5, math.nan, math.inf])
def test_a_critic_that_falls_below_nothing_is_no_loss_to_wait_for(end):
    def curve(last):
        values = [64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, last]
        return [{"phase": "adversarial", "steps": n, "values": {"critic": v}} for n, v in enumerate(values)]

    assert choose_target(curve(0.0))["name"] == "critic"
    assert choose_target(curve(end)) is None


@pytest.mark.parametrize(
    ("kind", "status", "note"),
    [("Refuses", "not comparable", "needs spliced counts"), ("Breaks", "failed", "ValueError: no such gene")],
)
def test_what_cannot_be_counted_is_named(kind, status, note):
    model = f"{GENERATORS}:{kind}"
    [finding] = check_counts(Baseline(), (model,)).findings
    assert (finding.status, finding.note) == (status, note)


def test_what_cannot_be_counted_is_not_accepted():
    with pytest.raises(RequestError, match="Refuses: needs spliced counts"):
        accepted_counts(f"{GENERATORS}:Refuses")


def test_a_generator_without_a_framework_has_its_steps_counted():
    model = f"{GENERATORS}:Plain"
    accepted = accepted_counts(model)
    assert accepted["counts"] == {"training steps": 300} and accepted["loss"] is None
    outcome = check_counts(Baseline({model: accepted}), ())
    assert [finding.status for finding in outcome.findings] == ["no regression"]
    assert "no operators to count" in outcome.remarks[0]


def test_a_framework_that_does_nothing_has_no_counts():
    found = count_model(f"{GENERATORS}:Idle")
    assert (found["counts"], found["versions"]) == ({"training steps": 300}, {})


def test_counts_are_of_the_settings_that_were_accepted():
    """On a machine that settles otherwise, what was counted is counted again."""
    model = f"{GENERATORS}:Settles"
    settled = count_model(model)
    assert settled["settings"] == {"operators": 2}
    as_accepted = accepted_counts(model, {"operators": 3})
    assert as_accepted["settings"] == {"operators": 3}
    assert as_accepted["counts"]["sample operators"] == settled["counts"]["sample operators"] + 1
    outcome = check_counts(Baseline({model: as_accepted}), ())
    assert {finding.status for finding in outcome.findings} == {"no regression"}
