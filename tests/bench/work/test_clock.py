import json

import pytest

from bench.work.clock import PhaseClock, repeat, summarise, training_rate


class FakeTime:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def passes(self, seconds):
        self.now += seconds


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def clock(time):
    return PhaseClock(timer=time)


def test_outer_phases_include_inner_ones_and_repeated_ones_add_up(clock, time):
    time.passes(7)
    with clock.phase("fit"):
        time.passes(1)
        for length in (2, 4):
            with clock.phase("warm_up"):
                assert clock.current == "fit/warm_up"
                time.passes(length)
        assert clock.current == "fit"
    time.passes(9)
    with clock.phase("sample"):
        time.passes(3)
    assert clock.current == ""
    assert clock.seconds == {"fit": 7, "fit/warm_up": 6, "sample": 3}
    assert list(clock.seconds) == ["fit", "fit/warm_up", "sample"]


def test_a_pause_costs_no_open_phase_anything(clock, time):
    with clock.phase("fit"), clock.phase("adversarial"):
        time.passes(1)
        with clock.pause():
            assert clock.current == "paused"
            time.passes(10)
            with clock.phase("write"):
                time.passes(20)
        assert clock.current == "fit/adversarial"
        time.passes(2)
    assert clock.seconds == {"fit": 3, "fit/adversarial": 3, "paused": 30, "paused/write": 20}


def test_a_pause_inside_a_pause_counts_once(clock, time):
    with clock.phase("fit"):
        with clock.pause():
            time.passes(1)
            with clock.pause():
                time.passes(2)
        time.passes(4)
    assert clock.seconds == {"fit": 4, "paused": 3}


def test_exceptions_close_phases_and_tell_where(clock, time):
    with pytest.raises(ZeroDivisionError), clock.phase("fit"), clock.phase("classifier"):
        time.passes(5)
        _ = 1 / 0
    assert clock.current == ""
    assert clock.seconds == {"fit": 5, "fit/classifier": 5}
    assert clock.failed_phase == "fit/classifier"


def test_a_handled_exception_is_not_the_failure(clock):
    with pytest.raises(KeyError), clock.phase("fit"):
        with pytest.raises(ZeroDivisionError), clock.phase("warm_up"):
            _ = 1 / 0
        with clock.phase("adversarial"):
            pass
        raise KeyError
    assert clock.failed_phase == "fit"


def test_an_exception_in_a_pause_resumes_the_phases(clock, time):
    with clock.phase("fit"):
        with pytest.raises(OSError), clock.pause():
            time.passes(8)
            raise OSError
        assert clock.current == "fit"
        time.passes(1)
    assert clock.seconds == {"fit": 1, "paused": 8}


def test_the_device_is_synchronised_before_every_reading(time):
    events = []

    def read():
        events.append("read")
        return time()

    clock = PhaseClock(timer=read)
    clock.synchronise = lambda: events.append("synchronise")
    events.clear()
    with clock.phase("fit"), clock.pause():
        clock.export()
    assert events == ["synchronise", "read"] * 5


def test_time_the_device_still_needs_belongs_to_the_phase(clock, time):
    clock.synchronise = lambda: time.passes(3)
    with clock.phase("fit"):
        time.passes(1)
    assert clock.seconds == {"fit": 4}


def test_a_device_that_fails_at_the_end_of_a_phase_leaves_a_whole_clock(clock, time):
    def broken():
        raise RuntimeError("device lost")

    with pytest.raises(RuntimeError, match="device lost"), clock.phase("fit"):
        time.passes(6)
        clock.synchronise = broken
    assert (clock.current, clock.failed_phase, clock.seconds) == ("", "fit", {"fit": 6})


def test_steps_belong_to_the_innermost_phase(clock):
    with clock.phase("fit"):
        for name, n_steps in (("warm_up", 5), ("adversarial", 7)):
            with clock.phase(name):
                clock.add_steps(n_steps)
                clock.add_steps(1)
    assert clock.steps == {"warm_up": 6, "adversarial": 8}
    with pytest.raises(RuntimeError, match="no phase"):
        clock.add_steps(1)


