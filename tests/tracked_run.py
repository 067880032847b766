"""A run of many Jobs, written by hand: what a study of several models and seeds leaves behind."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reports.view import RunView
from tests.reports.run_view import built, make_run_view, record_of, write_resources

MODELS = ("activa", "scgan", "cscgan", "nb_copula", "knn_poisson")


def make_long_view(folder: Path, *, jobs: int) -> RunView:
    """Return the view of a run with `jobs` Jobs that ended well, and write their curves and a figure.

    Parameters
    ----------
    folder
        The run folder; it is made.
    jobs
        A multiple of the five models, which take turns; each has a seed of its own and its own figures.
    """
    view = make_run_view(folder, seeds=1)
    first = record_of(view, "activa")
    scores = view["scores"][first["key"]]
    view["records"], view["scores"] = [], {}
    for number in range(jobs):
        model, seed = MODELS[number % len(MODELS)], number // len(MODELS)
        key = f"{model}-main-{seed}"
        rate = 0.001 * (1 + number % len(MODELS))
        job = first["job"] | {"model": model, "seed": seed}
        job["hyperparameters"] = {"latent_dim": 64 if seed % 2 else 128, "learning_rate": rate}
        ended = datetime(2026, 1, 2, 3, tzinfo=UTC) + timedelta(minutes=number)
        times = {"started": (ended - timedelta(seconds=40)).isoformat(), "finished": ended.isoformat()}
        training = {"seconds": 30.0 + number, "steps": 200, "steps_per_second": 200 / (30.0 + number)}
        view["records"].append(first | times | {"key": key, "job": job, "training": training})
        share = 1 - 0.3 * (7 * number % 100) / 100
        view["scores"][key] = [
            score | {"values": {name: share * value for name, value in score["values"].items()}}
            for score in scores
        ]
        _write_curves(folder / "jobs" / key / "curves.jsonl", rate)
        write_resources(view, key, seconds=30)
    _draw(folder / "figures" / "overview.png")
    return built(view)


def _write_curves(path: Path, rate: float) -> None:
    path.parent.mkdir(parents=True)
    lines = (
        {"step": step, "phase": phase, "values": {"loss": (1 - rate) ** step, "weight": step / 1000}}
        for phase in ("fit/warm_up", "fit/adversarial")
        for step in range(0, 1000, 10)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _draw(path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3))
    axes = figure.subplots()
    axes.barh(MODELS, [0.9, 0.99, 0.95, 0.65, 0.68])
    axes.set_xlabel("rf_auc (0.5 is ideal)")
    path.parent.mkdir()
    figure.savefig(path, dpi=110, bbox_inches="tight")
