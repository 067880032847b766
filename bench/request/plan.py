"""From a request to the Jobs that answer it: model × seed × experiment on one data set."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Self

from pydantic import ConfigDict, Field, model_serializer, model_validator

from bench.errors import RequestError
from bench.hardware import library_versions, usable_cores
from bench.request.choices import budget_of, made
from bench.request.hyperparameters import hyperparameters
from bench.request.registry import ModelChoice
from bench.request.scored import MOST_SCORED
from bench.request.spec import RunSpec
from metrics.protocols import OBSERVED, protocol_named
from models.base import Generator, Settled
from reports.view import Experiment as ExperimentFacts
from reports.view import JobFacts

if TYPE_CHECKING:
    import pandas as pd

AUGMENTATION_CELLS = 1500
AUGMENTATION_MINIMUM_KEPT = 10
DONOR_SPLITS = 5
DONOR_CELLS = 2000
DECLARED = ("role", "framework", "conditional", "space", "draws_from")
"""What a generator says of itself that is told of its Jobs."""
MAY_BE_MISSING = {"versions", "draws_from", "settled"}
"""What Jobs of earlier versions lack."""
FEWEST_DONORS = 5
"""Two that are trained on, two left out, one that the attacker knows."""


class Experiment(ExperimentFacts):
    """What a Job trains on, with what makes its key: see `reports.view.Experiment`."""

    model_config = ConfigDict(extra="forbid")

    @model_serializer(mode="wrap")
    def _without_what_it_has_not(self, handler: Any) -> dict[str, Any]:
        # So that the keys of other experiments are what they were before there were donors.
        plain: dict[str, Any] = handler(self)
        return {name: value for name, value in plain.items() if value != () and value != []}

    @property
    def slug(self) -> str:
        """A name for files."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class Job(JobFacts):
    """One training of one generator on one data set, and the samples drawn from it.

    The content key covers everything that may change what comes out; the wall-clock limit is no
    part of it, nor is the reason for a setting, nor what a generator says of itself alone (`draws_from`).

    Attributes
    ----------
    versions
        Versions of the libraries that compute the Job.
    settled
        Reasons for the values of hyper-parameters that were left to the machine, by name.
    """

    model_config = ConfigDict(extra="forbid")

    reference: str
    version: str
    source_hash: str
    versions: dict[str, str] = Field(default={})
    content: str
    experiment: Experiment
    timing_cells: int
    timing_repeats: int
    timing_limit_seconds: float

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        # Reports take what an earlier version did not tell for empty; nobody may carry that out.
        if missing := set(type(self).model_fields) - self.model_fields_set - MAY_BE_MISSING:
            raise ValueError(f"a Job without {', '.join(sorted(missing))}")
        return self

    @property
    def key(self) -> str:
        """Hash of the Job's content; the name of its folder."""
        text = json.dumps(self.model_dump(mode="json", exclude={"settled", "draws_from"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def is_trained(self) -> bool:
        """Whether its `fit` takes time worth telling: it has a budget, or is a baseline."""
        return self.budget is not None or self.role == "baseline"

    @property
    def is_timed(self) -> bool:
        """Whether anything of it is timed that somebody compares, so that it must run alone."""
        return self.role == "model" or self.is_trained or self.timing_cells > 0

    def scored_under(self, protocol: str) -> str:
        """Return the protocol whose scores stand for those under `protocol`.

        Counts are what a sequencer would see already: ``+observed`` changes nothing about them.
        """
        return protocol.removesuffix(OBSERVED) if self.space == "counts" else protocol

    @property
    def title(self) -> str:
        """A few words for people: model, experiment, seed."""
        if self.experiment.kind == "main":
            return f"{self.model} · seed {self.seed}"
        if self.experiment.kind == "donors":
            return f"{self.model} · donors, split {self.experiment.subsample_seed}"
        share = f"{100 * (self.experiment.fraction or 0):g} % of {self.experiment.cell_type}"
        return f"{self.model} · {share} · seed {self.experiment.subsample_seed}"


@dataclass(frozen=True)
class DatasetFacts:
    """What the plan needs to know of a prepared data set.

    Attributes
    ----------
    name, key
        The data set's name and content key.
    train_types
        Cell type of each training cell.
    n_genes
        Number of genes after filtering.
    n_test, n_pool
        Numbers of test cells, and of training cells that the controls `real` and `memorise` draw from.
    augmentation_type
        The type that the augmentation experiment makes rare.
    pool_donors
        Donor of each of the ``n_pool`` cells; None if no column of donors is named.
    """

    name: str
    key: str
    train_types: pd.Series[Any]
    n_genes: int
    n_test: int
    n_pool: int
    augmentation_type: str
    pool_donors: Sequence[str] | None = None

    def cells_to_make(self, wanted: int | None, protocols: Sequence[str]) -> int:
        """Return how many cells a generator makes: as many as the protocol that compares most needs.

        Parameters
        ----------
        wanted
            Number of cells a side in the request; None for what each protocol says.
        protocols
            Names of the request's protocols.

        Raises
        ------
        RequestError
            If more are wanted than the test split or the controls' pool has.
        """
        for size, what in ((self.n_test, "test split"), (self.n_pool, "pool of the controls")):
            if wanted is not None and wanted > size:
                raise RequestError(f"--cells {wanted}: the {what} of {self.name} has {size} cells")
        available = min(self.n_test, self.n_pool)
        return wanted or max(protocol_named(name).cells_a_side(available) for name in protocols)


def make_plan(
    spec: RunSpec,
    facts: DatasetFacts,
    choices: list[ModelChoice],
    *,
    device: str,
    with_augmentation: bool,
    with_donors: bool = False,
    settled: Mapping[str, Mapping[str, Settled]],
    timed: Collection[str] | None = None,
    threads: int | None = None,
) -> list[Job]:
    """Lay out every Job of a request, in the order in which they run.

    Parameters
    ----------
    spec
        The request.
    facts
        What is known of the data set.
    choices
        The generators, from `choose_models`.
    device
        ``"cpu"`` or ``"cuda"``, already resolved.
    with_augmentation
        Whether a metric asks for the augmentation experiment.
    with_donors
        Whether a metric asks for generators that are trained on some donors.
    settled
        Values of the hyper-parameters that are left to the machine, with reasons, by generator.
    timed
        Generators whose sampling is timed; None for all models and baselines.
    threads
        Number of threads of each Job; None for as many as there are cores.
    """
    jobs = []
    for choice in choices:
        experiments = [Experiment()]
        settings = hyperparameters(choice.generator, spec.settings.get(choice.name))
        on_this_machine = settled.get(choice.name, {})
        settings |= {name: value for name, (value, _) in on_this_machine.items()}
        generator = made(choice, settings)
        _check_own_name(generator.name, choice, choices)
        if with_augmentation and generator.role in ("model", "baseline") and generator.conditional:
            experiments += augmentation_experiments(spec, facts)
        # Real cells are what the attack is held against: the metric draws them itself.
        if with_donors and generator.role not in ("ceiling", "null"):
            experiments += donor_experiments(facts)
        for experiment in experiments:
            # The experiment has seeds of its own for the cells it keeps; one training each is enough.
            seeds = spec.seeds if experiment.kind == "main" else spec.seeds[:1]
            shared = _shared_facts(spec, facts, choice, generator, settings, experiment, device)
            if timed is not None and generator.name not in timed:
                shared["timing_cells"] = 0
            shared["threads"] = threads or usable_cores()
            shared["settled"] = {name: reason for name, (_, reason) in on_this_machine.items()}
            jobs += [Job(seed=seed, **shared) for seed in seeds]
    return jobs


def _check_own_name(name: str, choice: ModelChoice, choices: list[ModelChoice]) -> None:
    if any(name == other.name for other in choices if other is not choice):
        raise RequestError(
            f"model {choice.name!r} calls itself {name!r}, as another generator of this run: rename it"
        )


def augmentation_experiments(spec: RunSpec, facts: DatasetFacts) -> list[Experiment]:
    """Return the fractions × subsampling seeds of the augmentation experiment (Heydari 2022, §5.5)."""
    from datasets.splits import kept_cells

    if len(facts.train_types) > MOST_SCORED["train"]:
        # Which cells of a type were left to a generator must be known to its scores.
        return []
    n_type = int((facts.train_types == facts.augmentation_type).sum())
    least = AUGMENTATION_MINIMUM_KEPT if spec.scale.augmentation_one_fraction else 1
    fractions = [
        fraction
        for fraction in spec.scale.augmentation_fractions
        if fraction * n_type >= 1 and kept_cells(n_type, fraction) >= least
    ]
    if spec.scale.augmentation_one_fraction:
        fractions = fractions[-1:]
    return [
        Experiment(
            kind="augmentation",
            cell_type=facts.augmentation_type,
            fraction=fraction,
            subsample_seed=seed,
            kept_cells=kept_cells(n_type, fraction),
            added_cells=min(AUGMENTATION_CELLS, len(facts.train_types)),
        )
        for fraction in fractions
        for seed in range(spec.scale.augmentation_seeds)
    ]


def donor_experiments(facts: DatasetFacts) -> list[Experiment]:
    """Return the seeded splits of the donors into trained on, left out, and known to the attacker.

    A quarter is known to the attacker, at least one; the two other groups are equally large.

    Raises
    ------
    RequestError
        If there are too few donors, or one has too few cells.
    """
    import numpy as np

    names, sizes = np.unique(np.asarray(facts.pool_donors, dtype=str), return_counts=True)
    if len(names) < FEWEST_DONORS:
        raise RequestError(f"--donor-key: {facts.name} has {len(names)} donors, {FEWEST_DONORS} are needed")
    n_group = (len(names) - max(1, len(names) // 4)) // 2
    cells = dict(zip(names.tolist(), sizes.tolist(), strict=True))
    drawn = [
        np.random.default_rng([seed, len(names)]).permutation(names).tolist() for seed in range(DONOR_SPLITS)
    ]
    # As many cells in each split, and no more than the controls have, which draw without replacement.
    n_made = min(DONOR_CELLS, *(sum(cells[name] for name in order[:n_group]) for order in drawn))
    return [
        Experiment(
            kind="donors",
            subsample_seed=seed,
            added_cells=n_made,
            trained_donors=tuple(sorted(order[:n_group])),
            left_out_donors=tuple(sorted(order[n_group : 2 * n_group])),
            reference_donors=tuple(sorted(order[2 * n_group :])),
        )
        for seed, order in enumerate(drawn)
    ]


def _shared_facts(
    spec: RunSpec,
    facts: DatasetFacts,
    choice: ModelChoice,
    generator: Generator,
    settings: dict[str, Any],
    experiment: Experiment,
    device: str,
) -> dict[str, Any]:
    """Return what the Jobs of a generator and an experiment have in common: all but the seed."""
    scale, main = spec.scale, experiment.kind == "main"
    return {
        # An adapter knows only now which program it drives.
        "model": generator.name,
        **{name: getattr(choice, name) for name in ("reference", "version", "source_hash")},
        **{name: getattr(generator, name) for name in DECLARED},
        "versions": _versions_behind(generator.framework),
        "hyperparameters": settings,
        "content": generator.content(),
        "dataset": facts.name,
        "dataset_key": facts.key,
        "sample_seeds": spec.sample_seeds if main else spec.sample_seeds[:1],
        "experiment": experiment,
        "budget": budget_of(spec, choice),
        "device": device,
        "n_cells": facts.cells_to_make(spec.cells, spec.protocol) if main else experiment.added_cells or 0,
        # Nobody compares the speed of controls; a retraining has been timed already.
        "timing_cells": scale.timing_cells if main and generator.role in ("model", "baseline") else 0,
        "timing_repeats": scale.timing_repeats if generator.role == "model" else 1,
        "timing_limit_seconds": scale.timing_limit_seconds,
    }


def _versions_behind(framework: str) -> dict[str, str]:
    """Return the versions of NumPy, SciPy and a generator's own framework: other ones, other cells."""
    installed = library_versions()
    own = {"pytorch": "torch"}.get(framework, framework)
    found = {name: installed[name] for name in ("numpy", "scipy", own) if name in installed}
    with contextlib.suppress(PackageNotFoundError, ValueError):
        found.setdefault(own, version(own))
    return found
