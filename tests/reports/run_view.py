"""Runs for tests: three seeds, every kind of ending, both experiments.

A draft is what lies on disk, as plain data that a test may change; `built` makes the view of it, and refuses
names that the real types do not know.
"""

import copy
import json
import math
from pathlib import Path

import numpy as np

from reports.facts import Facts, OpenFacts
from reports.view import AugmenterScore, MetricFacts, Record, RunFacts, RunView, Score

GIB = 2**30
HARDWARE = {
    "cpu_model": "AMD EPYC 7B13",
    "cpu_features": ["avx2"],
    "physical_cores": 2,
    "logical_cores": 4,
    "memory_bytes": 16 * GIB,
    "gpus": [
        {"model": "NVIDIA V100", "memory_bytes": 32 * GIB},
        {"model": "NVIDIA V100", "memory_bytes": 32 * GIB},
    ],
    "driver": "570.1",
    "fingerprint": "0123456789ab",
}
USUAL = {
    "better": "lower",
    "ideal": 0.0,
    "bounds": [0.0, math.inf],
    "floors": ["shuffle"],
    "experiment": "main",
    "group": "headline",
    "default": True,
    "alarm": None,
    "catches": [],
    "description": "how far synthetic cells are from real ones",
    "reference": "doi:10.1093/bioinformatics/btac095",
    "exempt": [],
}
METRICS = [
    USUAL | {"name": "rf_auc", "ideal": 0.5, "bounds": [0.0, 1.0], "floors": ["shuffle", "poisson"]},
    USUAL | {"name": "mmd"},
    USUAL | {"name": "cd"},
    USUAL
    | {
        "name": "augmentation_f1",
        "better": "higher",
        "ideal": 1.0,
        "bounds": [0.0, 1.0],
        "floors": [],
        "experiment": "augmentation",
    },
]
ROLES = {"real": "ceiling", "shuffle": "floor", "poisson": "floor", "memorise": "cheat"}
BUDGETS = {"activa": "40 epochs", "scgan": "200 steps", "cscgan": "200 steps"}
# rf_auc, mmd and cd of each generator by seed; None where the Job did not finish.
QUALITY = {
    "activa": [(0.90, 0.40, 3.0), (0.92, 0.44, 3.2), (0.97, 0.42, 3.1)],
    "scgan": [(0.99, 0.80, 4.0), (0.98, 0.90, None), None],
    "cscgan": [None, None, None],
    "real": [(0.51, 0.02, 0.9), (0.50, 0.02, 0.9), (0.49, 0.02, 0.9)],
    "shuffle": [(0.95, 0.50, 5.0), (0.95, 0.50, 5.0), (0.95, 0.50, 5.0)],
    "poisson": [(0.88, 0.30, 2.0), (0.88, 0.30, 2.0), (0.88, 0.30, 2.0)],
    "memorise": [(0.50, 0.03, 1.0), (0.50, 0.03, 1.0), (0.50, 0.03, 1.0)],
}
TRAINING_SECONDS = {"activa": [30.0, 33.0, 36.0], "scgan": [100.0, 110.0, None]}


def built(draft: dict | RunView) -> RunView:
    """Return the view of a draft; of a view, itself."""
    if isinstance(draft, RunView):
        return draft
    run = checked(RunFacts, draft["run"])
    return RunView(
        run=run,
        protocol=run.protocols[0],
        records=[checked(Record, record) for record in draft["records"]],
        scores={key: [checked(Score, score) for score in scores] for key, scores in draft["scores"].items()},
        baselines=[checked(AugmenterScore, score) for score in draft["augmentation_baselines"]],
        metrics=[checked(MetricFacts, metric) for metric in draft["metrics"]],
    )


def checked(kind, plain: dict):
    """Return facts made of plain data, all of whose names they know."""
    facts = kind.model_validate(plain)
    _require_known(facts, plain)
    return facts


