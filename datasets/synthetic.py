"""Cells drawn from negative-binomial types, at any scale: for speed and scale, never for quality claims."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from datasets.declaration import Declaration, Progress
from datasets.errors import DatasetError

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

PREFIX = "synthetic:"
DEFAULT_TYPES = 8

_CELLS_AT_ONCE = 500
_SHAPE = 2.0
"""Of the gamma distribution behind each negative binomial: variance = mean + mean² / 2."""


@dataclass(frozen=True)
class Recipe:
    """How many cells, genes and types to draw."""

    n_cells: int
    n_genes: int
    n_types: int = DEFAULT_TYPES

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``synthetic:CELLSxGENES`` or ``synthetic:CELLSxGENESxTYPES``.

        Raises
        ------
        DatasetError
            If the text is neither, or the numbers are too small to split and cluster.
        """
        match = re.fullmatch(rf"{PREFIX}(\d+)x(\d+)(?:x(\d+))?", text)
        if match is None:
            raise DatasetError(f"{text!r} is not like synthetic:20000x17970 or synthetic:2000x500x4")
        cells, genes, types = (int(number or DEFAULT_TYPES) for number in match.groups())
        enough = 25 * max(types, 2)
        if types < 2 or cells < enough or genes < 50:
            raise DatasetError(
                f"{text!r} is too small: give at least 2 types, 50 genes and 25 cells a type ({enough})"
            )
        return cls(cells, genes, types)


def declared(text: str) -> Declaration:
    """Return what is known of cells that a recipe would give, without drawing them."""
    recipe = Recipe.parse(text)
    return Declaration(
        name=text,
        description="drawn from negative-binomial types",
        reference="",
        label_key="cell_type",
        label_source="the types that the cells were drawn from",
        expected={"cells": recipe.n_cells, "genes": recipe.n_genes, "types": recipe.n_types},
        notes=("synthetic cells: for speed and scale, never for quality claims",),
    )


def draw(recipe: Recipe, *, seed: int = 0, progress: Progress) -> AnnData:
    """Draw cells as `draw_counts` does, named, with their types in ``obs["cell_type"]``."""
    import pandas as pd
    from anndata import AnnData

    counts, types = draw_counts(recipe, seed=seed, progress=progress)
    cells = [f"cell{number}" for number in range(recipe.n_cells)]
    genes = [f"gene{number}" for number in range(recipe.n_genes)]
    obs = pd.DataFrame({"cell_type": [f"type {number + 1}" for number in types]}, index=cells)
    return AnnData(counts, obs=obs, var=pd.DataFrame(index=genes))


def draw_counts(recipe: Recipe, *, seed: int = 0, progress: Progress) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Draw cells, sparse all the way: memory grows with the non-zero counts only.

    Library sizes are log-normal around a median of 2500 counts at 17 970 genes (that of droplet data of the
    paper's years), gene abundances log-normal with every gene expected in some 20 cells (as after filtering);
    each type raises a twentieth of the genes; counts are negative-binomial. At 20 000 × 17 970 this gives
    6 % non-zero values.

    Parameters
    ----------
    recipe
        Numbers of cells, genes and types to draw.
    seed
        Seed of the drawing; the same seed gives the same cells.
    progress
        Function called with the number of cells drawn so far and in all.

    Returns
    -------
    csr_matrix, ndarray
        n_cells × n_genes float32 whole numbers, and n_cells codes of types.
    """
    from scipy import sparse

    rng = np.random.default_rng(seed)
    types = _types(recipe, rng)
    spread = rng.lognormal(0.0, 0.4, recipe.n_cells).astype(np.float32)
    library_sizes = _median_library(recipe.n_genes) * spread
    profiles = _profiles(recipe, rng)
    pieces = []
    for start in range(0, recipe.n_cells, _CELLS_AT_ONCE):
        cells = slice(start, start + _CELLS_AT_ONCE)
        rates = library_sizes[cells, None] * profiles[types[cells]]
        rates *= rng.standard_gamma(_SHAPE, size=rates.shape, dtype=np.float32) / np.float32(_SHAPE)
        pieces.append(sparse.csr_matrix(rng.poisson(rates).astype(np.float32)))
        progress("drawing synthetic cells", min(cells.stop, recipe.n_cells), recipe.n_cells)
    return sparse.vstack(pieces, format="csr"), types


def _median_library(n_genes: int) -> float:
    """Fewer genes are the better expressed ones, so the library shrinks more slowly than their number."""
    return 2500.0 * (n_genes / 17_970) ** 0.5


def _types(recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Assign cells to types of unequal size (∝ 1/√rank), in random order."""
    weights = 1 / np.sqrt(np.arange(1, recipe.n_types + 1))
    edges = np.round(np.cumsum(weights / weights.sum()) * recipe.n_cells)
    return rng.permutation(np.searchsorted(edges, np.arange(recipe.n_cells), side="right"))


def _profiles(recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Return each type's share of counts per gene, n_types × n_genes, rows summing to 1."""
    abundances = rng.lognormal(0.0, 2.1, recipe.n_genes)
    abundances /= abundances.sum()
    floor = 20 / (recipe.n_cells * _median_library(recipe.n_genes))
    profiles = np.tile(np.maximum(abundances, floor), (recipe.n_types, 1))
    raised = rng.random(profiles.shape) < 0.05
    profiles[raised] *= rng.lognormal(1.5, 0.5, int(raised.sum()))
    return (profiles / profiles.sum(axis=1, keepdims=True)).astype(np.float32)
