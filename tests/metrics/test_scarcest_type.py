from types import SimpleNamespace

import numpy as np
import pytest

from metrics.declaration import NotApplicable
from metrics.scarcest_type import METRIC, least_share, scarcest_type
from metrics.selftest.ladder import rarest_type
from metrics.type_proportions import type_proportions
from tests.metrics.typed_cells import evidence, sample_of, typed_cells

SHARES = np.array([0.55, 0.35, 0.1])
NOTHING_TO_LEARN = "c"


class Known:
    """Calls what it is shown, but takes every cell of type c for one of type a."""

    names = np.array([*"abcd"])

    def call(self, points):
        return np.where(points == NOTHING_TO_LEARN, "a", points)


def called(test, synthetic):
    test = np.array([*test])
    train = np.array([*"aaaabbbbccdd"])
    real = SimpleNamespace(
        type_classifier=Known(),
        train_pca_scores=train,
        train_types=train,
        test_calls=test,
        n_cells=test.size,
        pca_notes=[],
        seed=0,
    )
    return real, SimpleNamespace(calls=np.array([*synthetic]), notes=["told before"])


def test_a_worked_example():
    # a 20 → 28, b 12 → 9; c is not recognised, of d there are too few.
    score = scarcest_type(*called("a" * 20 + "b" * 12 + "c" * 12 + "d" * 6, "a" * 28 + "b" * 9 + "d" * 13))
    assert score.values == {"scarcest_type": 0.75}
    assert score.details["by_type"] == {"a": {"ratio": pytest.approx(1.4)}, "b": {"ratio": 0.75}}
    assert score.notes == [
        "told before",
        "left out c: taken for other types (F1 0.00)",
        "left out d: 6 test cells",
    ]
    low, high = score.interval
    assert 0 < low < 0.75 < high <= 1


def test_a_type_is_not_rescued_by_one_cell_that_is_called_it():
    real, sample = called("a" * 30 + "b" * 20, "a" * 49 + "b")
    real.test_types = real.test_calls
    assert type_proportions(real, sample).values["lost_types"] == 0
    assert scarcest_type(real, sample).headline == pytest.approx(1 / 20)
    assert scarcest_type(*called("a" * 30 + "b" * 20, "a" * 50)).interval == (0, 0)


def test_too_many_of_one_type_are_no_fault_of_its_own_but_lack_elsewhere():
    assert least_share(np.array([0.5, 0.5]), np.array([[0.5, 0.5], [0.9, 0.1], [0.0, 1.0]])) == pytest.approx(
        [1, 0.2, 0]
    )
    assert least_share(np.array([0.0, 1.0]), np.array([0.5, 0.5])) == 0.5


def test_the_order_of_cells_matters_neither_to_the_number_nor_to_its_interval():
    cells = np.array([*("a" * 25 + "b" * 15)]), np.array([*("a" * 30 + "b" * 10)])
    first = scarcest_type(*called(*cells))
    second = scarcest_type(*called(*(np.random.default_rng(0).permutation(side) for side in cells)))
    assert first.values == pytest.approx(second.values, rel=1e-12)
    assert first.interval == pytest.approx(second.interval, rel=1e-12)


def test_nothing_to_count_is_named():
    with pytest.raises(
        NotApplicable, match="no type can be counted: left out a: 5 test cells; left out b: 0"
    ):
        scarcest_type(*called("a" * 5, "a" * 5))
    real = evidence(with_types=False)
    with pytest.raises(NotApplicable, match="at least two"):
        METRIC.compute(real, sample_of(real, typed_cells(150, seed=1)[0]))


def test_it_falls_as_a_type_is_lost_on_cells():
    real = evidence()
    counts, types = typed_cells(900, seed=1)
    found = []
    for kept in (30, 10, 0):
        rows = [np.flatnonzero(types == "C")[:kept], np.flatnonzero(types != "C")[: 150 - kept]]
        found.append(METRIC.compute(real, sample_of(real, counts[np.concatenate(rows)])).headline)
    assert found[0] > 0.6
    assert found[1:] == pytest.approx([10 / np.sum(real.test_calls == "C"), 0], abs=0.05)


def test_the_rarest_type_is_one_that_can_be_told_from_others():
    real, _ = called("a" * 20 + "b" * 15 + "c" * 12 + "d" * 15, "a")
    cells = SimpleNamespace(types=np.array([*("a" * 40 + "b" * 20 + "c" * 12 + "d" * 9)]), real=real)
    assert rarest_type(cells) == "b"
    cells.types = np.array([*("a" * 40 + "c" * 20)])
    with pytest.raises(NotApplicable, match="fewer than two types"):
        rarest_type(cells)


@pytest.mark.parametrize("synthetic", [SHARES, np.array([0.6, 0.35, 0.05])], ids=["alike", "halved"])
def test_the_interval_holds_what_other_test_cells_would_give(synthetic):
    rng = np.random.default_rng(0)
    n_samples, held = 200, 0
    for _ in range(n_samples):
        made = rng.multinomial(400, synthetic)
        expectation = least_share(rng.multinomial(400, SHARES, size=2000) / 400, made / 400).mean()
        of_test = rng.multinomial(400, SHARES)
        low, high = scarcest_type(*called(*(np.repeat([*"abd"], n) for n in (of_test, made)))).interval
        held += low <= expectation <= high
    assert 0.9 <= held / n_samples < 0.99