@pytest.mark.parametrize("name", ["", "a/b", "paused"])
def test_phase_names_that_would_confuse_are_refused(clock, name):
    with pytest.raises(ValueError, match="name it"), clock.phase(name):
        pass


def test_a_resumed_training_goes_on_counting(clock, time):
    with clock.phase("load"):
        time.passes(50)
    with clock.phase("fit"), clock.phase("adversarial"):
        time.passes(10)
        clock.add_steps(100)
        with clock.pause():
            time.passes(30)
            exported = json.loads(json.dumps(clock.export()))
        time.passes(1000)

    resumed = PhaseClock(timer=time)
    with resumed.phase("load"):
        time.passes(2)
    resumed.restore(exported)
    with resumed.phase("fit"), resumed.phase("adversarial"):
        time.passes(5)
        resumed.add_steps(40)
    assert resumed.seconds == {"load": 2, "fit": 15, "fit/adversarial": 15}
    assert resumed.steps == {"adversarial": 140}


def test_export_takes_the_phases_asked_for(clock, time):
    for name in ("load", "prepare", "fit", "fitting"):
        with clock.phase(name):
            time.passes(1)
    assert clock.export("prepare", "fit") == {"seconds": {"prepare": 1, "fit": 1}, "steps": {}}


def test_training_rate_by_hand():
    seconds = {
        "load": 9.0,
        "fit": 31.0,
        "fit/compile": 4.0,
        "fit/classifier": 2.0,
        "fit/adversarial": 25.0,
        "fit/adversarial/compile": 5.0,
        "paused": 8.0,
        "sample": 1.0,
    }
    steps = {"compile": 900, "classifier": 20, "adversarial": 200, "sample": 800}
    assert training_rate(seconds, steps) == {"seconds": 22.0, "steps": 200, "steps_per_second": 10.0}


def test_training_rate_of_a_phase_in_two_places_and_of_none():
    seconds = {"fit": 10.0, "fit/a": 4.0, "fit/a/critic": 3.0, "fit/b": 6.0, "fit/b/critic": 5.0}
    assert training_rate(seconds, {"critic": 16}) == {"seconds": 10.0, "steps": 16, "steps_per_second": 2.0}
    assert training_rate({"fit": 2.0}, {"fit": 6}) == {"seconds": 2.0, "steps": 6, "steps_per_second": 3.0}
    assert training_rate({"fit": 2.0}, {}) == {"seconds": 2.0, "steps": 0, "steps_per_second": None}
    assert training_rate({"load": 2.0}, {}) is None


@pytest.mark.parametrize(
    ("repeats", "limit_seconds", "expected"),
    [
        (3, 1000, [4, 5, 6]),
        (9, 9, [4, 5]),
        (9, 9.5, [4, 5, 6]),
        (9, 0, [4]),
    ],
)
def test_repeat_warms_up_once_and_stops_at_its_limit(time, repeats, limit_seconds, expected):
    lengths = iter(range(4, 99))
    warmed_up = []

    def warm_up():
        warmed_up.append(True)
        time.passes(500)

    seconds = repeat(
        lambda: time.passes(next(lengths)),
        warm_up=warm_up,
        synchronise=lambda: None,
        repeats=repeats,
        limit_seconds=limit_seconds,
        timer=time,
    )
    assert seconds == expected
    assert warmed_up == [True]


def test_repeat_waits_for_the_device_and_not_for_the_disposal(time):
    class Result:
        def __del__(self):
            time.passes(100)

    pending = [20]

    def function():
        pending.append(3)
        return Result()

    def synchronise():
        time.passes(sum(pending))
        pending.clear()

    seconds = repeat(
        function, warm_up=lambda: None, synchronise=synchronise, repeats=2, limit_seconds=1e9, timer=time
    )
    assert seconds == [3, 3]


def test_summarise_by_hand():
    assert summarise([1.0, 2.0, 4.0, 9.0]) == {
        "median_seconds": 3.0,
        "min_seconds": 1.0,
        "max_seconds": 9.0,
        "mad_seconds": 1.5,
    }
