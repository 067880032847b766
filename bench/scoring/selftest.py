"""``bench test-metrics``: what the installed metrics see of real cells that are made worse."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bench.errors import RequestError, refused
from bench.hardware import usable_cores
from bench.hardware.environment import describe_for
from bench.request.choices import choose_metrics, exists_in
from bench.request.registry import METRICS, plugins
from bench.request.spec import EVERY_METRIC
from bench.results.records import versions
from bench.scoring.comparison import METRICS_SEED, Comparison
from bench.scoring.tasks import score_of

if TYPE_CHECKING:
    from anndata import AnnData

    from bench.progress import Progress
    from metrics.declaration import Metric
    from metrics.evidence import SampleEvidence
    from metrics.selftest.laboratory import Reply
    from metrics.spaces import Csr

PROTOCOL = "strict"
DRAWS = 5


def testable_metrics(names: tuple[str, ...]) -> list[Metric]:
    """Return the metrics named, or all installed ones, that look at a sample of cells.

    Raises
    ------
    RequestError
        If a named metric is unknown, scores a retraining, or is not defined under ``strict``.
    """
    names = () if names == (EVERY_METRIC,) else names
    metrics = choose_metrics(names or tuple(plugins(METRICS)), "paper", [PROTOCOL])
    found = [metric for metric in metrics if metric.experiment == "main" and exists_in(metric, PROTOCOL)]
    for name in names:
        if name not in [metric.name for metric in found]:
            raise RequestError(f"--metrics {name}: it scores a retraining, not a sample of cells")
    return found


def run_self_test(
    adata: AnnData, metrics: list[Metric], *, cells: int | None, progress: Progress
) -> dict[str, Any]:
    """Lead metrics up the ladders and into the traps of `metrics.selftest`.

    Parameters
    ----------
    adata
        A prepared data set.
    metrics
        The metrics to test.
    cells
        Number of cells a side; None for 500, or as many as there are.
    progress
        Display of the sample that is being scored.

    Returns
    -------
    dict
        Result of `metrics.selftest.run.self_test`, with data set, sizes, seed, versions and machine.

    Raises
    ------
    RequestError
        If the data set has too few cells.
    """
    from metrics.selftest.cells import SelfTestCells
    from metrics.selftest.laboratory import Laboratory
    from metrics.selftest.run import self_test

    with refused(ValueError, "--cells: "):
        real_cells = SelfTestCells(adata, n_cells=cells, seed=METRICS_SEED)
    real = real_cells.real
    laboratory = Laboratory(real_cells, metrics, draws=DRAWS, ask=_asked, tell=progress.say)
    found = self_test(laboratory, floors=floor_samples(adata, real.n_cells))
    return found | {
        "dataset": adata.uns["bench"]["name"],
        "protocol": PROTOCOL,
        "n_cells": real.n_cells,
        "n_train": real.train_counts.shape[0],
        "n_withdrawn": real_cells.fresh_types.size,
        "n_test": int((adata.obs["split"] == "test").sum()),
        "n_genes": adata.n_vars,
        "draws": DRAWS,
        "seed": METRICS_SEED,
        "bench_version": version("scgenbench"),
        "versions": versions(),
        "hardware": describe_for("cpu", usable_cores()),
    }


def floor_samples(adata: AnnData, n_cells: int) -> dict[str, Csr]:
    """Return the counts that each floor control makes of the training cells."""
    from metrics.spaces import as_csr
    from models.base import Budget, SilentMonitor
    from models.controls import Poisson, Shuffle, ShuffleWithinType

    train = adata[adata.obs["split"] == "train"]
    samples = {}
    for control in (Shuffle(), ShuffleWithinType(), Poisson()):
        control.fit(train, seed=0, budget=Budget(1, "steps"), monitor=SilentMonitor())
        samples[control.name] = as_csr(control.sample(n_cells, seed=0).X)
    return samples


def page(results: dict[str, Any]) -> str:
    """Return the page of metrics, in Markdown: a card for each that is installed, tested or not."""
    from bench.request.choices import declaration_of
    from reports.metric_cards import metric_page
    from reports.selftest_results import SelfTest

    cards = [declaration_of(metric) for metric in choose_metrics((), "paper", [PROTOCOL])]
    return metric_page(cards, SelfTest.model_validate(results))


def _asked(metric: Metric, sample: SampleEvidence) -> Reply:
    """Score as a run does: what one metric raises is that metric's failure alone."""
    from metrics.selftest.laboratory import Reply

    comparison, started = Comparison(sample.real.protocol, sample.real.n_cells), time.process_time()
    score = score_of(metric, comparison, lambda: metric.compute(sample.real, sample))
    value = next(iter(score.values.values()), None)
    return Reply(value, time.process_time() - started, score.error, score.failed)
