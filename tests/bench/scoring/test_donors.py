"""The attack on donors from a file to the table, and the requests that cannot be."""

import numpy as np
import pytest
from anndata import AnnData

from bench import api
from bench.errors import RequestError
from reports.donors import attacked

pytestmark = pytest.mark.slow


def cells(*, n_donors=6, gap=False):
    rng = np.random.default_rng(0)
    counts, donors = [], []
    for donor in range(n_donors):
        rates = 4 * np.exp(rng.normal(0, 0.5, 30))
        counts.append(rng.poisson(rates, size=(160, 30)))
        donors += [f"d{donor}"] * 160
    adata = AnnData(np.vstack(counts).astype(np.float32))
    adata.obs["donor"] = donors
    adata.obs["cell_type"] = np.tile(["a", "b"], len(donors) // 2)
    if gap:
        adata.obs.loc[adata.obs_names[3], "donor"] = np.nan
    return adata


def without_figures_and_tracking(monkeypatch):
    """Leave out what a run ends with besides scores: seconds, of which nothing is asked here."""
    monkeypatch.setattr("reports.figures.save_figures", lambda *_things, **_named: [])
    monkeypatch.setattr("bench.flow.track", lambda *_things: None)


def run(adata, tmp_path, monkeypatch, **options):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    without_figures_and_tracking(monkeypatch)
    # As many as an interval takes; the plan's five are those of tests/bench/request.
    monkeypatch.setattr("bench.request.plan.DONOR_SPLITS", 3)
    return api.run(
        ["nb_copula"],
        adata,
        quiet=True,
        profile="smoke",
        metrics=("donor_attack",),
        donor_key="donor",
        out=tmp_path / "runs",
        **options,
    )


def test_a_run_attacks_the_donors_of_retrained_generators(tmp_path, monkeypatch):
    from bench.results.run_folder import RunFolder

    result = run(cells(), tmp_path, monkeypatch)
    view = RunFolder.open(result.folder).view()
    retrained = [record for record in view.records_of("donors") if record.job.model == "nb_copula"]
    assert [record.status for record in retrained] == ["ok"] * 3
    rows = {row.model: row for row in attacked(view)}
    # The donors differ by much, and a copula of their cells tells them.
    assert rows["nb_copula"].auc["likelihood"].mean == 1.0
    assert rows["nb_copula"].verdict == "donors are found"
    # The main table has nothing of it.
    assert "donor_attack" not in result.table.columns


def test_too_few_donors_and_donors_with_gaps_are_refused(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="has 4 donors, 5 are needed"):
        run(cells(n_donors=4), tmp_path, monkeypatch)
    with pytest.raises(RequestError, match=r"obs\['donor'\] is empty or NaN for 1 of 960 cells"):
        run(cells(gap=True), tmp_path, monkeypatch)
