import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from metrics.by_type import measure_by_type, order_of_contents, rows_by_type, score_with_types
from metrics.cell_correlation import METRIC as CELL_CORRELATION
from metrics.cell_totals import GENES_PER_CELL, LIBRARY_SIZE
from metrics.coverage import COVERAGE, DENSITY, PRECISION, RECALL
from metrics.declaration import NotApplicable
from metrics.gene_correlation import METRIC as GENE_CORRELATION
from metrics.gene_trends import METRIC as MEAN_VARIANCE
from metrics.marginals import METRIC as GENE_WASSERSTEIN
from metrics.mixing import METRIC as MIXING
from metrics.mmd import METRIC as MMD
from metrics.rf_auc import rf_auc_by_type
from metrics.sliced_wasserstein import METRIC as SLICED_WASSERSTEIN
from metrics.zero_fraction import METRIC as ZERO_FRACTION
from tests.metrics.typed_cells import evidence, sample_of, typed_cells


def test_types_need_ten_cells_on_either_side():
    test = np.array(["A"] * 10 + ["B"] * 10 + ["C"] * 9)
    synthetic = np.array(["C"] * 11 + ["A"] * 10 + ["B"] * 7 + ["D"])
    rows, lost, notes = rows_by_type(test, synthetic)
    assert {name: [side.tolist() for side in sides] for name, sides in rows.items()} == {
        "A": [list(range(10)), list(range(11, 21))]
    }
    assert notes == [
        "left out B: 10 test and 7 synthetic cells",
        "left out C: 9 test and 11 synthetic cells",
        "left out D: 0 test and 1 synthetic cells",
    ]
    assert lost == {}


def test_a_type_is_lost_where_chance_does_not_explain_it():
    test = np.array(["A"] * 10 + ["B"] * 12 + ["C"] * 40 + ["D"] * 9)
    synthetic = np.array(["A"] * 4 + ["B"] * 6 + ["C"] * 9)
    rows, lost, notes = rows_by_type(test, synthetic)
    assert rows == {}
    # Half of B's cells are there: too few to measure, too many to call it lost.
    assert lost == {"A": (10, 4), "C": (40, 9)}
    assert notes == [
        "left out B: 12 test and 6 synthetic cells",
        "left out D: 9 test and 0 synthetic cells",
    ]


def without_type(lost):
    """Evidence, and fresh cells of all types but one, some of them there twice."""
    real = evidence()
    counts, types = typed_cells(400, seed=1)
    return real, sample_of(real, counts[types != lost][:150])


def test_a_lost_type_counts_at_the_worst_or_is_left_out_by_name():
    real, sample = without_type("C")
    n_test, n_synthetic = int(np.sum(real.test_calls == "C")), int(np.sum(sample.calls == "C"))
    sizes = f"C, which is lost: {n_test} test and {n_synthetic} synthetic cells"
    score = score_with_types(real, sample, lambda *_: {"share": 0.9, "other": 5.0}, worst=0.0)
    assert score.values["share_by_type"] == pytest.approx(0.6)
    assert score.details["by_type"]["C"] == {
        "share": 0.0,
        "test_cells": n_test,
        "synthetic_cells": n_synthetic,
    }
    assert f"counted at its worst {sizes}" in score.notes
    score = score_with_types(real, sample, lambda *_: {"distance": 3.0})
    assert score.values["distance_by_type"] == 3.0
    assert f"left out {sizes}" in score.notes


