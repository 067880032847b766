"""What a request names, looked up: generators, their budgets, and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.errors import RequestError, named
from bench.request.groups import expanded
from bench.request.names import require_name
from bench.request.registry import METRICS, MODELS, ModelChoice, plugins, resolve_metric, resolve_model
from bench.request.spec import ALL_MODELS, EVERY_METRIC, EVERY_MODEL, RunSpec
from metrics.declaration import Metric
from metrics.protocols import protocol_named
from models.base import Budget, Generator
from reports.view import MetricFacts


def choose_models(spec: RunSpec) -> list[ModelChoice]:
    """Return the generators of a request: those named (or the profile's), then baselines and controls.

    Raises
    ------
    RequestError
        If a name is unknown, given twice or that of a control, or stands beside ``all``.
    """
    wanted = expanded(spec.models or spec.scale.models)
    named = [resolve_model(choice) for choice in wanted if choice != ALL_MODELS]
    if ALL_MODELS in spec.models:
        if named:
            raise RequestError(f"--models {','.join(spec.models)}: give {ALL_MODELS} alone, or names")
        named = _every_model(spec)
    taken = {choice.name for choice in named}
    if len(taken) != len(named):
        raise RequestError(f"--models {','.join(spec.models)}: two of them have the same name")
    beside = (*spec.scale.baselines, *spec.scale.controls)
    for choice in named:
        if choice.name in beside and choice.reference != choice.name:
            raise RequestError(
                f"--models {choice.reference}: {choice.name!r} is the name of a baseline or control: "
                "rename it"
            )
    controls = [resolve_model(name) for name in beside if name not in taken]
    _check_names("set", spec.settings, taken | {control.name for control in controls})
    _check_names("budget", {name: 0 for name in spec.budget if name != EVERY_MODEL}, taken)
    return [*named, *controls]


def _every_model(spec: RunSpec) -> list[ModelChoice]:
    """Return what is registered, models first, but for controls and what lacks its configuration."""
    found = [resolve_model(name) for name in plugins(MODELS)]
    return [
        choice
        for role in ("model", "baseline")
        for choice in found
        if choice.generator.role == role
        and (not (key := choice.generator.configured_by) or key in spec.settings.get(choice.name, {}))
    ]


def choose_metrics(spec_metrics: tuple[str, ...], profile: str, protocols: Sequence[str]) -> list[Metric]:
    """Return the metrics of a request: those named, or the default set (``paper``: all) of its protocols.

    Raises
    ------
    RequestError
        If a named metric is unknown, or exists under none of the protocols, or names stand beside ``all``.
    """
    every = EVERY_METRIC in spec_metrics
    if every and len(spec_metrics) > 1:
        raise RequestError(f"--metrics {','.join(spec_metrics)}: give {EVERY_METRIC} alone, or names")
    named = () if every else spec_metrics
    metrics = [resolve_metric(name) for name in named or plugins(METRICS)]
    possible = [metric for metric in metrics if any(exists_in(metric, name) for name in protocols)]
    if not named:
        return [metric for metric in possible if metric.default or every or profile == "paper"]
    for metric in metrics:
        if metric not in possible:
            raise RequestError(
                f"--metrics {metric.name}: not under protocol {','.join(protocols)}; "
                f"it exists under {', '.join(metric.protocols)}"
            )
    return metrics


def metrics_of(spec: RunSpec) -> list[Metric]:
    """Return the metrics of a request: `choose_metrics`, and attacks on donors where it names these.

    Raises
    ------
    RequestError
        As `choose_metrics`; also if such an attack is named and no column of donors is.
    """
    chosen = choose_metrics(spec.metrics, spec.profile, spec.protocol)
    if spec.donor_key is None:
        for metric in chosen:
            if metric.experiment == "donors" and metric.name in spec.metrics:
                raise RequestError(f"--metrics {metric.name}: name the column of donors with --donor-key")
        return [metric for metric in chosen if metric.experiment != "donors"]
    attacks = [metric for metric in map(resolve_metric, plugins(METRICS)) if metric.experiment == "donors"]
    possible = [metric for metric in attacks if any(exists_in(metric, name) for name in spec.protocol)]
    if not possible:
        raise RequestError(
            f"--donor-key {spec.donor_key}: no attack is defined under {','.join(spec.protocol)}"
        )
    return [*chosen, *(metric for metric in possible if metric not in chosen)]


def exists_in(metric: Metric, protocol: str) -> bool:
    """Tell whether a metric is defined under a protocol; a retraining is never scored as ``+observed``."""
    wanted = protocol_named(protocol)
    return wanted.base in metric.protocols and not (wanted.observed and metric.experiment != "main")


def declaration_of(metric: Metric) -> MetricFacts:
    """Return what a metric declares, as it is stored with a run."""
    return MetricFacts.model_validate({name: getattr(metric, name) for name in MetricFacts.model_fields})


def made(choice: ModelChoice, settings: dict[str, Any]) -> Generator:
    """Construct a generator; some know only then what they can do.

    Raises
    ------
    RequestError
        If its hyper-parameters contradict one another or name what is not there.
    """
    try:
        generator = choice.generator(**settings)
    except Exception as error:
        raise RequestError(named(choice.name, error)) from error
    # Some take their name from a file of their own.
    require_name(generator.name, of=f"model {choice.name!r}")
    return generator


def budget_of(spec: RunSpec, choice: ModelChoice) -> str | None:
    """Return the budget a generator gets: the request's, else its own; None if it does not train.

    Raises
    ------
    RequestError
        If a generator that trains declares no budget for the profile.
    """
    defaults = choice.generator.default_budgets
    own = spec.budget.get(choice.name)
    if own is None and not defaults:
        return None
    text = own or spec.budget.get(EVERY_MODEL) or defaults.get(spec.profile)
    if text is None:
        raise RequestError(
            f"model {choice.name!r} declares no budget for profile {spec.profile!r}: give "
            f"--budget {choice.name}=200steps"
        )
    return str(Budget.parse(text))


def _check_names(option: str, given: dict[str, Any], known: set[str]) -> None:
    for name in given:
        if name not in known:
            raise RequestError(
                f"--{option} {name}: no such model in this run, which has {', '.join(sorted(known))}"
            )
