import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from metrics.declaration import NotApplicable
from metrics.differential_expression import (
    METRIC,
    jaccard,
    rank_biased_overlap,
)
from tests.metrics.typed_cells import evidence, reordered, sample_of, shuffled, typed_cells

RANKING = st.permutations(range(12)).map(lambda genes: np.array(genes[:6]))


def test_jaccard():
    assert jaccard(np.array([1, 2, 3]), np.array([4, 3, 2])) == 2 / 4
    assert jaccard(np.array([1, 2]), np.array([2, 1])) == 1


def test_rank_biased_overlap_of_a_worked_example():
    # Agreement at depths 1 to 3: 0, 1/2, 2/3; beyond them 2/3 goes on.
    p = 0.9
    expected = (1 - p) * (0 + p / 2 + p**2 * 2 / 3) + p**3 * 2 / 3
    found = rank_biased_overlap(np.array([1, 2, 3]), np.array([2, 5, 1]), persistence=p)
    assert found == pytest.approx(expected)


@given(first=RANKING, second=RANKING, p=st.floats(0.1, 0.99))
def test_rank_biased_overlap_is_its_definition(first, second, p):
    agreement = [len({*first[:d].tolist()} & {*second[:d].tolist()}) / d for d in range(1, 7)]
    # Webber's formula as printed, by sets.
    expected = agreement[5] * p**6 + (1 - p) / p * sum(a * p ** (d + 1) for d, a in enumerate(agreement))
    found = rank_biased_overlap(first, second, persistence=p)
    assert found == pytest.approx(expected)
    assert found == pytest.approx(rank_biased_overlap(second, first, persistence=p))
    assert rank_biased_overlap(first, first, persistence=p) == pytest.approx(1)
    assert rank_biased_overlap(first, first + 100, persistence=p) == 0


def top_50(cells, is_type):
    statistics = [
        mannwhitneyu(
            cells[is_type, gene], cells[~is_type, gene], use_continuity=False, alternative="greater"
        ).pvalue
        for gene in range(cells.shape[1])
    ]
    return {*np.argsort(statistics, kind="stable")[:50].tolist()}


def test_the_score_equals_that_of_scipys_test():
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=1)[0])
    score = METRIC.compute(real, sample)
    train, synthetic = real.train_cells.toarray(), sample.cells.toarray()
    overlaps = []
    for name in "ABC":
        found, expected = top_50(synthetic, sample.calls == name), top_50(train, real.train_types == name)
        overlaps.append(len(found & expected) / len(found | expected))
    assert score.headline == pytest.approx(np.mean(overlaps), abs=0.02)
    assert METRIC.compute(real, reordered(sample, seed=0)).values == pytest.approx(score.values)


def test_the_training_cells_themselves_nearly_reach_the_ideal():
    counts, types = typed_cells(300, seed=100)
    real = evidence(n_test=300)
    score = METRIC.compute(real, sample_of(real, counts, types))
    assert [*score.values.values()] == pytest.approx([1, 1], abs=0.1)


def test_shuffled_genes_mark_no_type():
    real = evidence()
    counts = typed_cells(150, seed=1)[0]
    other, floor = (
        METRIC.compute(real, sample_of(real, cells)).values for cells in (counts, shuffled(counts, seed=0))
    )
    for name in ("de_overlap", "de_rbo"):
        assert floor[name] < other[name] - 0.2


def test_a_lost_type_counts_as_nothing():
    real = evidence()
    counts, types = typed_cells(600, seed=1)
    score = METRIC.compute(real, sample_of(real, counts[types != "B"][:150]))
    assert set(score.details["by_type"]["B"].values()) == {0}
    assert score.notes == ["0 for B: no synthetic cells"]
    assert score.headline == pytest.approx(
        np.mean([of_type["jaccard"] for of_type in score.details["by_type"].values()])
    )
    alone = METRIC.compute(real, sample_of(real, counts[types == "B"][:150]))
    assert alone.headline == 0


def test_what_cannot_be_scored():
    real = evidence(n_cells=12)
    with pytest.raises(NotApplicable, match="no cell type has 10 test cells"):
        METRIC.compute(real, sample_of(real, typed_cells(12, seed=1)[0]))
    real = evidence(with_types=False)
    with pytest.raises(NotApplicable, match="at least two"):
        METRIC.compute(real, sample_of(real, typed_cells(150, seed=1)[0]))
