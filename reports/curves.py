"""What a worker wrote as it went along: ``curves.jsonl`` and ``resources.jsonl`` in the Job's folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reports.table import GIB

Curve = list[tuple[int, float]]
"""Step and value, by rising step."""


def curves_file(run_folder: Path, job_key: str) -> Path:
    """Return where a Job's curves lie."""
    return run_folder / "jobs" / job_key / "curves.jsonl"


def read_curves(path: Path) -> dict[str, Curve]:
    """Read the curves of one Job.

    Parameters
    ----------
    path
        A file of lines ``{"step": 3, "phase": "fit/warm_up", "values": {"loss": 0.1}}``; it may be missing.

    Returns
    -------
    dict
        ``"warm_up/loss"`` → its points. Of a step that a resumed training repeated, the later value counts;
        what is not a finite number is left out.
    """
    points: dict[str, dict[int, float]] = {}
    for entry in _entries(path):
        for name, value in entry["values"].items():
            if np.isfinite(value):
                curve = points.setdefault(f"{entry['phase'].removeprefix('fit/')}/{name}", {})
                curve[int(entry["step"])] = float(value)
    return {name: sorted(curve.items()) for name, curve in points.items()}


def resources_file(run_folder: Path, job_key: str) -> Path:
    """Return where lies what a Job's processes used."""
    return run_folder / "jobs" / job_key / "resources.jsonl"


def read_resources(path: Path) -> tuple[float, dict[str, Curve]]:
    """Read what the processes of one Job used, about a point a second.

    Parameters
    ----------
    path
        A file of lines ``{"time": 1767322805.2, "phase": "fit", "values": {"rss_bytes": 1e9}}``; it may be
        missing.

    Returns
    -------
    float
        When it begins, in seconds since 1970.
    dict
        ``cpu_percent`` (100 are one core), ``rss_gib``, and where there is a GPU ``gpu_gib`` and
        ``gpu_percent`` (of the busiest) → seconds since then, and values.
    """
    entries = list(_entries(path))
    started = min((entry["time"] for entry in entries), default=0.0)
    points: dict[str, dict[int, float]] = {}
    for entry in entries:
        for name, value in entry["values"].items():
            is_bytes = name.endswith("_bytes")
            curve = points.setdefault(f"{name.removesuffix('_bytes')}_gib" if is_bytes else name, {})
            curve[int(entry["time"] - started)] = value / GIB if is_bytes else value
    return started, {name: sorted(curve.items()) for name, curve in points.items()}


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        # A worker that was killed while writing leaves half a line.
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def thin(curve: Curve, *, limit: int) -> Curve:
    """Return at most `limit` points, evenly chosen, the first and the last among them."""
    if len(curve) <= limit:
        return curve
    chosen = np.linspace(0, len(curve) - 1, limit).round().astype(int)
    return [curve[index] for index in chosen]