def _require_known(facts, plain: dict) -> None:
    known = {field.alias or name: name for name, field in type(facts).model_fields.items()}
    if not isinstance(facts, OpenFacts):
        assert plain.keys() <= known.keys(), (type(facts).__name__, plain.keys() - known.keys())
    for name, value in plain.items():
        part = getattr(facts, known.get(name, name))
        if isinstance(value, dict) and isinstance(part, Facts):
            _require_known(part, value)


def make_run_view(folder: Path | str = "runs/20260102-030405-zheng", *, seeds: int = 3) -> dict:
    """Return the draft of a run with the given number of training seeds (at most three)."""
    view = {
        "run": {
            "folder": str(folder),
            "dataset": {
                "name": "zheng",
                "source": "https://example.org/zheng.h5ad",
                "checksum": "sha256:0011",
                "labels": "given",
                "notes": ["12 cells had fewer than 10 genes"],
            },
            "train_shape": [560, 765],
            "n_test": 140,
            "n_cells": 140,
            "profile": "quick",
            "protocols": ["strict"],
            "protocol_facts": {"strict": {"n_cells": 140}},
            "dataset_key": "5ca1ab1e" * 8,
            "hardware": HARDWARE,
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "bench_version": "0.1.0",
            "git_commit": "abcdef012345",
        },
        "records": [],
        "scores": {},
        "augmentation_baselines": [
            _baseline("none", 0.2, 0.5),
            _baseline("class_weights", 0.3, 0.55),
            _baseline("duplication", 0.4, 0.5),
            _baseline("smote", 0.5, 0.6),
            _baseline("poisson_jitter", 0.6, 0.7),
        ],
        "metrics": METRICS,
    }
    for model in QUALITY:
        for seed in range(seeds):
            _add_main_job(view, model, seed)
        if model in ("activa", "cscgan"):
            _add_augmentation_job(view, model)
    return copy.deepcopy(view)


def with_further_columns(view: dict) -> dict:
    """Give a view the rest of the default columns, the usual baselines, and one more floor."""
    view["metrics"] += [
        USUAL | {"name": "copied_share", "group": "memorisation", "floors": []},
        USUAL | {"name": "scarcest_type", "group": "coverage", "better": "higher", "ideal": 1.0},
    ]
    others = {"poisson_factors": "baseline", "nb_copula": "baseline", "shuffle_within_type": "floor"}
    for record in [record for record in view["records"] if record["job"]["model"] == "poisson"]:
        for model, role in others.items():
            key = record["key"].replace("poisson", model)
            view["records"].append(
                record | {"key": key, "job": record["job"] | {"model": model, "role": role}}
            )
            view["scores"][key] = copy.deepcopy(view["scores"][record["key"]])
    further = {"copied_share": (0.0123, 0.0101, 0.0), "scarcest_type": (0.571, 0.62, 0.5)}
    for record in view["records"]:
        job, scores = record["job"], view["scores"][record["key"]]
        if scores and job["experiment"]["kind"] == "main":
            share = 0.5 if job["model"] == "shuffle" else 1
            scores += [_score(n, {n: share * values[job["seed"]]}) for n, values in further.items()]
    return view


def record_of(view: dict, model: str, seed: int = 0, kind: str = "main") -> dict:
    """Return one Record of a view."""
    return next(
        record
        for record in view["records"]
        if (record["job"]["model"], record["job"]["seed"], record["job"]["experiment"]["kind"])
        == (model, seed, kind)
    )


def score_of(view: dict, model: str, metric: str, seed: int = 0) -> dict:
    """Return one score of a view."""
    scores = view["scores"][record_of(view, model, seed)["key"]]
    return next(score for score in scores if score["metric"] == metric)


def fail_score(view: dict, model: str, metric: str, reason: str, seed: int = 0) -> None:
    """Take a score's value away and give the reason."""
    score_of(view, model, metric, seed).update(values={}, error=reason)


def break_score(view: dict, model: str, metric: str, reason: str, seed: int = 0) -> None:
    """Have a score fail, as against one that does not apply."""
    fail_score(view, model, metric, reason, seed)
    score_of(view, model, metric, seed)["failed"] = True


