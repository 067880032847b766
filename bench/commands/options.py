"""Options by which several commands say how data are read and split."""

from __future__ import annotations

from typing import Annotated

import typer

LabelKey = Annotated[str | None, typer.Option(help="Column of obs that holds the cell types.")]
Layer = Annotated[
    str | None,
    typer.Option(help="Matrix of counts: a layer's name, raw or X (default: layer counts, else X)."),
]
GeneNames = Annotated[str | None, typer.Option(help="Column of var that names the genes.")]
Genome = Annotated[str | None, typer.Option(help="Take the genes of this genome.")]
SplitBy = Annotated[str | None, typer.Option(help="Hold out whole groups of this column of obs.")]
SplitSeed = Annotated[int | None, typer.Option(help="Seed of the test split.")]
SplitFrom = Annotated[
    str | None, typer.Option(help="Column of obs that says train, test or valid of each cell.")
]
DropUnlabelled = Annotated[
    bool, typer.Option("--drop-unlabelled", help="Leave out cells without a label instead of refusing.")
]
