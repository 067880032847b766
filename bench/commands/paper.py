"""``bench paper``: what papers printed, put to the test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands.options import Device, DryRun, names_of, reads_data
from bench.commands.run import begin
from bench.commands.screen import folded_table
from bench.console import plain_console
from bench.errors import DONE, RequestError


@reads_data()
def paper(
    names: Annotated[
        str | None, typer.Argument(metavar="[NAME,…|all]", help="Papers.", show_default=False)
    ] = None,
    *,
    dataset: Annotated[
        str | None, typer.Option(help="The paper's data set, or another in its place, which is marked.")
    ] = None,
    reading: dict[str, Any],
    budget: Annotated[
        str, typer.Option(help="Of each training, such as 2min, or paper for what the papers trained.")
    ] = "30s",
    seeds: Annotated[str, typer.Option(help="Training seeds, such as 0,1,2 or 0-4.")] = "0-2",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder for run folders.")] = Path("runs"),
    dry_run: DryRun = False,
) -> int:
    """Measure what papers printed, beside floors and real cells; without --dataset show what they printed."""
    from bench.request import spec
    from bench.request.papers import Beside, papers_named, what_papers_take

    chosen = papers_named(names_of("paper", names) or ())
    if dataset is None:
        if reading:
            raise RequestError("paper: how to read cells was given, and no --dataset")
        if not chosen:
            return _list()
        for name in chosen:
            _show(name)
        return DONE
    if not chosen:
        raise RequestError(f"paper --dataset {dataset}: name papers, or all")
    given = what_papers_take(chosen)
    if "donor_key" not in reading:
        # Without donors there is nobody to attack: its rows say so.
        given["metrics"] = tuple(name for name in given["metrics"] if name != "donor_attack")
        if not given["metrics"]:
            raise RequestError(f"paper {','.join(chosen)}: name the column of donors with --donor-key")
    if budget == "paper":
        given["profile"] = "paper"
    else:
        given["budget"] = spec.parse_budgets(budget)
    request = spec.RunSpec.checked(
        **given, dataset=dataset, seeds=spec.parse_seeds("seeds", seeds), device=device, out=out, **reading
    )
    return begin(request, dry_run=dry_run, beside=Beside.of(chosen))


def _list() -> int:
    """Print the papers there are."""
    from bench.request.registry import DATASETS, plugins
    from reports.papers import papers

    table = folded_table(("name", "paper", "figures", "data sets (*: none is declared here)"))
    declared = plugins(DATASETS)
    for name, paper in papers().items():
        sources = dict.fromkeys(figure.dataset for figure in paper.figures)
        words = ", ".join(source if source in declared else f"{source}*" for source in sources)
        table.add_row(name, paper.title, str(sum(len(figure.printed) for figure in paper.figures)), words)
    plain_console().print(table)
    return DONE


def _show(name: str) -> None:
    """Print what a paper printed, and how to measure it."""
    from bench.request.papers import what_papers_take
    from reports.papers import papers

    console, paper = plain_console(), papers()[name]
    columns = ("quantity", "data set", "protocol", "where", "printed (*: of a model that others made)")
    table = folded_table(columns, title=paper.title)
    for figure in paper.figures:
        words = [
            f"{model}{'*' * paper.is_second_hand(model)} {figure.sign}{' ±'.join(f'{v:g}' for v in values)}"
            for model, values in figure.printed.items()
        ]
        where = ", ".join(filter(None, (figure.where, figure.hardware)))
        table.add_row(figure.named, figure.dataset, paper.protocol_of(figure), where, ", ".join(words))
    console.print(table)
    if paper.second_hand:
        console.print(f"Printed by {paper.second_hand}.")
    console.print(paper.note)
    taken = ", ".join(what_papers_take([name])["models"])
    console.print(f"Measured here with {taken}: bench paper {name} --dataset …", soft_wrap=True)
