"""Metrics that make the mistakes, made for the purpose: each must walk into its trap."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from metrics.cell_totals import LIBRARY_SIZE
from metrics.declaration import Metric, NotApplicable, Score
from metrics.marginals import METRIC as GENE_WASSERSTEIN
from metrics.mmd import METRIC as MMD
from metrics.mmd import mmd
from metrics.near_share import METRIC as NEAR_SHARE
from metrics.rf_auc import METRIC as RF_AUC
from metrics.selftest.laboratory import Laboratory
from metrics.selftest.run import self_test
from metrics.selftest.traps import TRAPS
from metrics.spaces import to_log_cp20k
from metrics.zero_fraction import METRIC as ZERO_FRACTION
from tests.metrics.selftest_cells import self_test_cells
from tests.metrics.typed_cells import typed_cells

pytestmark = pytest.mark.slow

SPRING = {trap.name: trap.spring for trap in TRAPS}


@pytest.fixture(scope="module")
def cells():
    return self_test_cells(*typed_cells(1500, seed=3), n_cells=200)


def outcome(cells, trap, *metrics):
    return SPRING[trap](Laboratory(cells, metrics, draws=5))


def scored(metric, function):
    return replace(metric, compute=lambda real, sample: Score({metric.name: float(function(real, sample))}))


def saturated(real, sample):
    return np.sqrt(mmd(real.pca_scores, sample.pca_scores, bandwidth=real.bandwidth / 1000).biased)


def leaking(real, sample):
    cells = np.vstack([real.test_cells.toarray(), sample.cells.toarray()])
    labels = np.repeat([0, 1], real.n_cells)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    forest = RandomForestClassifier(30, random_state=0)
    votes = cross_val_predict(forest, cells, labels, cv=folds, method="predict_proba")[:, 1]
    return roc_auc_score(labels, votes)


def guessing(real, sample):
    values = sample.matrix.toarray()
    logged = values if values.max() < 20 else to_log_cp20k(values, space="counts").toarray()
    return np.abs(logged.mean(axis=0) - real.test_cells.toarray().mean(axis=0)).mean()


def first_row(real, sample):
    return sample.cells.toarray()[0].max()


@pytest.mark.parametrize(
    ("trap", "good", "bad"),
    [
        ("bandwidth", MMD, scored(MMD, saturated)),
        ("duplicates", None, scored(RF_AUC, leaking)),
        ("low variance", None, replace(NEAR_SHARE, name="copied_share", alarm=0.05)),
        ("row order", ZERO_FRACTION, scored(ZERO_FRACTION, first_row)),
        ("logarithm", GENE_WASSERSTEIN, scored(GENE_WASSERSTEIN, guessing)),
        ("crude fakes", MMD, replace(LIBRARY_SIZE, group="headline", default=True)),
        (
            "gene shuffle",
            replace(LIBRARY_SIZE, group="headline"),
            replace(ZERO_FRACTION, group="headline"),
        ),
    ],
)
def test_traps_tell_good_metrics_from_bad(cells, trap, good, bad):
    # On these cells forests are slow, and copied_share is not the metric that it is on real ones.
    assert good is None or outcome(cells, trap, good).passed is True
    assert outcome(cells, trap, bad).passed is False


def test_a_saturated_kernel_gives_every_model_the_square_root_of_six_over_n(cells):
    found = outcome(cells, "bandwidth", scored(MMD, saturated))
    assert found.words == "mmd 0.1732 of real, 0.1732 of shuffled cells; saturated it is 0.1732 of any"


def test_traps_without_their_metrics_are_not_tried(cells):
    for trap in ("bandwidth", "duplicates", "low variance", "logarithm", "gene shuffle"):
        assert outcome(cells, trap, ZERO_FRACTION).passed is None


def test_metrics_of_others_are_reported_without_expectations(cells):
    def refuses(real, sample):
        if np.unique(sample.matrix.toarray(), axis=0).shape[0] < real.n_cells / 2:
            raise NotApplicable("too few distinct cells")
        return Score({"distinct": 1.0})

    foreign = Metric("distinct", "…", refuses, "lower", 0.0, (0.0, 1.0), "doi:10/x", "none", group="use")
    found = self_test(Laboratory(cells, [foreign, ZERO_FRACTION], draws=2))
    report = found["metrics"]["distinct"]
    assert found["passed"] is True
    assert {ladder["passed"] for ladder in report["ladders"].values()} == {None}
    assert report["errors"] == ["too few distinct cells"]
    assert report["ladders"]["collapsed_modes"]["values"] == [1.0, None, None, None]
    assert report["ladders"]["collapsed_modes"]["answer"] == "not applicable"


def test_a_metric_that_does_not_see_what_it_must_fails_the_self_test(cells):
    found = self_test(Laboratory(cells, [scored(ZERO_FRACTION, lambda real, sample: 0.1)], draws=2))
    assert found["passed"] is False
    zeros = found["metrics"]["zero_fraction_error"]["ladders"]["wrong_zeros"]
    assert (zeros["answer"], zeros["expected"], zeros["passed"]) == ("none", "worse", False)


def test_fewer_than_two_draws_are_refused(cells):
    with pytest.raises(ValueError, match="draws is 1"):
        Laboratory(cells, [ZERO_FRACTION], draws=1)


def test_more_cells_than_there_are_are_refused():
    with pytest.raises(ValueError, match="n_cells is 20; 20 test cells and 60 in the control pool"):
        self_test_cells(*typed_cells(100, seed=3), n_cells=20)
