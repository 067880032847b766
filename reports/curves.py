"""Training curves as a worker wrote them: ``curves.jsonl`` in the Job's folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

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
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            # A worker that was killed while writing leaves half a line.
            continue
        for name, value in entry["values"].items():
            if np.isfinite(value):
                curve = points.setdefault(f"{entry['phase'].removeprefix('fit/')}/{name}", {})
                curve[int(entry["step"])] = float(value)
    return {name: sorted(curve.items()) for name, curve in points.items()}


def thin(curve: Curve, *, limit: int) -> Curve:
    """Return at most `limit` points, evenly chosen, the first and the last among them."""
    if len(curve) <= limit:
        return curve
    chosen = np.linspace(0, len(curve) - 1, limit).round().astype(int)
    return [curve[index] for index in chosen]