@pytest.mark.parametrize(
    ("metric", "worst"),
    [
        (PRECISION, 0),
        (RECALL, 0),
        (DENSITY, 0),
        (COVERAGE, 0),
        (MIXING, 1),
        (ZERO_FRACTION, 1),
        (CELL_CORRELATION, 2),
        (GENE_CORRELATION, 2),
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_losing_a_type_makes_no_bounded_mean_better(metric, worst):
    real, sample = without_type("C")
    score = metric.compute(real, sample)
    by_type = score.details["by_type"]
    assert by_type["C"][metric.name] == worst in metric.bounds
    mean = np.mean([by_type[name][metric.name] for name in "ABC"])
    assert score.values[f"{metric.name}_by_type"] == pytest.approx(mean)


@pytest.mark.parametrize(
    "metric", [SLICED_WASSERSTEIN, GENE_WASSERSTEIN, MEAN_VARIANCE, LIBRARY_SIZE, GENES_PER_CELL, MMD]
)
def test_losing_a_type_makes_no_mean_distance_better(metric):
    """What is missing is measured against all that is there; typed cells of another kind are far from it."""
    real, lost = without_type("C")
    complete = sample_of(real, typed_cells(400, seed=1)[0][: real.n_cells])
    name = {"mmd": "mmd2_unbiased"}.get(metric.name, metric.name)
    with_c, without_c = (metric.compute(real, sample) for sample in (complete, lost))
    assert without_c.details["by_type"]["C"][name] > with_c.details["by_type"]["C"][name]
    mean = np.mean([without_c.details["by_type"][of][name] for of in "ABC"])
    assert without_c.values[f"{name}_by_type"] == pytest.approx(mean)


def test_a_lost_type_is_measured_against_all_synthetic_cells():
    real, sample = without_type("C")
    score = GENES_PER_CELL.compute(real, sample)
    test, made = (np.count_nonzero(cells.toarray(), axis=1) for cells in (real.test_cells, sample.cells))
    of_c = test[real.test_calls == "C"]
    expected = wasserstein_distance(of_c, made) / of_c.mean()
    assert score.details["by_type"]["C"]["genes_per_cell_wasserstein"] == pytest.approx(expected)
    assert any(
        note.startswith("measured against all synthetic cells C, which is lost") for note in score.notes
    )


def test_a_forest_tells_the_cells_of_a_lost_type_by_their_absence():
    real, sample = without_type("C")
    score = rf_auc_by_type(real, sample, n_trees=20)
    areas = [score.details["by_type"][name]["rf_auc"] for name in "ABC"]
    assert areas[2] == 1
    assert score.headline == pytest.approx(0.5 + np.mean([abs(area - 0.5) for area in areas]))


def test_types_count_alike_whatever_their_size():
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=1)[0])
    score = score_with_types(real, sample, lambda rows, made: {"size": float(rows.size), "other": 0.0})
    sizes = [int(np.sum(real.test_calls == name)) for name in "ABC"]
    assert len(set(sizes)) == 3
    assert score.values == {"size": 150, "other": 0, "size_by_type": pytest.approx(np.mean(sizes))}
    assert [score.details["by_type"][name]["test_cells"] for name in "ABC"] == sizes


def test_without_types_the_whole_is_still_measured():
    real = evidence(with_types=False)
    score = score_with_types(
        real, sample_of(real, typed_cells(150, seed=1)[0]), lambda rows, made: {"size": float(made.size)}
    )
    assert score.values == {"size": 150}
    assert score.details == {"by_type": {}}
    assert len(score.notes) == 1 and score.notes[0].startswith("not by type: ")


def test_a_type_that_cannot_be_measured_is_left_out_with_the_reason():
    real = evidence()
    n_cells_of_b = int(np.sum(real.test_calls == "B"))

    def measure(rows, made):
        if rows.size == n_cells_of_b:
            raise NotApplicable("no luck")
        return {"one": 1.0}

    found, notes = measure_by_type(real, sample_of(real, typed_cells(150, seed=1)[0]), measure)
    assert list(found) == ["A", "C"]
    assert notes == ["left out B: no luck"]


def test_the_order_of_contents_forgets_the_order_of_rows():
    cells = typed_cells(50, seed=0)[0]
    moved = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(
        cells[order_of_contents(cells)], cells[moved][order_of_contents(cells[moved])]
    )
