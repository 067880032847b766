"""Metrics of neighbourhoods: odd samples get a number or a reason, and real cells keep their rank."""

import anndata
import numpy as np
import pytest

from metrics import (
    authenticity,
    copied_share,
    data_copying,
    duplicates,
    mixing,
    near_share,
    sliced_wasserstein,
)
from metrics.coverage import COVERAGE, DENSITY, PRECISION, RECALL
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.optimal_transport import WASSERSTEIN1, WASSERSTEIN2
from tests.places import SHARED_DATA

FILE = SHARED_DATA / "kang_ctrl_12261x1287.h5ad"
MODULES = (data_copying, authenticity, near_share, copied_share, duplicates, mixing, sliced_wasserstein)
METRICS = (
    *(module.METRIC for module in MODULES),
    PRECISION,
    RECALL,
    DENSITY,
    COVERAGE,
    WASSERSTEIN1,
    WASSERSTEIN2,
)
N_GENES = 30


def evidence(n_test, *, types=None):
    counts = np.random.default_rng(0).poisson(4.0, size=(150 + n_test, N_GENES))
    labels = None if types is None else np.resize(types, 150 + n_test)
    return RealEvidence(
        counts[:150],
        counts[150:],
        train_types=None if labels is None else labels[:150],
        test_types=None if labels is None else labels[150:],
        control_pool=None,
        gene_names=[f"gene{i}" for i in range(N_GENES)],
        seed=0,
    )


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("made", ["zeros", "constant", "copies of one cell"])
def test_collapsed_cells_get_finite_numbers(metric, made):
    real = evidence(120, types=["B", "T"])
    rows = {
        "zeros": np.zeros((120, N_GENES)),
        "constant": np.full((120, N_GENES), 3.0),
        "copies of one cell": np.repeat(real.train_counts[:1].toarray(), 120, axis=0),
    }
    score = metric.compute(real, SampleEvidence(real, rows[made], space="counts"))
    assert np.isfinite(list(score.values.values())).all()
    if metric in (mixing.METRIC, COVERAGE, sliced_wasserstein.METRIC, WASSERSTEIN1, WASSERSTEIN2):
        assert abs(score.headline - metric.ideal) > 0.3


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_without_types_there_is_a_headline_and_a_note(metric):
    real = evidence(120)
    score = metric.compute(
        real,
        SampleEvidence(real, np.random.default_rng(1).poisson(4.0, size=(120, N_GENES)), space="counts"),
    )
    assert f"{metric.name}_by_type" not in score.values
    assert any(note.startswith("not by type: ") for note in score.notes)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_impossible_values_are_a_reason_not_a_crash(metric):
    real = evidence(120)
    cells = np.ones((120, N_GENES))
    cells[3, 4] = np.nan
    with pytest.raises(NotApplicable, match="hold 1 NaN or infinite"):
        metric.compute(real, SampleEvidence(real, cells, space="counts"))


@pytest.mark.parametrize(
    "metric",
    METRICS,
    ids=lambda metric: metric.name,
)
def test_too_few_cells_are_a_reason(metric):
    real = evidence(5)
    with pytest.raises(NotApplicable, match=rf"^5 cells a side; {metric.name} needs at least \d+$"):
        metric.compute(real, SampleEvidence(real, np.ones((5, N_GENES)), space="counts"))


@pytest.mark.skipif(not FILE.exists(), reason="needs the cells of Kang 2018")
def test_on_real_cells_floors_score_worse_than_real_ones_and_copies_are_caught():
    adata = anndata.read_h5ad(FILE)
    rng = np.random.default_rng(0)
    rows = rng.permutation(adata.n_obs)[:3400]
    types = adata.obs["cell_type"].to_numpy(dtype=str)[rows]
    counts = adata.X[rows].toarray()
    real = RealEvidence(
        counts[400:],
        counts[:400],
        train_types=types[400:],
        test_types=types[:400],
        control_pool=np.arange(3000) < 400,
        gene_names=adata.var_names.to_numpy(dtype=str),
        seed=0,
    )
    drawn = SampleEvidence(real, counts[400:800], space="counts")
    shuffled = SampleEvidence(real, rng.permuted(counts[400:], axis=0)[:400], space="counts")
    for metric in METRICS:
        ceiling, floor = (metric.compute(real, sample).headline for sample in (drawn, shuffled))
        if "shuffle" in metric.floors:
            # Most of a transport is the way from any cell to the next, of real cells, too.
            times = 1.3 if metric in (WASSERSTEIN1, WASSERSTEIN2) else 2
            assert abs(floor - metric.ideal) > times * abs(ceiling - metric.ideal)
        if metric.catches:
            assert ceiling == 1 > metric.alarm > floor
