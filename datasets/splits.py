"""Which cells are for training, validation and test; the controls' cells; cells kept of a rare type."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from datasets.errors import DatasetError
from datasets.features import first_few, plain, require_column
from datasets.labels import as_labels

if TYPE_CHECKING:
    import pandas as pd

_TEST, _VALIDATION, _POOL, _HALVES = range(4)
"""A random stream for each purpose, so that asking for a validation split changes no test cell."""

_WORDS = {
    "train": ("train", "training"),
    "valid": ("val", "valid", "validation"),
    "test": ("test", "testing", "heldout", "holdout"),
}
_PARTS = {word: part for part, words in _WORDS.items() for word in words}

LARGEST_SHARE = Fraction(1, 5)
"""A number of test cells that is meant for a data set of tens of thousands never exceeds this share."""


def held_out_share(test_size: int | float, n_cells: int) -> Fraction:
    """Return the share of cells to hold out: `test_size` cells of `n_cells`, or the share itself.

    Exact, so that int(share · cells of a cluster) is not at the mercy of a binary fraction.
    """
    if isinstance(test_size, int):
        return min(Fraction(test_size, n_cells), LARGEST_SHARE)
    return Fraction(str(test_size))


def split(
    strata: Iterable[str],
    *,
    share: Fraction,
    validation_share: float = 0.0,
    groups: Iterable[str] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Assign every cell to ``"train"``, ``"valid"`` or ``"test"``.

    The test split takes int(share · n) random cells of each stratum's n, or whole groups. The validation
    split takes int(validation_share · n) of the n training cells of each stratum, never a test cell.

    Parameters
    ----------
    strata
        Labels of the n_cells cells (cell types or clusters).
    share, validation_share
        Share of all cells for testing, and share of the training cells for validation.
    groups
        Groups of the n_cells cells (donors), held out whole: groups drawn at random as long as they fit into
        `share`, then the smallest other one if none fits, or if it brings the number of test cells nearer.
    seed
        Seed of the split; the same seed gives the same split.

    Returns
    -------
    np.ndarray
        n_cells strings.

    Raises
    ------
    DatasetError
        If there is only one group, or no cell comes into a split that was asked for.
    """
    labels = np.asarray(strata, dtype=str)
    rng = np.random.default_rng([seed, _TEST])
    if groups is None:
        test = _draw_of_each(labels, np.ones(len(labels), dtype=bool), share, rng)
    else:
        test = _draw_groups(np.asarray(groups, dtype=str), share, rng)
    if not test.any():
        raise DatasetError(
            f"{len(labels)} cells in {len(np.unique(labels))} types or clusters are too few to hold out "
            f"{float(share):.0%} of each for testing: give more cells, or merge the smallest types"
        )
    assigned = np.where(test, "test", "train").astype("<U5")
    if validation_share > 0:
        rng = np.random.default_rng([seed, _VALIDATION])
        valid = _draw_of_each(labels, ~test, Fraction(str(validation_share)), rng)
        if not valid.any():
            raise DatasetError(
                f"a validation share of {validation_share} holds no cell: ask for a larger one, or for none"
            )
        assigned[valid] = "valid"
    return assigned


def given_split(obs: pd.DataFrame, column: str) -> np.ndarray:
    """Return a split that comes with the cells.

    Parameters
    ----------
    obs
        Table with one row for each cell.
    column
        Name of a column that holds ``train``, ``test`` and perhaps ``valid`` (or ``training``, ``val``,
        ``validation``, ``testing``, ``heldout``, in any case), or whose name says what its booleans, or 0 and
        1, mean (``is_train``, ``test``, ``held_out``).

    Returns
    -------
    np.ndarray
        n_cells strings: ``"train"``, ``"valid"`` or ``"test"``.

    Raises
    ------
    DatasetError
        If there is no such column, it holds anything else, or no training or no test cell.
    """
    import pandas as pd

    require_column(obs, column, option="--split-from")
    # A gap is no value that is known, and is told as one.
    words = pd.Series(as_labels(obs[column]), index=obs.index).map(plain)
    meanings = _PARTS
    for yes, no in (("true", "false"), ("1", "0")):
        if set(words) <= {yes, no}:
            part = _PARTS.get(plain(column).removeprefix("is"))
            meanings = {yes: part, no: "test" if part == "train" else "train"} if part else {}
    assigned = words.map(meanings)
    if assigned.isna().any():
        unknown = sorted(set(obs[column][assigned.isna().to_numpy()].astype(str)))
        raise DatasetError(
            f"--split-from {column!r}: obs[{column!r}] holds {first_few(unknown)} for "
            f"{int(assigned.isna().sum())} of {len(obs)} cells: it must say train, test or valid (also "
            f"training, testing, heldout, val, validation) of each, or be booleans called "
            f"is_train or is_test, or 0 and 1 in such a column"
        )
    for part in ("train", "test"):
        if not (assigned == part).any():
            raise DatasetError(
                f"--split-from {column!r}: obs[{column!r}] calls no cell {part}: give both kinds"
            )
    return assigned.to_numpy(dtype="<U5")


