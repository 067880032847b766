"""Where each number comes from: Job by Job the record, the machine, the versions and the cells' digest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from reports.rows import Row
from reports.table import not_timed, results
from reports.view import MetricFacts, NamedRun, Record, RunView
from reports.words import duration, figure, hardware_in_words, interval_in_words, part_in_words, percent, told


class Number(NamedTuple):
    """One metric of one generator under one protocol: what it came to, seed by seed.

    Attributes
    ----------
    anchor
        Anchor of its place on the generator's page.
    metric, protocol, description
        Names of both, and what the metric is.
    value, interval, place
        Texts that are shown.
    seeds
        Key of the Job; its seed, value or reason, and seconds that it took, in words.
    """

    anchor: str
    metric: str
    protocol: str
    description: str
    value: str
    interval: str
    place: str
    seeds: list[tuple[str, str, str, str]]


class Origin(NamedTuple):
    """One Job: its key, title, facts in words (name → lines), and its whole record as JSON."""

    key: str
    title: str
    facts: list[tuple[str, list[str]]]
    record: str


def anchor(metric: str, protocol: str) -> str:
    """Return where a page tells of a metric under a protocol."""
    return f"{protocol}-{metric}".replace("+", "-")


def numbers(view: RunView, model: str) -> list[Number]:
    """Return all numbers of a generator, protocol by protocol."""
    return [
        _number(seen, row, metric)
        for seen in view.each_protocol
        for row in results(seen).rows
        if row.model == model
        for metric in results(seen).metrics
    ]


def _number(view: RunView, row: Row, metric: MetricFacts) -> Number:
    summary, place = row.summary(metric.name), row.place(metric.name)
    return Number(
        anchor=anchor(metric.name, view.protocol),
        metric=metric.name,
        protocol=view.protocol,
        description=metric.description,
        value=figure(summary.mean),
        interval=interval_in_words(summary.low, summary.high),
        place=percent(place) if place == place else "",
        seeds=list(_seeds(view, row.model, metric.name)),
    )


def _seeds(view: RunView, model: str, metric: str) -> Iterator[tuple[str, str, str, str]]:
    for record in view.records:
        if record.job.model == model:
            for score in view.scores_of(record):
                if score.metric == metric:
                    value = score.error or figure(score.values.get(metric, float("nan")))
                    seconds = figure(score.seconds or float("nan"))
                    yield record.key, part_in_words(record.job, ", "), value, seconds


def origins(run: NamedRun, model: str) -> list[Origin]:
    """Return the Jobs of a generator."""
    return [_origin(run.view, record) for record in run.view.records if record.job.model == model]


def _origin(view: RunView, record: Record) -> Origin:
    machine = view.machine_of(record)
    training, timing = record.training, record.timing
    facts = {
        "Ended": [f"{record.status} {record.reason}".strip(), f"{record.started} to {record.finished}"],
        "Training": [duration(training.seconds), f"{training.steps} steps"] if training else [],
        "Sampling": [f"{timing.n_cells} cells in {figure(timing.median_seconds)} s"] if timing else [],
        "Not timed": [not_timed([record])],
        "Machine": [
            hardware_in_words(machine) if machine else "not known",
            f"fingerprint {record.machine.fingerprint}",
        ],
        "Versions": [", ".join(f"{name} {version}" for name, version in record.versions.items())],
        "Commit": [record.git_commit or ""],
        "Cells": [
            f"{sample.file}: {sample.n_cells} cells, SHA-256 {sample.sha256 or 'not known'}"
            for sample in record.samples.values()
        ],
        "Warnings": list(record.warnings),
    }
    scores = [score.plain() | {"details": {}} for score in view.scores.get(record.key, ())]
    content = {"record": record.plain(), "scores": scores}
    whole = json.dumps(content, indent=1, ensure_ascii=False, default=str)
    return Origin(record.key, part_in_words(record.job, ", "), told(facts), whole)
