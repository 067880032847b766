"""What a run must do so that the figures of papers have something to stand beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

from bench.errors import RequestError
from bench.request.registry import METRICS, MODELS, plugins, resolve_model
from reports.papers import papers

EVERY_PAPER: Final = "all"


def papers_named(names: Sequence[str]) -> tuple[str, ...]:
    """Return the papers of a request; ``all`` stands for every one.

    Raises
    ------
    RequestError
        If one is unknown or given twice.
    """
    known = papers()
    if tuple(names) == (EVERY_PAPER,):
        return tuple(known)
    for name in names:
        if name not in known:
            raise RequestError(f"unknown paper {name!r}: choose from {', '.join(known)}, or {EVERY_PAPER}")
    if len(set(names)) < len(names):
        raise RequestError(f"paper {','.join(names)}: names one twice")
    return tuple(names)


class Beside(NamedTuple):
    """What a run of papers is told beside its request.

    Attributes
    ----------
    papers
        Names of the papers whose figures are shown beside the results.
    only_under
        Protocols under which the papers printed a metric, by its name; it is computed under these only.
    timed
        Generators whose sampling the papers timed; that of others may take long and is not timed.
    """

    papers: tuple[str, ...]
    only_under: dict[str, tuple[str, ...]]
    timed: frozenset[str]

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        """Return that of papers, by names from `papers_named`."""
        figures = [(paper, figure) for paper in map(papers().get, names) if paper for figure in paper.figures]
        timed = {
            paper.here(model)
            for paper, figure in figures
            if figure.quantity == "sample_seconds"
            for model in figure.printed
        }
        return cls(tuple(names), protocols_of_metrics(names), frozenset(timed))


def what_papers_take(names: Sequence[str]) -> dict[str, Any]:
    """Return the models, metrics and protocols of a run that measures all that these papers printed.

    Parameters
    ----------
    names
        Names of papers, from `papers_named`.

    Returns
    -------
    dict
        Attributes of `bench.request.spec.RunSpec`. Generators that are not registered are left out, and so
        are controls, which are part of every run.
    """
    models: dict[str, None] = {}
    protocols: dict[str, None] = {}
    for paper in (papers()[name] for name in names):
        for figure in paper.figures:
            models |= dict.fromkeys(map(paper.here, figure.printed))
        protocols |= dict.fromkeys([*map(paper.protocol_of, paper.figures), *paper.differences])
    registered = plugins(MODELS)
    known = [name for name in models if name in registered]
    return {
        "models": tuple(n for n in known if resolve_model(n).generator.role in ("model", "baseline")),
        "metrics": tuple(protocols_of_metrics(names)),
        "protocol": tuple(protocols),
    }


def protocols_of_metrics(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return by metric the protocols under which these papers printed it: more nobody asked for.

    A figure that another protocol may explain is measured under that, too.

    Parameters
    ----------
    names
        Names of papers, from `papers_named`.
    """
    found: dict[str, dict[str, None]] = {}
    for paper in (papers()[name] for name in names):
        for figure in paper.figures:
            under = dict.fromkeys([paper.protocol_of(figure), *paper.differences])
            for metric in plugins(METRICS):
                # Some stand beside the headline value of their metric, as conditioner_f1_alone.
                if figure.quantity == metric or figure.quantity.startswith(f"{metric}_"):
                    found.setdefault(metric, {}).update(under)
    return {metric: tuple(under) for metric, under in found.items()}
