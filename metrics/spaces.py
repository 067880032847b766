"""The spaces in which cells are compared, and the ways between them.

``counts`` are whole numbers, ``cp20k`` has library size 20 000, ``log_cp20k`` is log1p of that, ``log_cp10k``
log1p of half of it.
`observed_counts` makes counts of normalised expression, for protocols that are called ``+observed``.
Nothing here guesses: the space of a matrix is always an argument.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from metrics.arrays import Floats

Space = Literal["counts", "cp20k", "log_cp20k"]
CellMatrix: TypeAlias = "csr_array[Any] | csr_matrix[Any] | NDArray[Any]"
Csr: TypeAlias = "csr_array[np.float32]"

Normalised = Literal["cp20k", "log_cp20k", "log_cp10k"]
"""Spaces in which cells are compared."""

LIBRARY_SIZE = 20_000.0


def as_csr(matrix: CellMatrix) -> Csr:
    """Return cells × genes as float32 CSR with sorted indices and no stored zeros; the input stays as it is.

    Two cells are equal if and only if their stored indices and values are.
    """
    csr: Csr = csr_array(matrix).astype(np.float32)
    csr.sum_duplicates()
    csr.eliminate_zeros()
    return csr


def to_linear(matrix: CellMatrix, *, space: Space) -> Csr:
    """Undo the logarithm where `space` has one.

    Parameters
    ----------
    matrix
        Cells × genes.
    space
        The space of the values.

    Raises
    ------
    ValueError
        If `space` is unknown.
    """
    if space not in get_args(Space):
        raise ValueError(f"space {space!r} is unknown; use one of {', '.join(get_args(Space))}")
    csr = as_csr(matrix)
    if space == "log_cp20k":
        # Overflow becomes infinite, and infinite library sizes are reported by whoever needs them.
        with np.errstate(over="ignore"):
            csr.data = np.expm1(csr.data, dtype=np.float64).astype(np.float32)
    return csr


def library_sizes(linear: Csr) -> Floats:
    """Sum of each cell, in double precision."""
    return np.asarray(linear @ np.ones(linear.shape[1]), dtype=np.float64)


def normalise(linear: CellMatrix) -> Csr:
    """Scale each cell to library size 20 000; all-zero cells stay zero.

    Parameters
    ----------
    linear
        Cells × genes, ``counts`` or ``cp20k``, no value below 0.
    """
    csr = as_csr(linear)
    sizes = library_sizes(csr)
    factors = np.divide(LIBRARY_SIZE, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    csr.data = (csr.data * np.repeat(factors, np.diff(csr.indptr))).astype(np.float32)
    return csr


def bring_to(matrix: CellMatrix, *, space: Space, target: Normalised, rescale: bool = True) -> Csr:
    """Bring cells of any space to a normalised one.

    Parameters
    ----------
    matrix
        Cells × genes, no value below 0.
    space
        The space of the values.
    target
        The space that they are brought to.
    rescale
        Whether ``cp20k`` and ``log_cp20k`` cells are scaled to library size 20 000, too, as counts are in
        any case.

    Returns
    -------
    csr_array
        Cells × genes, float32.
    """
    csr = to_linear(matrix, space=space)
    if rescale or space == "counts":
        csr = normalise(csr)
    if target == "log_cp10k":
        csr.data = csr.data / np.float32(2)
    if target != "cp20k":
        csr.data = np.log1p(csr.data, dtype=np.float64).astype(np.float32)
    return csr


def to_log_cp20k(matrix: CellMatrix, *, space: Space) -> Csr:
    """Bring cells of any space to ``log_cp20k``, rescaled to library size 20 000.

    Parameters
    ----------
    matrix
        Cells × genes, no value below 0.
    space
        What the values are; ``log_cp20k`` cells are brought back, rescaled and logged again.
    """
    return bring_to(matrix, space=space, target="log_cp20k")


def observed_counts(linear: CellMatrix, sizes: Floats, *, seed: int) -> Csr:
    """Draw the counts that a sequencer would see of normalised expression.

    Each cell is scaled to its library size, and each value is drawn from a Poisson distribution with that
    mean. All-zero cells stay zero.

    Parameters
    ----------
    linear
        Cells × genes, ``cp20k``, no value below 0.
    sizes
        Library size of each cell.
    seed
        Everything random follows from it.

    Returns
    -------
    csr_array
        Cells × genes, whole numbers.
    """
    csr = normalise(linear)
    means = csr.data.astype(np.float64) * np.repeat(sizes / LIBRARY_SIZE, np.diff(csr.indptr))
    csr.data = np.random.default_rng(seed).poisson(means).astype(np.float32)
    csr.eliminate_zeros()
    return csr
