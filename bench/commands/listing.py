"""``bench list`` and ``bench hardware``: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.commands.screen import cell_text, folded_table, show_facts
from bench.console import plain_console
from bench.errors import DONE, RequestError


def list_plugins(
    what: Annotated[str, typer.Argument(metavar="models|metrics|datasets", show_default=False)],
) -> int:
    """List what is installed: models, metrics or datasets."""
    from bench.request.registry import DATASETS, METRICS, MODELS, load, plugins

    groups = {
        "models": (MODELS, "role", "conditional", "space", "paper"),
        "metrics": (METRICS, "default", "better", "ideal", "cost", "description"),
        "datasets": (DATASETS, "description", "reference"),
    }
    if what not in groups:
        raise RequestError(f"list {what!r}: choose from {', '.join(groups)}")
    group, *columns = groups[what]
    table = folded_table(["name", *columns], whole=("name", "role", "space"))
    for name in plugins(group):
        try:
            plugin = load(group, name)
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

    show_facts("this machine", hardware.describe() | hardware.load())
    return DONE