def as_protocol(view: dict, protocol: str) -> dict:
    """Return a view whose scores were all taken under another protocol."""
    view = copy.deepcopy(view)
    view["run"] |= {"protocols": [protocol], "protocol_facts": {protocol: {"n_cells": 140}}}
    for score in (score for scores in view["scores"].values() for score in scores):
        score["protocol"] = protocol
    return view


def fail_after_storing(view: dict, model: str, seed: int = 0) -> None:
    """End a Job at the limit while its sampling was timed, its cells being stored and scored already."""
    reason = "the wall-clock limit ended it after 60 s"
    record_of(view, model, seed).update(
        status="timeout", reason=reason, failed_phase="sample_timing", seconds_to_failure=60.0, timing=None
    )


def unstart(view: dict, model: str, seed: int = 0, kind: str = "main") -> None:
    """Make a Job one that the run has not come to."""
    record = record_of(view, model, seed, kind)
    record |= {"status": "not run", "started": None, "finished": None, "samples": {}, "phases": {}}
    record |= {"reason": "", "failed_phase": None, "seconds_to_failure": None}
    record |= {"training": None, "timing": None}
    view["scores"][record["key"]] = []


def repeat_augmentation(view: dict, model: str, scores: list[float]) -> None:
    """Repeat a model's augmentation experiment with further subsampling seeds."""
    first = record_of(view, model, kind="augmentation")
    for seed, value in enumerate(scores, start=1):
        job = first["job"] | {"experiment": first["job"]["experiment"] | {"subsample_seed": seed}}
        key = f"{model}-subsample-{seed}"
        view["records"].append(first | {"key": key, "job": job})
        view["scores"][key] = [_score("augmentation_f1", {"augmentation_f1": value})]


def write_curves(view: dict, key: str, *, points: int, phase: str = "fit/adversarial") -> None:
    """Write curves 1000 · 0.99^step (``loss``) and step mod 7 (``balance``) of a Job into the run folder."""
    path = Path(view["run"]["folder"]) / "jobs" / key / "curves.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for step in range(points):
            values = {"loss": 1000 * 0.99**step, "balance": step % 7}
            file.write(json.dumps({"step": step, "phase": phase, "values": values}) + "\n")


