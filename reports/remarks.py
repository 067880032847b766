"""What models warned of and metrics noted: for each generator once, not once for each seed and lost type."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from reports.view import RunView, Score, grouped

AS_LOST = r"{} (.+), which is lost: \d+ test and \d+ synthetic cells"
AT_ITS_WORST, AGAINST_ALL = "counted at its worst", "measured against all synthetic cells"
SAID_OF_A_TYPE = {
    f"lost, and {AT_ITS_WORST},": re.compile(AS_LOST.format(AT_ITS_WORST)),
    f"lost, and {AGAINST_ALL},": re.compile(AS_LOST.format(AGAINST_ALL)),
    "0 for lack of synthetic cells": re.compile(r"0 for (.+): no synthetic cells"),
}
NEVER_CALLED = re.compile(r"(?:^lost types|,)[: ]*(.+?) \(\d+ test cells\)")
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)")
OneThing = tuple[str, str | None]


def remarks(view: RunView, *, metrics: Collection[str], warnings: bool) -> dict[str, list[str]]:
    """Return what was noted, each once, with the generators that it concerns.

    Parameters
    ----------
    view
        The run, under one protocol.
    metrics
        Names of those whose notes are wanted.
    warnings
        Whether what models warned of is wanted.

    Returns
    -------
    dict
        Text → models. Types that are lost share a line, which says in how many of the generator's seeds.
    """
    said: list[tuple[str, str]] = []
    for model, group_of_records in groupby(view.records, key=lambda record: record.job.model):
        records = list(group_of_records)
        sources: dict[OneThing, dict[str, None]] = {}
        seeds: dict[OneThing, set[int]] = {}
        warned = dict.fromkeys(warning for record in records for warning in record.warnings if warnings)
        sources |= {(warning, None): {} for warning in alike(warned)}
        for record in records:
            for thing, source in _noted(view.scores_of(record), metrics):
                sources.setdefault(thing, {})[source] = None
                seeds.setdefault(thing, set()).add(record.job.seed)
        n_seeds = len({record.job.seed for record in records})
        said += [(text, model) for text in _lines(sources, seeds, n_seeds)]
    return grouped(said)


def alike(texts: Iterable[str]) -> list[str]:
    """Return texts, those that differ in numbers alone as one that says from where to where they go.

    Parameters
    ----------
    texts
        Such as what each seed's training warned of.
    """
    braced = ((text.replace("{", "{{").replace("}", "}}"), text) for text in texts)
    groups = grouped((NUMBER.sub("{}", shape), NUMBER.findall(text)) for shape, text in braced)
    return [words.format(*map(_from_to, zip(*numbers, strict=True))) for words, numbers in groups.items()]


def _from_to(numbers: Sequence[str]) -> str:
    low, high = min(numbers, key=float), max(numbers, key=float)
    return low if low == high else f"{low} to {high}"


def _noted(scores: Iterable[Score], metrics: Collection[str]) -> Iterator[tuple[OneThing, str]]:
    for score in (score for score in scores if score.metric in metrics):
        for note in score.notes:
            # Which types a mean beside the headline leaves out is in the score's file.
            if score.metric.endswith("_by_type") or not note.startswith("left out "):
                yield from ((thing, score.metric) for thing in one_by_one(note))


def one_by_one(note: str) -> list[OneThing]:
    """Split a note on lost types into what is said and of which type; of any other note, None is the type."""
    if note.startswith("lost types: "):
        return [("never called", name) for name in NEVER_CALLED.findall(note)]
    for what, pattern in SAID_OF_A_TYPE.items():
        if found := pattern.fullmatch(note):
            return [(what, found[1])]
    return [(note, None)]


def _lines(
    sources: Mapping[OneThing, Collection[str]], seeds: Mapping[OneThing, Collection[int]], n_seeds: int
) -> list[str]:
    """Return the lines of one generator: types that the same is said of by the same metrics share one."""
    types: dict[str, list[str]] = {}
    for (what, cell_type), names in sources.items():
        # What several metrics note concerns the cells, not the metric.
        text = f"{next(iter(names))}: {what}" if len(names) == 1 else what
        if cell_type is not None:
            text += f" in {len(seeds[what, cell_type])} of {n_seeds} seeds"
        types.setdefault(text, []).extend([] if cell_type is None else [cell_type])
    return [f"{text}: {', '.join(sorted(names))}" if names else text for text, names in types.items()]
