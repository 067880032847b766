"""Traps: mistakes that metrics of generated cells have been seen to make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from metrics.selftest.answers import ROUNDING
from metrics.selftest.corruptions import shrink, shuffle_genes
from metrics.selftest.fakes import FAKES
from metrics.selftest.laboratory import Laboratory
from metrics.spaces import as_csr, to_log_cp20k

HALFWAY = 0.5
SAME_AREA = 0.02
LOOKS_AT_VALUES = ("rf_auc", "mmd", "gene_wasserstein", "sliced_wasserstein")


@dataclass(frozen=True)
class Outcome:
    """Whether a trap was avoided; None where no metric was there to walk into it. And the numbers."""

    passed: bool | None
    words: str


@dataclass(frozen=True)
class Trap:
    """A mistake that a metric may make.

    Parameters
    ----------
    name, description
        Name, and one line on what must not happen.
    spring
        Function that tries the mistake and returns the outcome.
    """

    name: str
    description: str
    spring: Callable[[Laboratory], Outcome]


NOBODY = Outcome(None, "none of its metrics was asked, or none applies")


def bandwidth_saturates(laboratory: Laboratory) -> Outcome:
    """Compare mmd of real and of gene-shuffled cells: a kernel that is too narrow sees no difference."""
    counts = laboratory.fresh.counts
    everywhere = np.zeros(counts.shape[0], dtype=np.str_)
    shuffled = shuffle_genes(counts, everywhere, 1.0, seed=laboratory.seed("trap: bandwidth"))
    value = laboratory.ask("trap: shuffled across all cells", shuffled, of=["mmd"]).get("mmd")
    clean = laboratory.clean.get("mmd", [None])[0]
    if value is None or clean is None:
        return NOBODY
    saturated = np.sqrt(6 / laboratory.cells.real.n_cells)
    words = f"mmd {clean:.4f} of real, {value:.4f} of shuffled cells; saturated it is {saturated:.4f} of any"
    return Outcome(bool(laboratory.badness("mmd", value) > 1), words)


def duplicates_across_folds(laboratory: Laboratory) -> Outcome:
    """Give the forest the test cells themselves, and real cells twice: a leak shows as an area off 0.5."""
    real, counts = laboratory.cells.real, laboratory.fresh.counts
    itself = laboratory.ask("trap: the test cells themselves", real.test_counts, of=["rf_auc"]).get("rf_auc")
    twice = as_csr(counts[np.arange(real.n_cells) // 2])
    doubled = laboratory.ask("trap: each cell twice", twice, of=["rf_auc"]).get("rf_auc")
    if itself is None or doubled is None:
        return NOBODY
    words = f"rf_auc {itself:.4f} of the test cells themselves, {doubled:.4f} of real cells that come in twos"
    # Half as many distinct cells vary √2 times as much.
    unseen = bool(laboratory.badness("rf_auc", doubled) <= np.sqrt(2))
    return Outcome(abs(itself - 0.5) <= SAME_AREA and unseen, words)


def low_variance_is_no_copy(laboratory: Laboratory) -> Outcome:
    """Draw cells halfway to the mean of their type: near to training cells, but copies of none."""
    fresh = laboratory.fresh
    shrunk = shrink(fresh.counts, fresh.types, HALFWAY)
    values = laboratory.ask(
        "trap: cells of low variance", shrunk, space="cp20k", of=["copied_share", "near_share"]
    )
    value = values.get("copied_share")
    alarm = laboratory.metrics["copied_share"].alarm if "copied_share" in laboratory.metrics else None
    if value is None or alarm is None:
        return NOBODY
    # The yardstick, the test cells' 1st percentile, varies with them.
    limit = alarm + laboratory.tolerances["copied_share"]
    near = values.get("near_share")
    beside = "" if near is None else f"; near_share, which cannot tell, {near:.3f}"
    words = f"copied_share {value:.3f}, alarm from {alarm:g}, by more than chance from {limit:.3f}{beside}"
    return Outcome(value < limit, words)


def row_order(laboratory: Laboratory) -> Outcome:
    """Give all metrics the same cells in another order."""
    counts = laboratory.fresh.counts
    order = np.random.default_rng(laboratory.seed("trap: row order")).permutation(counts.shape[0])
    values = laboratory.ask("trap: another order of rows", as_csr(counts[order]))
    moved = [
        f"{name} from {before:.6g} to {after:.6g}"
        for name, after in values.items()
        for before in [laboratory.clean[name][0]]
        if before is not None and (after is None or abs(after - before) > ROUNDING * abs(before))
    ]
    return Outcome(not moved, "; ".join(moved) or f"{len(values)} metrics unmoved")


def log_is_declared(laboratory: Laboratory) -> Outcome:
    """Declare logged cells as they are, then as cp20k: the first must change nothing, the second much."""
    logged = to_log_cp20k(laboratory.fresh.counts, space="counts")
    told = laboratory.ask("trap: logged cells", logged, space="log_cp20k", of=LOOKS_AT_VALUES)
    mistold = laboratory.ask("trap: logged cells declared cp20k", logged, space="cp20k", of=LOOKS_AT_VALUES)
    words, passed = [], []
    for name in told:
        value, other = told[name], mistold[name]
        if value is None or other is None or laboratory.clean[name][0] is None:
            continue
        passed.append(abs(laboratory.badness(name, value)) <= 1 < laboratory.badness(name, other))
        words.append(
            f"{name} {laboratory.clean[name][0]:.4f} of counts, {value:.4f} logged, {other:.4f} if not said"
        )
    return Outcome(all(passed), "; ".join(words)) if passed else NOBODY


def shuffled_within_types(laboratory: Laboratory) -> Outcome:
    """Permute all genes within types: at least one headline metric must be worse by more than chance."""
    headline = [name for name, metric in laboratory.metrics.items() if metric.group == "headline"]
    fresh = laboratory.fresh
    shuffled = shuffle_genes(fresh.counts, fresh.types, 1.0, seed=laboratory.seed("trap: shuffled"))
    values = laboratory.ask("trap: shuffled within types", shuffled, of=headline)
    worse = {
        name: laboratory.badness(name, value)
        for name, value in values.items()
        if value is not None and laboratory.clean[name][0] is not None
    }
    if not worse:
        return NOBODY
    words = ", ".join(f"{name} worse by {times:.1f} tolerances" for name, times in worse.items())
    return Outcome(any(times > 1 for times in worse.values()), words)


def crude_fakes(laboratory: Laboratory) -> Outcome:
    """Show crude fakes: each must be worse by more than chance, by a headline metric of the main table."""
    headline = [name for name, m in laboratory.metrics.items() if m.group == "headline" and m.default]
    seen_by, passed = [], []
    for what, make in FAKES.items():
        cells, space = make(laboratory.fresh, laboratory.seed(f"trap: {what}"))
        values = laboratory.ask(f"trap: {what}", cells, space=space, of=headline)
        known = [name for name in values if None not in (values[name], laboratory.clean[name][0])]
        worse = [name for name in known if laboratory.badness(name, values[name] or 0.0) > 1]
        passed += [bool(worse)] if known else []
        seen_by.append(f"{what}: {', '.join(worse) or 'nobody'}")
    return Outcome(all(passed), "; ".join(seen_by)) if passed else NOBODY


TRAPS: tuple[Trap, ...] = (
    Trap("bandwidth", "a kernel so narrow that mmd is the same for every model", bandwidth_saturates),
    Trap("duplicates", "copies on both sides of a fold, which a forest recognises", duplicates_across_folds),
    Trap("low variance", "cells near the mean of their type taken for copies", low_variance_is_no_copy),
    Trap("row order", "an answer that depends on the order of cells", row_order),
    Trap("logarithm", "log1p guessed instead of declared", log_is_declared),
    Trap("crude fakes", "a fake that is right in one respect and passes every headline metric", crude_fakes),
    Trap("gene shuffle", "a gene-shuffled fake that every headline metric lets pass", shuffled_within_types),
)
