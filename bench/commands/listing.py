"""``bench list`` and ``bench hardware``: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.errors import DONE, RequestError


def list_plugins(
    what: Annotated[str, typer.Argument(metavar="models|metrics|datasets", show_default=False)],
) -> int:
    """List what is installed: models, metrics or datasets."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from bench.commands.screen import cell_text
    from bench.console import plain_console
    from bench.request.registry import DATASETS, METRICS, MODELS, load, plugins

    groups = {"models": MODELS, "metrics": METRICS, "datasets": DATASETS}
    if what not in groups:
        raise RequestError(f"list {what!r}: choose from {', '.join(groups)}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    columns = {
        "models": ("role", "conditional", "space", "paper"),
        "metrics": ("default", "better", "ideal", "cost", "description"),
        "datasets": ("description", "reference"),
    }[what]
    for column in ("name", *columns):
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "role", "space"))
    for name in plugins(groups[what]):
        try:
            plugin = load(groups[what], name)
        except RequestError as error:
            table.add_row(name, str(error))
            continue
        cells = [cell_text(getattr(plugin, column)) for column in columns]
        if what == "models" and (lacking := plugin.missing()):
            cells[-1] = lacking
        table.add_row(name, *cells)
    plain_console().print(table)
    return DONE


def hardware() -> int:
    """Show what this machine is, as every Record carries it."""
    from bench import hardware
    from bench.commands.screen import show_facts

    show_facts("this machine", hardware.describe() | hardware.load())
    return DONE
