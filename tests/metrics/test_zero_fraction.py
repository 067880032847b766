import numpy as np
import pytest

from metrics.gene_trends import trend
from metrics.spaces import as_csr
from metrics.zero_fraction import METRIC, mean_and_zero_fraction, measure, zero_fractions
from tests.metrics.typed_cells import evidence, reordered, sample_of, typed_cells


def test_fractions_are_of_zeros_not_of_the_rest():
    assert zero_fractions(as_csr(np.array([[0, 1, 2], [0, 0, 3], [0, 0, 4], [0, 5, 6]]))).tolist() == [
        1,
        0.5,
        0,
    ]


def test_a_worked_example():
    real = as_csr(np.array([[0, 1], [1, 1]]))
    synthetic = as_csr(np.array([[0, 0], [0, 1]]))
    # Gene 1: a half against all; gene 2: none against a half.
    assert measure(real, synthetic) == {"zero_fraction_error": 0.5, "zero_fraction_bias": 0.5}
    assert measure(synthetic, real) == {"zero_fraction_error": 0.5, "zero_fraction_bias": -0.5}
    crossed = measure(as_csr(np.array([[0, 1]])), as_csr(np.array([[1, 0]])))
    assert crossed == {"zero_fraction_error": 1, "zero_fraction_bias": 0}


def test_genes_that_no_cell_expresses_are_no_part_of_the_trend():
    means, fractions = mean_and_zero_fraction(as_csr(np.array([[0, 10, 100], [0, 0, 100]])))
    assert (means.tolist(), fractions.tolist()) == ([pytest.approx(np.log10(5)), 2], [0.5, 0])


def test_the_score_on_cells():
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=1)[0])
    score = METRIC.compute(real, sample)
    test, synthetic = real.test_cells.toarray() == 0, sample.cells.toarray() == 0
    assert score.headline == pytest.approx(np.abs(test.mean(axis=0) - synthetic.mean(axis=0)).mean())
    of_types = [
        np.abs(
            test[real.test_calls == name].mean(axis=0) - synthetic[sample.calls == name].mean(axis=0)
        ).mean()
        for name in "ABC"
    ]
    assert score.values["zero_fraction_error_by_type"] == pytest.approx(np.mean(of_types))
    assert METRIC.compute(real, reordered(sample, seed=0)).values == pytest.approx(score.values)
    means, zeros = trend(*mean_and_zero_fraction(sample.cells))
    assert score.details["synthetic"] == {"log10_mean": means.tolist(), "zero_fraction": zeros.tolist()}
    assert score.details["real"]["zero_fraction"][0] > score.details["real"]["zero_fraction"][-1]


def test_more_wrong_zeros_score_worse():
    real, rng = evidence(), np.random.default_rng(0)
    counts = real.test_counts.toarray()
    scores = [
        METRIC.compute(real, sample_of(real, counts * (rng.random(counts.shape) >= share))).values
        for share in (0.0, 0.05, 0.1, 0.2)
    ]
    for name in ("zero_fraction_error", "zero_fraction_bias", "mean_zero_fraction_error"):
        ladder = [values[name] for values in scores]
        assert ladder[0] == 0
        assert ladder == sorted(ladder)
        assert ladder[1] < ladder[3]
