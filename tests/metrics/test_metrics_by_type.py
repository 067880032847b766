import numpy as np
import pytest

from metrics.by_type import measure_by_type, order_of_contents, rows_by_type, score_with_types
from metrics.declaration import NotApplicable
from tests.metrics.typed_cells import evidence, sample_of, typed_cells


def test_types_need_ten_cells_on_either_side():
    test = np.array(["A"] * 10 + ["B"] * 10 + ["C"] * 9)
    synthetic = np.array(["C"] * 11 + ["A"] * 10 + ["B"] * 7 + ["D"])
    rows, notes = rows_by_type(test, synthetic)
    assert {name: [side.tolist() for side in sides] for name, sides in rows.items()} == {
        "A": [list(range(10)), list(range(11, 21))]
    }
    assert notes == [
        "left out B: 10 test and 7 synthetic cells",
        "left out C: 9 test and 11 synthetic cells",
        "left out D: 0 test and 1 synthetic cells",
    ]


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
