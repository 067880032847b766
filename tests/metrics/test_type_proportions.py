from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.declaration import NotApplicable
from metrics.type_proportions import METRIC, total_variation, type_proportions
from tests.metrics.typed_cells import evidence, sample_of, typed_cells

COUNTS = st.lists(st.integers(1, 50), min_size=3, max_size=3).map(lambda n: np.array(n) / sum(n))


def called(test, synthetic):
    types = np.array([*test])
    real = SimpleNamespace(test_calls=types, test_types=np.array([*test.upper()]), n_cells=types.size, seed=0)
    return real, SimpleNamespace(calls=np.array([*synthetic]), notes=["told before"])


def test_a_worked_example():
    real, sample = called("aaaabbbcdd" * 10, "aaaaaaaabe" * 10)
    score = type_proportions(real, sample)
    # a 0.4 → 0.8, b 0.3 → 0.1, c 0.1 → 0, d 0.2 → 0, e 0 → 0.1.
    assert score.values == {"type_tv": pytest.approx(0.5), "lost_types": 2}
    assert score.details["lost_types"] == ["c", "d"]
    assert score.details["test_proportions"]["b"] == 0.3
    assert score.details["synthetic_proportions"]["e"] == 0.1
    assert score.details["classifier_accuracy"] == 0
    assert score.notes == ["told before", "lost types: c (10 test cells), d (20 test cells)"]
    assert score.interval[0] < 0.5 < score.interval[1]


def test_a_type_of_few_test_cells_is_not_called_lost():
    assert type_proportions(*called("aaaabbbcdd", "aaaaaaaabe")).values["lost_types"] == 0


def test_the_interval_of_a_share_is_made_of_shares():
    low, _ = type_proportions(*called("aabb", "abab")).interval
    _, high = type_proportions(*called("aaab", "cccc")).interval
    assert (low, high) == (0, 1)


def test_the_order_of_cells_matters_neither_to_the_number_nor_to_its_interval():
    first = type_proportions(*called("aaaabbbcdd", "aaaaaaaabe"))
    second = type_proportions(*called("dabcabadba", "aeaaaabaaa"))
    assert first.values == pytest.approx(second.values, rel=1e-12)
    assert first.interval == pytest.approx(second.interval, rel=1e-12)


@given(p=COUNTS, q=COUNTS)
def test_it_is_symmetric_and_bounded(p, q):
    distance = total_variation(p, q)
    assert distance == pytest.approx(total_variation(q, p))
    assert 0 <= distance <= 1
    # The other definition: the largest difference of the probability of any set of types.
    assert distance == pytest.approx(np.maximum(p - q, 0).sum(), abs=1e-12)
    assert total_variation(p, p) == 0


def test_one_type_has_no_proportions():
    with pytest.raises(NotApplicable, match="all test cells are called a"):
        type_proportions(*called("aaa", "aab"))
    real = evidence(with_types=False)
    with pytest.raises(NotApplicable, match="at least two"):
        METRIC.compute(real, sample_of(real, typed_cells(150, seed=1)[0]))


def test_a_lost_type_is_named_on_cells():
    real = evidence()
    counts, types = typed_cells(400, seed=1)
    score = METRIC.compute(real, sample_of(real, counts[types != "B"][:150]))
    assert score.details["classifier_accuracy"] > 0.95
    assert score.details["lost_types"] == ["B"]
    assert score.headline == pytest.approx(np.mean(real.test_calls == "B"), abs=0.1)
    assert METRIC.compute(real, sample_of(real, real.test_counts)).headline == METRIC.ideal