def control_pool(assigned: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Mark a random half of the training cells, from which the controls draw.

    Parameters
    ----------
    assigned
        Part that each cell belongs to, n_cells strings from `split`.
    seed
        Seed of the split.

    Returns
    -------
    np.ndarray
        n_cells booleans; int(n / 2) of the n training cells.
    """
    training = np.flatnonzero(assigned == "train")
    pool = np.zeros(len(assigned), dtype=bool)
    pool[np.random.default_rng([seed, _POOL]).permutation(training)[: len(training) // 2]] = True
    return pool


def null_half(pool: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Divide the control pool into two random halves that the control ``null`` compares with each other.

    Parameters
    ----------
    pool
        Whether each cell is in the pool, n_cells booleans from `control_pool`.
    seed
        Seed of the split.

    Returns
    -------
    np.ndarray
        n_cells small integers: 1 and 2 for int(n / 2) each of the pool's n cells, 0 for all other cells.
    """
    cells = np.random.default_rng([seed, _HALVES]).permutation(np.flatnonzero(pool))
    size = len(cells) // 2
    half = np.zeros(len(pool), dtype=np.int8)
    half[cells[:size]], half[cells[size : 2 * size]] = 1, 2
    return half


def require_training_cells(
    cell_types: Iterable[str], assigned: np.ndarray, *, remedy: str = "or choose another split seed"
) -> None:
    """Raise a `DatasetError` if a cell type has no training cell; its end says what else to do."""
    types = np.asarray(cell_types, dtype=str)
    lost = sorted(set(types) - set(types[assigned == "train"]))
    if lost:
        sizes = ", ".join(f"{name} ({int(np.sum(types == name))} cells)" for name in lost)
        raise DatasetError(
            f"the split leaves no training cell of {sizes}: drop or merge these types, {remedy}"
        )


def kept_cells(n_cells: int, fraction: float) -> int:
    """Return how many of `n_cells` cells stay when a type is made rare: ⌊fraction · n_cells⌋, at least one.

    Raises
    ------
    DatasetError
        If the fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise DatasetError(f"fraction {fraction} is not above 0 and at most 1: give for example 0.1")
    # 0.29 · 100 is 28.999999999999996 in binary.
    return max(1, math.floor(fraction * n_cells + 1e-9))


def keep_fraction(cell_types: Iterable[str], *, cell_type: str, fraction: float, seed: int) -> np.ndarray:
    """Return the training cells that stay when one type is made rare.

    All cells of the other types stay, and `kept_cells` of those of `cell_type`.
    For the same seed, the cells of a smaller fraction are among those of a larger one.

    Parameters
    ----------
    cell_types
        Cell types of the n_cells training cells.
    cell_type
        The type to make rare.
    fraction
        Share of the type's cells that stay, above 0 and at most 1.
    seed
        Seed of the choice of the cells that stay.

    Returns
    -------
    np.ndarray
        Sorted indices into `cell_types`.

    Raises
    ------
    DatasetError
        If the type does not occur, or the fraction is out of range.
    """
    types = np.asarray(cell_types, dtype=str)
    members = np.flatnonzero(types == cell_type)
    if len(members) == 0:
        raise DatasetError(
            f"no training cell is of type {cell_type!r}: choose from {', '.join(np.unique(types))}"
        )
    kept = np.random.default_rng(seed).permutation(members)[: kept_cells(len(members), fraction)]
    return np.sort(np.concatenate([np.flatnonzero(types != cell_type), kept]))


def _draw_of_each(
    labels: np.ndarray, allowed: np.ndarray, share: Fraction, rng: np.random.Generator
) -> np.ndarray:
    drawn = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero((labels == label) & allowed)
        drawn[rng.permutation(members)[: math.floor(share * len(members))]] = True
    return drawn


def _draw_groups(groups: np.ndarray, share: Fraction, rng: np.random.Generator) -> np.ndarray:
    names, counts = np.unique(groups, return_counts=True)
    if len(names) < 2:
        raise DatasetError(
            f"all cells are of one group ({names[0]}): name a column with more of them with --split-by"
        )
    sizes: list[int] = counts.tolist()
    missing = share * len(groups)
    held: list[int] = []
    others: list[int] = []
    for index in rng.permutation(len(names)).tolist():
        if sizes[index] <= missing and len(held) < len(names) - 1:
            held.append(index)
            missing -= sizes[index]
        else:
            others.append(index)
    smallest = min(others, key=sizes.__getitem__)
    if not held or (len(others) > 1 and abs(sizes[smallest] - missing) < missing):
        held.append(smallest)
    return np.isin(groups, names[held])
