"""What is shown of work that goes on: bars on a terminal, elsewhere a line now and then."""

import io
import itertools
from threading import Event

import pytest
from rich.console import Console

from bench import progress
from bench.progress import Progress


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """Keeps each line with the time at which it was written."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.lines = clock, []

    def write(self, text):
        self.lines += [(self.clock.now, line) for line in text.splitlines() if line.strip()]
        return len(text)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def screen(clock, monkeypatch):
    # Nothing beats by itself: the tests do, on their own clock.
    monkeypatch.setattr(progress, "BEAT_SECONDS", 3600.0)
    return Terminal(clock)


@pytest.fixture
def shown(clock, screen):
    return Progress(Console(file=screen, width=200), clock=clock)


def test_a_long_job_is_heard_of_every_half_minute_and_no_oftener(clock, screen, shown):
    with shown.stage("training", total=17) as stage:
        for tenth in range(6000):
            clock.now = 1000 + tenth / 10
            part = {"title": "activa · seed 0", "phase": "fit", "fraction": tenth / 6000}
            stage.follow(part, left=f"about {600 - tenth // 10} s left", run_left="run: about 20 min left")
            if tenth % 10 == 0:
                stage.beat()
        stage.done("activa · seed 0", "ok")
    times = [time for time, _ in screen.lines]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert max(gaps) <= 30
    # But for the last line, which tells the end.
    assert min(gaps[:-1]) >= 25
    assert screen.lines[0] == (1000.0, "training …")
    assert screen.lines[1] == (
        1025.0,
        "  training 1 of 17 · activa · seed 0 · fit 4 % · about 575 s left · run: about 20 min left",
    )
    assert screen.lines[-1][1] == "  activa · seed 0: ok"


def test_what_was_just_said_is_not_said_again(clock, screen, shown):
    with shown.stage("training", total=2) as stage:
        stage.follow({"title": "a"})
        clock.now += 20
        shown.say("something else")
        clock.now += 20
        stage.beat()
        clock.now += 5
        stage.beat()
    assert [line for _, line in screen.lines] == ["training …", "something else", "  training 1 of 2 · a"]


def test_parts_that_go_on_at_once_have_a_line_each(clock, screen, shown):
    with shown.stage("training", total=3) as stage:
        stage.follow({"title": "a", "phase": "fit"})
        stage.follow({"title": "b"})
        stage.done("a", "ok")
        stage.follow({"title": "c", "fraction": 0.5})
        clock.now += 25
        stage.beat()
    assert [line for _, line in screen.lines[2:]] == ["  training 2 of 3 · b", "  training 2 of 3 · c 50 %"]


def test_scores_follow_one_another_and_know_how_many_they_are(clock, screen, shown):
    with shown.stage("scoring", total=None) as stage:
        stage.only(None)
        for number in range(3):
            part = {"title": f"model {number}", "phase": "mmd, strict", "done": number, "total": 79}
            stage.only(part, run_left="run: about 2 min left")
        clock.now += 26
        stage.beat()
        stage.only({"title": "model 2", "phase": "map"})
        clock.now += 26
        stage.beat()
    assert [line for _, line in screen.lines[1:]] == [
        "  scoring 3 of 79 · model 2 · mmd, strict · run: about 2 min left",
        "  scoring 3 of 79 · model 2 · map",
    ]


def test_what_is_fetched_or_prepared_is_named_once_and_then_followed(clock, screen, shown, monkeypatch):
    stages = []
    plain = progress.Stage

    def kept(*arguments):
        stages.append(plain(*arguments))
        return stages[-1]

    monkeypatch.setattr(progress, "Stage", kept)
    with shown.transfers() as report:
        report("clustering", 0, None)
        report("clustering", 0, None)
        clock.now += 30
        stages[0].beat()
        report("updating MLflow", 3, 12)
        clock.now += 30
        stages[0].beat()
    assert [line for _, line in screen.lines] == [
        "clustering …", "  clustering", "updating MLflow …", "  updating MLflow 25 %",
    ]  # fmt: skip


def test_a_stage_beats_while_its_block_is_busy(monkeypatch):
    monkeypatch.setattr(progress, "BEAT_SECONDS", 0.001)
    beaten = Event()
    monkeypatch.setattr(progress.Stage, "beat", lambda stage: beaten.set())
    with Progress(Console(file=io.StringIO())).stage("drawing figures", total=None):
        assert beaten.wait(60)


def test_on_a_terminal_bars_tell_the_same(clock):
    file = io.StringIO()
    console = Console(file=file, width=120, force_terminal=True)
    with Progress(console, clock=clock).stage("training", total=17) as stage:
        part = {"title": "activa · seed 0", "phase": "fit", "fraction": 0.25}
        stage.follow(part, left="about 35 s left", run_left="run: about 4 min left")
        stage.follow({"title": "real · seed 0"}, left="about 2 s left", run_left="run: about 4 min left")
        stage._bars.refresh()
        written = file.getvalue()
        stage.done("activa · seed 0", "ok")
        stage.only({"title": "shuffle · seed 0"})
        assert [task.description for task in stage._bars.tasks] == ["training", "shuffle · seed 0"]
        assert stage._bars.tasks[0].completed == 1
    for words in (
        "training · run: about 4 min left",
        "activa · seed 0 · fit 25 % · about 35 s left",
        "real · seed 0 · about 2 s left",
    ):
        assert words in written


def test_where_the_seconds_went_adds_up(clock, screen, shown):
    clock.now += 4
    for seconds in (70, 5):
        with shown.taking("training"):
            clock.now += seconds
    with shown.taking("scoring"):
        clock.now += 30
    clock.now += 2
    shown.say_what_it_took(scores={"mmd": 0.2, "cd": 3.0, "rf_auc": 41.0})
    assert screen.lines == [
        (1111.0, "took 111 s: training 75 s, scoring 30 s, all else 6 s"),
        (1111.0, "  scores: rf_auc 41 s, cd 3 s"),
    ]
