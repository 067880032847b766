from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import linregress

from metrics.declaration import NotApplicable
from metrics.fold_changes import METRIC, slope_and_correlation
from metrics.selftest.answers import distances
from tests.metrics.typed_cells import N_GENES, evidence, reordered, sample_of, shuffled, typed_cells


def test_the_slope_equals_scipys():
    x, y = np.random.default_rng(0).normal(size=(2, 30))
    line = linregress(x, y)
    assert slope_and_correlation(x, y) == pytest.approx((line.slope, line.rvalue), rel=1e-12)
    assert slope_and_correlation(x, np.ones(30)) == slope_and_correlation(np.ones(30), y) == (0, 0)


def changes_by_hand(logged, types, name):
    linear = np.expm1(logged)
    inside, outside = (linear[mask].mean(axis=0) for mask in (types == name, types != name))
    return np.log2(inside + 1) - np.log2(outside + 1)


def test_the_score_equals_scipys_line_through_changes_by_hand():
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=1)[0])
    score = METRIC.compute(real, sample)
    # 40 genes of each type and 10 more make up a top 50: all of the 120 genes are in one.
    lines = {
        name: linregress(
            changes_by_hand(real.train_cells.toarray(), real.train_types, name),
            changes_by_hand(sample.cells.toarray(), sample.calls, name),
        )
        for name in "ABC"
    }
    for name, line in lines.items():
        expected = {"slope": line.slope, "correlation": line.rvalue}
        assert score.details["by_type"][name] == pytest.approx(expected, rel=1e-3)
    slopes = np.array([line.slope for line in lines.values()])
    assert score.headline == pytest.approx(slopes.mean(), rel=1e-3)
    assert score.headline == pytest.approx(1, abs=0.1)
    assert score.values["fold_change_error"] == pytest.approx(np.abs(slopes - 1).mean(), abs=1e-3)
    assert METRIC.compute(real, reordered(sample, seed=0)).values == pytest.approx(score.values)


def test_only_top_genes_of_scored_types_are_compared(monkeypatch):
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=1)[0])
    monkeypatch.setattr("metrics.fold_changes.TOP_GENES", 5)
    genes = np.unique([real.markers[name].genes[:5] for name in "ABC"])
    assert genes.size == 15
    changes = [
        changes_by_hand(cells.toarray(), types, "B")[genes]
        for cells, types in ((real.train_cells, real.train_types), (sample.cells, sample.calls))
    ]
    slope = METRIC.compute(real, sample).details["by_type"]["B"]["slope"]
    assert slope == pytest.approx(linregress(*changes).slope, rel=1e-3)


@pytest.mark.parametrize(("strength", "low", "high"), [(0.5, 0.3, 0.7), (2.0, 1.3, 2.5)])
def test_differences_too_small_or_too_large_are_seen_and_both_are_bad(strength, low, high):
    real = evidence()
    counts, types = typed_cells(600, seed=1)
    common = counts.mean(axis=0)
    ratio = np.array([counts[types == name].mean(axis=0) / common for name in "ABC"])
    rates = common * ratio[np.searchsorted([*"ABC"], types)] ** strength
    cells = np.random.default_rng(2).poisson(rates[:150])
    value = METRIC.compute(real, sample_of(real, cells)).headline
    assert low < value < high
    good = METRIC.compute(real, sample_of(real, counts[:150])).headline
    badness = distances(METRIC, [good, value])
    assert badness[1] > badness[0] + 0.2


def test_errors_of_opposite_sign_do_not_make_up_for_each_other():
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=1)[0])
    markers = real.markers | {
        name: replace(real.markers[name], log_fold_changes=factor * real.markers[name].log_fold_changes)
        for name, factor in (("A", 2.0), ("B", 2 / 3))
    }
    real.markers = markers
    score = METRIC.compute(real, sample)
    slopes = [score.details["by_type"][name]["slope"] for name in "ABC"]
    assert slopes[0] < 0.7 and slopes[1] > 1.3
    assert abs(score.headline - 1) < 0.15
    assert score.values["fold_change_error"] > 0.3


def test_shuffled_genes_mark_no_type():
    real = evidence()
    counts = typed_cells(150, seed=1)[0]
    floor = METRIC.compute(real, sample_of(real, shuffled(counts, seed=0)))
    assert floor.headline < 0.5
    assert floor.values["fold_change_correlation"] < 0.8


def test_a_lost_type_has_no_slope():
    real = evidence()
    counts, types = typed_cells(600, seed=1)
    score = METRIC.compute(real, sample_of(real, counts[types != "B"][:150]))
    assert score.details["by_type"]["B"] == {"slope": 0, "correlation": 0}
    assert score.notes == ["0 for B: no synthetic cells"]
    alone = METRIC.compute(real, sample_of(real, counts[types == "B"][:150]))
    assert alone.values == {"fold_change_slope": 0, "fold_change_error": 1, "fold_change_correlation": 0}


def test_what_cannot_be_scored():
    real = evidence(n_cells=12)
    with pytest.raises(NotApplicable, match="no cell type has 10 test cells"):
        METRIC.compute(real, sample_of(real, typed_cells(12, seed=1)[0]))
    real = evidence(with_types=False)
    with pytest.raises(NotApplicable, match="at least two"):
        METRIC.compute(real, sample_of(real, typed_cells(150, seed=1)[0]))
    assert N_GENES >= 100
