"""Where the seconds of a run went."""

from __future__ import annotations

from collections import defaultdict

from bench.results.run_folder import RunFolder


def phase_seconds(run: RunFolder) -> dict[str, float]:
    """Return seconds by phase, of all Jobs of a run; ``start`` is what lies before and between phases."""
    seconds: dict[str, float] = defaultdict(float)
    for record in filter(None, (run.job_folder(job).read_record() for job in run.jobs())):
        phases = {name: value for name, value in record.phases.items() if "/" not in name}
        for name, value in phases.items():
            seconds[name] += value
        seconds["start"] += max(0.0, (record.wall_seconds or 0.0) - sum(phases.values()))
    return dict(seconds)


def score_seconds(run: RunFolder) -> dict[str, float]:
    """Return seconds by metric, of all Jobs of a run, and of the evidence that metrics share."""
    seconds: dict[str, float] = defaultdict(float)
    for score in (score for job in run.jobs() for score in run.job_folder(job).read_scores()):
        seconds[score.metric] += score.seconds or 0.0
        seconds["evidence"] += score.shared_seconds or 0.0
    return dict(seconds)
