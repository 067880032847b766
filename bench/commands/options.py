"""Options that several commands have."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, get_type_hints

import typer

from bench.request.names import names_in

Command: TypeAlias = Callable[..., int]

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Metrics = Annotated[
    str | None, typer.Option(help="Metric names, by commas, or all (default: see bench list metrics).")
]
Protocol = Annotated[
    str | None,
    typer.Option(help="strict, activa2022, groundgan2024, cfgen2025, cfgen2026; +observed at the end."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the Jobs and what they will cost.")]

READING: Final[dict[str, tuple[Any, str]]] = {
    "label_key": (str, "Column of obs that holds the cell types."),
    "layer": (str, "Matrix of counts: a layer's name, raw or X (default: layer counts, else X)."),
    "gene_names": (str, "Column of var that names the genes."),
    "genome": (str, "Take the genes of this genome."),
    "split_by": (str, "Hold out whole groups of this column of obs."),
    "split_seed": (int, "Seed of the test split."),
    "donor_key": (str, "Column of obs that names donors: runs the donor attack."),
    "split_from": (str, "Column of obs that says train, test or valid of each cell."),
    "drop_unlabelled": (bool, "Leave out cells without a label instead of refusing."),
}
"""How data are read and split: option → its type and its help; as `bench.request.spec.DataOptions`,
which the command line must not import."""


def reads_data(*names: str, **told: str) -> Callable[[Command], Command]:
    """Give a command options of `READING` in place of its parameter `reading`, a dict of those given.

    Parameters
    ----------
    *names
        Names of the options to add; none means all.
    **told
        Help texts that replace those of `READING`, by the name of the option.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name == "reading":
                parameters += [_option(name, told.get(name)) for name in names or READING]
            else:
                parameters.append(parameter.replace(annotation=hints[parameter.name]))

        @wraps(command)
        def call(*arguments: Any, **options: Any) -> int:
            given = {name: options.pop(name) for name in READING if name in options}
            reading = {name: value for name, value in given.items() if value is not None}
            return command(*arguments, **options, reading=reading)

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return call

    return decorate


def _option(name: str, told: str | None) -> inspect.Parameter:
    kind, help_ = READING[name]
    # A flag has no --no-… beside it.
    flag = [f"--{name.replace('_', '-')}"] if kind is bool else []
    annotation = Annotated[kind | None, typer.Option(*flag, help=told or help_)]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def names_of(option: str, text: str | None) -> tuple[str, ...] | None:
    """Read names by commas; None where the option was not given.

    Raises
    ------
    RequestError
        If it was given and names nothing.
    """
    return None if text is None else names_in(option, text)
