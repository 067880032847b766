"""A request with everything looked up, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import hardware
from bench.errors import RequestError, refused
from bench.hardware.environment import describe_for, resolve_device
from bench.progress import Progress
from bench.request.choices import budget_of, choose_models, made, metrics_of
from bench.request.hyperparameters import hyperparameters
from bench.request.papers import Beside
from bench.request.plan import DatasetFacts, Job, augmentation_experiments, make_plan
from bench.request.registry import ModelChoice
from bench.request.scored import MOST_SCORED, scored_rows, told_of_scored
from bench.request.sharing import Sharing
from bench.request.spec import RunSpec
from bench.work.resources import available_bytes
from bench.work.settle import all_settled

if TYPE_CHECKING:
    from anndata import AnnData

    from datasets import Prepared
    from metrics.declaration import Metric


@dataclass(frozen=True)
class Draft:
    """A request with everything looked up, before anything is written.

    Attributes
    ----------
    spec, prepared, facts
        The request; its prepared data set in the cache; what the plan needs to know about that data set.
    choices, metrics, jobs
        Generators, metrics and Jobs of the run.
    machine
        Description of this machine, from `bench.hardware.environment.describe_for`.
    train_shape
        Numbers of training cells and of genes.
    provenance
        The data set's ``uns["bench"]``.
    beside
        What a run of papers needs in addition to its request; None for other runs.
    """

    spec: RunSpec
    prepared: Prepared
    facts: DatasetFacts
    choices: list[ModelChoice]
    metrics: list[Metric]
    jobs: list[Job]
    machine: dict[str, Any]
    train_shape: tuple[int, int]
    provenance: dict[str, Any]
    beside: Beside | None = None


def draft(
    spec: RunSpec, *, adata: AnnData | None = None, progress: Progress, beside: Beside | None = None
) -> Draft:
    """Look up models, metrics, hardware and data set, and lay out the Jobs.

    Raises
    ------
    RequestError
        If any of them is not to be had; the cheap checks come first.
    """
    device = resolve_device(spec.device)
    sharing = Sharing.of(spec, device=device)
    threads = sharing.threads(spec.threads)
    machine = describe_for(device, threads, sharing.first_gpu)
    check_hardware(spec.hardware, machine)
    if spec.out.exists() and not spec.out.is_dir():
        raise RequestError(f"--out {str(spec.out)!r} is a file: give a folder")
    choices = choose_models(spec)
    check_models(spec, choices)
    sharing.require_budgets({choice.name: budget_of(spec, choice) for choice in choices})
    metrics = metrics_of(spec)
    prepared = prepare_dataset(spec, adata, progress)
    facts, train_shape, provenance = read_facts(prepared)
    with_augmentation = any(metric.experiment == "augmentation" for metric in metrics)
    jobs = make_plan(
        spec,
        facts,
        choices,
        device=device,
        with_augmentation=with_augmentation,
        with_donors=any(metric.experiment == "donors" for metric in metrics),
        settled=all_settled(spec, choices, n_genes=facts.n_genes, device=device, threads=threads),
        # What Jobs take that share cores is not told.
        timed=() if sharing.jobs > 1 else None if beside is None else beside.timed,
        threads=threads,
    )
    if with_augmentation and not augmentation_experiments(spec, facts):
        missing = (
            f"no augmentation experiment: its type, {facts.augmentation_type}, has too few training cells"
        )
        if len(facts.train_types) > MOST_SCORED["train"]:
            missing = "no augmentation experiment: scores look at a sample of the training cells"
        provenance["notes"].append(missing)
        progress.say(missing)
    for note in provenance["notes"]:
        progress.say(f"note: {note}")
    return Draft(spec, prepared, facts, choices, metrics, jobs, machine, train_shape, provenance, beside)


def check_hardware(declared: str | None, machine: dict[str, Any]) -> None:
    """Raise a RequestError if this machine is not what `declared` says it should be."""
    if declared is None:
        return
    with refused(ValueError, f"--hardware {declared}: "):
        differences = hardware.check(hardware.declared(declared), machine)
    if differences:
        raise RequestError(f"--hardware {declared}: {'; '.join(differences)}")


def check_models(spec: RunSpec, choices: list[ModelChoice]) -> None:
    """Raise a RequestError for a hyper-parameter or budget that cannot be, before any data are fetched."""
    for choice in choices:
        made(choice, hyperparameters(choice.generator, spec.settings.get(choice.name)))
        budget_of(spec, choice)


def prepare_dataset(spec: RunSpec, adata: AnnData | None, progress: Progress) -> Prepared:
    """Return the request's data set, prepared and in the cache."""
    import datasets

    cells, memory = spec.dataset if adata is None else adata, spec.memory or available_bytes()
    with refused(datasets.DatasetError), progress.transfers() as report:
        return datasets.prepare(cells, memory=memory, progress=report, **spec.data_options)


def read_facts(prepared: Prepared) -> tuple[DatasetFacts, tuple[int, int], dict[str, Any]]:
    """Read what the plan needs from a prepared data set, without its matrix."""
    import datasets

    with datasets.opened(prepared.path) as adata:
        train, scored = adata.obs["split"] == "train", adata.obs[scored_rows(adata.obs)]
        pool = scored[scored["control_pool"]]
        facts = DatasetFacts(
            name=prepared.name,
            key=prepared.key,
            train_types=adata.obs.loc[train, "cell_type"].astype(str),
            n_genes=adata.n_vars,
            n_test=int((scored["split"] == "test").sum()),
            n_pool=len(pool),
            augmentation_type=datasets.rare_type(adata),
            pool_donors=pool["donor"].astype(str).tolist() if "donor" in pool else None,
        )
        adata.uns["bench"]["notes"] += told_of_scored(adata.obs)
        return facts, (int(train.sum()), adata.n_vars), adata.uns["bench"]
