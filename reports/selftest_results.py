"""What ``bench test-metrics`` found: what each metric sees of real cells that are made worse."""

from __future__ import annotations

from reports.facts import Facts, Hardware


class Ladder(Facts):
    """A way of making cells worse, rung by rung."""

    name: str
    description: str
    rungs: tuple[str, ...]


class Trap(Facts):
    """What must not happen; ``passed`` is None where it was not tried."""

    name: str
    description: str
    passed: bool | None
    words: str


class Answer(Facts):
    """How a metric answers a ladder: its value at each rung, and whether that is as it must be."""

    values: tuple[float | None, ...]
    answer: str
    expected: str | None
    passed: bool | None


class MetricAnswers(Facts):
    """A metric's values of unchanged cells and of floors, and its answers by ladder."""

    clean: tuple[float | None, ...]
    tolerance: float | None
    seconds: float | None
    floors: dict[str, float | None]
    ladders: dict[str, Answer]
    errors: tuple[str, ...]
    failure: str | None


class SelfTest(Facts):
    """All answers, and the circumstances under which they were given."""

    passed: bool
    ladders: tuple[Ladder, ...]
    traps: tuple[Trap, ...]
    metrics: dict[str, MetricAnswers]
    dataset: str
    protocol: str
    n_cells: int
    n_train: int
    n_withdrawn: int
    n_test: int
    n_genes: int
    draws: int
    seed: int
    bench_version: str
    versions: dict[str, str]
    hardware: Hardware