def write_resources(view: dict, key: str, *, seconds: int) -> None:
    """Write what a Job's processes used: from 1 GiB on a quarter more each second, one and a half cores."""
    path = Path(view["run"]["folder"]) / "jobs" / key / "resources.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for second in range(seconds):
            values = {"rss_bytes": GIB + second * GIB // 4, "cpu_percent": 150.0}
            file.write(json.dumps({"time": 1767322805.5 + second, "phase": "fit", "values": values}) + "\n")


def _add_main_job(view: dict, model: str, seed: int) -> None:
    quality = QUALITY[model][seed]
    record = _record(model, seed, {"kind": "main"}, n_cells=140)
    view["records"].append(record)
    if quality is None:
        killed = {"status": "killed", "reason": "ended by signal SIGKILL", "seconds_to_failure": 12.3}
        diverged = {
            "status": "diverged",
            "reason": "critic loss is NaN at step 17",
            "seconds_to_failure": 4.5,
        }
        record |= (killed if model == "scgan" else diverged) | {"failed_phase": "fit"}
        view["scores"][record["key"]] = []
        return
    if model in TRAINING_SECONDS:
        seconds = TRAINING_SECONDS[model][seed]
        record["training"] = {"seconds": seconds, "steps": 200, "steps_per_second": 200 / seconds}
    if model != "real":
        record["timing"] = {
            "n_cells": 100_000,
            "seconds": [1.0, 1.25, 2.0],
            "median_seconds": 1.25,
            "density": 0.68,
        }
    if model == "scgan":
        record["warnings"] = ["critic loss rose during the last tenth of the training"]
        record["memory"]["peak_device_bytes"] = 3 * GIB
    auc, mmd, cd = quality
    scores = [
        _score("rf_auc", {"rf_auc": auc, "rf_auc_sd": 0.004}, details=_folds(auc, seed)),
        _score("mmd", {"mmd": mmd, "mmd_root": mmd**0.5}),
        _score("cd", {} if cd is None else {"cd": cd}, error="no cluster has a gene" if cd is None else None),
    ]
    view["scores"][record["key"]] = scores


def _add_augmentation_job(view: dict, model: str) -> None:
    experiment = {
        "kind": "augmentation",
        "cell_type": "Dendritic",
        "fraction": 0.1,
        "subsample_seed": 0,
        "kept_cells": 19,
        "added_cells": 560,
    }
    record = _record(model, 0, experiment, n_cells=560)
    view["records"].append(record)
    if model == "cscgan":
        record |= {
            "status": "timeout",
            "reason": "the wall-clock limit ended it after 60 s",
            "failed_phase": "fit",
        }
        record |= {"seconds_to_failure": 60.0}
        view["scores"][record["key"]] = []
        return
    record["training"] = {"seconds": 999.0, "steps": 200, "steps_per_second": 0.2}
    values = {"augmentation_f1": 0.75, "average_precision": 0.8}
    view["scores"][record["key"]] = [_score("augmentation_f1", values)]


def _record(model: str, seed: int, experiment: dict, *, n_cells: int) -> dict:
    role = ROLES.get(model, "model")
    return {
        "schema": 1,
        "key": f"{model}-{experiment['kind']}-{seed}",
        "status": "ok",
        "reason": "",
        "failed_phase": None,
        "seconds_to_failure": None,
        "job": {
            "model": model,
            "role": role,
            "framework": "pytorch" if model == "activa" else "numpy",
            "conditional": model != "scgan",
            "space": "cp20k",
            "dataset": "zheng",
            "dataset_key": "5ca1ab1e" * 8,
            "seed": seed,
            "sample_seeds": [0],
            "experiment": experiment,
            "budget": BUDGETS.get(model),
            "hyperparameters": {"latent_dim": 128, "layers": [512, 256]} if role == "model" else {},
            "device": "cpu",
            "threads": 2,
            "n_cells": n_cells,
        },
        "phases": {"load": 0.1, "fit": 31.0, "fit/classifier": 2.0, "sample": 0.2},
        "steps": {"classifier": 20, "adversarial": 180},
        "training": None,
        "timing": None,
        "memory": {"peak_rss_bytes": GIB * 3 // 2, "peak_device_bytes": None, "by_phase": {"fit": GIB}},
        "samples": {
            "0": {"file": "cells-0.h5ad", "density": 0.68, "n_cells": n_cells, "acceptance_rate": None}
        },
        "warnings": [],
        "started": f"2026-01-02T03:0{seed}:05+00:00",
        "finished": f"2026-01-02T03:0{seed}:45+00:00",
        "machine": {"fingerprint": HARDWARE["fingerprint"], "load_average": [0.5, 0.4, 0.3]},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "git_commit": "abcdef012345",
    }


def _score(metric: str, values: dict, *, details: dict | None = None, error: str | None = None) -> dict:
    return {
        "metric": metric,
        "sample_seed": 0,
        "key": "k",
        "protocol": "strict",
        "n_cells": 140,
        "values": values,
        "details": details or {},
        "notes": [],
        "interval": None,
        "p_value": None,
        "error": error,
        "failed": False,
        "seconds": 1.0,
    }


def _baseline(augmenter: str, f1: float, precision: float) -> dict:
    values = {"augmentation_f1": f1, "average_precision": precision}
    return {
        "cell_type": "Dendritic",
        "fraction": 0.1,
        "subsample_seed": 0,
        "augmenter": augmenter,
        "values": values,
    }


def _folds(auc: float, seed: int) -> dict:
    """Return out-of-fold scores whose separation grows with `auc`."""
    rng = np.random.default_rng(seed)
    labels, folds = np.tile([0, 1], 100), np.repeat(np.arange(5), 40)
    scores = rng.normal(labels * 4 * (auc - 0.5), 0.8)
    return {"scores": scores.tolist(), "labels": labels.tolist(), "folds": folds.tolist()}
