"""Find the whole-number counts of an AnnData, and refuse what is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.errors import DatasetError
from datasets.features import feature_types, names_no_genes

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import DataFrame, Index
    from scipy.sparse import csr_matrix

RAW = "raw"
"""The name by which ``--layer`` means ``.raw``."""

_COUNTS = "counts"
_GIVE_COUNTS = "give whole-number counts in X or layers['counts']"


def matrices(adata: AnnData) -> dict[str, tuple[Any, DataFrame, str]]:
    """Return all matrices of cells: what ``--layer`` calls it → the matrix, its var, and how Python calls it.

    Raises
    ------
    DatasetError
        If ``.raw`` and a layer both answer to ``raw``.
    """
    found = {} if adata.X is None else {"X": (adata.X, adata.var, "X")}
    found |= {name: (adata.layers[name], adata.var, f"layers[{name!r}]") for name in adata.layers}
    if adata.raw is not None:
        if RAW in found:
            raise DatasetError("there are .raw and layers['raw'], and both are called raw: rename the layer")
        found[RAW] = (adata.raw.X, adata.raw.var, ".raw")
    return found


def features_of(adata: AnnData, name: str) -> DataFrame:
    """Return what is known of the features of one of `matrices`; for .raw, what only X's var tells, too.

    A feature of .raw is that of X's var which has its name, if it is unique in both; or its place, where
    .raw begins with all names of X's var.

    Raises
    ------
    DatasetError
        If only X's var tells that some features are no genes, and one of .raw is none of them.
    """
    var: DataFrame = matrices(adata)[name][1]
    if adata.raw is None or name != RAW:
        return var
    types = feature_types(adata.var) if feature_types(var) is None else None
    if types is not None:
        var = var.drop(columns=types.name, errors="ignore")
    more = [column for column in adata.var.columns if column not in var.columns]
    if not more:
        return var
    place = _places(var.index, adata.var_names)
    if types is not None and names_no_genes(types) and (place < 0).any():
        lost = var.index[place < 0]
        raise DatasetError(
            f"var[{types.name!r}] tells which features are no genes, but {len(lost)} of {len(var)} features "
            f"of .raw are not found in var by a unique name (the first is {lost[0]}): give .raw.var this "
            f"column"
        )
    known = adata.var[more].reset_index(drop=True).reindex(place).set_axis(var.index)
    var = var.copy()
    for column in more:
        var[column] = known[column].array
    return var


def _places(names: Index, others: Index) -> np.ndarray:
    """Return where among `others` each name is, -1 where that is not certain."""
    if names[: len(others)].equals(others):
        places = np.arange(len(names))
        return np.where(places < len(others), places, -1)
    unique = np.flatnonzero(~others.duplicated(keep=False))
    found = others[unique].get_indexer(names)
    certain = (found >= 0) & ~names.duplicated(keep=False)
    places = np.full(len(names), -1)
    places[certain] = unique[found[certain]]
    return places


def find_matrix(adata: AnnData, layer: str | None, *, counts: bool = True) -> str:
    """Return the name of the matrix to take, a key of `matrices`.

    Without a layer, ``layers["counts"]`` goes before X where counts are wanted: who writes such a layer says
    what it is. ``.raw`` is never taken unasked, because it often holds log-normalised values.

    Raises
    ------
    DatasetError
        If there is no such matrix.
    """
    names = matrices(adata)
    if layer is None:
        layer = _COUNTS if counts and _COUNTS in names else "X"
        if layer not in names:
            raise DatasetError(f"the data hold no X: {_remedy(adata, layer, counts=counts)}")
    if layer not in names:
        raise DatasetError(f"there is no matrix {layer!r}: choose --layer from {', '.join(names) or 'none'}")
    return layer


def take_matrix(
    adata: AnnData, name: str, *, counts: bool = True, first_cell: int | None = None
) -> csr_matrix:
    """Return one of `matrices`, checked.

    Parameters
    ----------
    adata
        Cells with all their matrices.
    name
        Name of the matrix to take.
    counts
        Whether its values must be whole; in any case they must be finite and not negative.
    first_cell
        Number of the first cell, if the cells are a piece of a larger data set.

    Returns
    -------
    csr_matrix
        float32, sorted, without stored zeros; always a copy.

    Raises
    ------
    DatasetError
        If they are not; it names the matrices that are.
    """
    matrix, _, where = matrices(adata)[name]
    remedy = partial(_remedy, adata, name, counts=counts)
    return checked_values(matrix, where=where, whole=counts, first_cell=first_cell, remedy=remedy)


def checked_values(
    matrix: Any,
    *,
    where: str = "X",
    whole: bool = True,
    first_cell: int | None = None,
    remedy: Callable[[], str] = lambda: _GIVE_COUNTS,
) -> csr_matrix:
    """Return a matrix as finite values from 0 on, whole ones where that is wanted.

    Parameters
    ----------
    matrix
        Matrix n_cells × n_genes, dense or sparse, of any numeric type.
    where, remedy
        Name of the matrix in an error, and function that says what to do about the error.
    whole
        Whether the values must be whole.
    first_cell
        Number of the first cell, if the cells are a piece of a larger data set.

    Returns
    -------
    csr_matrix
        float32, sorted, without stored zeros; always a copy.

    Raises
    ------
    DatasetError
        If the sparse structure is damaged, or a value is not a number, NaN, infinite, negative or not whole.
    """
    values = _numbers(matrix, where=where)
    if (found := _fault(values, whole=whole, first_cell=first_cell)) is not None:
        raise DatasetError(f"{where} holds {found}: {remedy()}")
    values.data = values.data.astype(np.float32)
    values.eliminate_zeros()
    return values


def whole_matrices(adata: AnnData) -> list[str]:
    """Return the names of all matrices that hold whole numbers, and not only zeros."""
    return [name for name, (matrix, _, where) in matrices(adata).items() if _is_whole(matrix, where)]


def require_counts(n_values: int, shape: tuple[int, int], *, where: str = "") -> None:
    """Raise a `DatasetError` that begins with `where` if there is no count in any cell."""
    if not n_values:
        n_cells, n_genes = shape
        raise DatasetError(
            f"{where}no counts at all in {n_cells} cells × {n_genes} genes: give whole-number counts, or "
            f"another matrix with --layer"
        )


def require_sound(matrix: Any, *, where: str) -> None:
    """Raise a `DatasetError` if a compressed sparse matrix has indices that point nowhere.

    scipy itself looks no closer when it makes one, and reads foreign memory later.
    """
    if not hasattr(matrix, "check_format"):
        return
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise DatasetError(
            f"{where} is a damaged sparse matrix ({error}): write the file anew, or give another"
        ) from error


def _numbers(matrix: Any, *, where: str) -> csr_matrix:
    from scipy.sparse import csr_matrix

    require_sound(matrix, where=where)
    if matrix.dtype.kind not in "buif":
        raise DatasetError(
            f"{where} holds values of type {matrix.dtype}, not numbers: give whole-number counts"
        )
    # scipy takes neither half precision nor a foreign byte order.
    values = csr_matrix(matrix.astype(np.promote_types(matrix.dtype, np.float32), copy=False), copy=True)
    values.sum_duplicates()
    return values


def _fault(values: csr_matrix, *, whole: bool, first_cell: int | None = None) -> str | None:
    """Say which values are wrong, and where the first of them is."""
    data = values.data
    faults = {"NaN": np.isnan(data), "infinite": np.isinf(data), "negative": data < 0}
    if whole:
        faults["not whole"] = data != np.floor(data)
    for what, wrong in faults.items():
        if wrong.any():
            position = int(np.argmax(wrong))
            cell = int(np.searchsorted(values.indptr, position, side="right")) - 1
            gene = int(values.indices[position])
            # There may be more in the pieces that were not looked at any more.
            number = f"{'' if first_cell is None else 'at least '}{int(wrong.sum())}"
            return (
                f"{number} values that are {what}, the first is {data[position]} "
                f"at cell {(first_cell or 0) + cell}, gene {gene}"
            )
    return None


def _is_whole(matrix: Any, where: str) -> bool:
    try:
        values = _numbers(matrix, where=where)
    except DatasetError:
        return False
    return bool(values.data.any()) and _fault(values, whole=True) is None


def _remedy(adata: AnnData, refused: str, *, counts: bool) -> str:
    if not counts:
        return "give values that are finite and not negative, or another matrix with --layer"
    others = [name for name in whole_matrices(adata) if name != refused]
    if not others:
        return _GIVE_COUNTS
    told = [matrices(adata)[name][2] for name in others]
    options = " or ".join(f"--layer {name}" for name in others)
    verb = "holds" if len(told) == 1 else "hold"
    return f"{' and '.join(told)} {verb} whole numbers: take {options} (layer= in Python)"
