"""Of all that a file may hold: the counts, the genes and the gene names that were asked for.

Files and AnnData go through `select`, whoever asks: ``bench run``, ``bench score``, ``bench data info``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.counts import features_of, find_matrix, take_matrix
from datasets.errors import DatasetError
from datasets.features import only_genes, plain, require_column, require_upright, texts

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

NOTES = "reading_notes"
"""The key of uns under which a reader tells what the user of the cells should know."""

_NAMELESS = ("", "nan", "NaN", "NA", "N/A", "None", "<NA>")
"""What a table that went through text has where a gene had no name."""


@dataclass(frozen=True)
class Selection:
    """What to take of data that hold more than one matrix, naming or genome.

    Attributes
    ----------
    layer
        Name of the matrix: a layer's name, ``raw`` for ``.raw``, or ``X``; by default ``layers["counts"]`` if
        it exists, else X.
    gene_names
        Column of var whose values name the genes; by default var_names.
    genome
        Genome whose genes are selected; by default all.
    """

    layer: str | None = None
    gene_names: str | None = None
    genome: str | None = None


def select(
    adata: AnnData,
    wanted: Selection,
    *,
    notes: Iterable[str] = (),
    counts: bool = True,
    label_key: str | None = None,
    first_cell: int | None = None,
) -> AnnData:
    """Return the cells that were asked for, checked.

    Parameters
    ----------
    adata
        Cells of a file or of a user; not modified.
    wanted
        What to select of the cells.
    notes
        Notes so far.
    counts
        Whether X must hold whole numbers; in any case it must be finite and not negative.
    label_key
        Column that the cells should have; it helps to distinguish cells from genes.
    first_cell
        Number of the first cell, if the cells are a piece of a larger data set.

    Returns
    -------
    AnnData
        X (CSR float32), obs, var, and ``uns["reading_notes"]``, a list of sentences.

    Raises
    ------
    DatasetError
        If the matrix, the column or the genome does not exist, the matrix holds other values, no feature is
        a gene, or cells and genes look swapped.
    """
    from anndata import AnnData

    told = list(notes)
    require_upright(adata, label_key=label_key)
    name = find_matrix(adata, wanted.layer, counts=counts)
    var = features_of(adata, name)
    with warnings.catch_warnings():
        # Duplicate names are made unique, and noted, where the cells are preprocessed.
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        matrix = take_matrix(adata, name, counts=counts, first_cell=first_cell)
        cells = AnnData(matrix, obs=adata.obs.copy(), var=var.copy())
        cells = only_genes(cells, told)
        cells = _of_genome(cells, wanted.genome, told)
        if wanted.gene_names is not None:
            cells.var_names = _gene_names(cells.var, wanted.gene_names, told)
    cells.uns[NOTES] = told
    return cells


def some_cells(cells: AnnData, rows: np.ndarray) -> AnnData:
    """Return a copy of some cells, whose genes may still have names that come again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        return cells[rows].copy()


def unique_names(names: pd.Index, what: str, notes: list[str]) -> pd.Index:
    """Return names that are unique: a number is added to those that come again, which is noted.

    Parameters
    ----------
    names
        Names of cells or genes.
    what
        Kind of the names: ``"cell"`` or ``"gene"``.
    notes
        List to which the number of duplicates is added.
    """
    from anndata.utils import make_index_unique

    names = names.astype(str)
    if names.is_unique:
        return names
    repeated = names[names.duplicated()]
    notes.append(f"{len(repeated)} duplicate {what} names made unique (the first is {repeated[0]})")
    return make_index_unique(names)


def _of_genome(cells: AnnData, genome: str | None, notes: list[str]) -> AnnData:
    column = next((column for column in cells.var.columns if plain(column) == "genome"), None)
    if column is None:
        if genome is not None:
            raise DatasetError(
                f"--genome {genome!r}: nothing tells the genome of a gene (there is no var['genome']): "
                f"leave it out"
            )
        return cells
    genomes = texts(cells.var[column])
    found = sorted(set(genomes) - {""})
    if genome is None:
        if len(found) > 1:
            notes.append(
                f"genes of {len(found)} genomes stand side by side ({', '.join(found)}): "
                f"--genome takes those of one"
            )
        return cells
    mine = (genomes == genome).to_numpy()
    if not mine.any():
        raise DatasetError(f"--genome {genome!r}: choose from {', '.join(found)}")
    if mine.all():
        return cells
    notes.append(f"{int((~mine).sum())} of {len(mine)} genes are of another genome than {genome}: left out")
    return cells[:, mine].copy()


def _gene_names(var: pd.DataFrame, column: str, notes: list[str]) -> pd.Index:
    import pandas as pd

    require_column(var, column, of="var", option="--gene-names")
    names = texts(var[column]).str.strip()
    nameless = names.isin(_NAMELESS).to_numpy()
    if nameless.all():
        raise DatasetError(f"var[{column!r}] names no gene: give another column with --gene-names")
    if nameless.any():
        first = var.index[int(np.argmax(nameless))]
        notes.append(
            f"{int(nameless.sum())} of {len(var)} genes have no name in var[{column!r}] and keep their own "
            f"(the first is {first})"
        )
    return pd.Index(np.where(nameless, var.index.astype(str), names))
