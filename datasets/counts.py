"""Find the whole-number counts of an AnnData, and refuse what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.errors import DatasetError

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix


def find_counts(adata: AnnData) -> tuple[Any, str]:
    """Return the matrix that should hold counts, and its name.

    ``layers["counts"]`` goes before X: who writes such a layer says what it is. ``.raw`` is never taken,
    because it often holds log-normalised values.

    Raises
    ------
    DatasetError
        If there is neither.
    """
    if "counts" in adata.layers:
        return adata.layers["counts"], "layers['counts']"
    if adata.X is None:
        raise DatasetError("the data hold no matrix: put whole-number counts into X or layers['counts']")
    return adata.X, "X"


def whole_counts(matrix: Any, *, where: str = "X") -> csr_matrix:
    """Return a matrix as whole-number counts.

    Parameters
    ----------
    matrix
        n_cells × n_genes, dense or sparse, any numeric type.
    where
        What to call it in an error.

    Returns
    -------
    csr_matrix
        float32, sorted, without stored zeros; always a copy.

    Raises
    ------
    DatasetError
        If the sparse structure is damaged, or a value is not a number, NaN, infinite, negative or not whole.
    """
    from scipy.sparse import csr_matrix

    require_sound(matrix, where=where)
    if matrix.dtype.kind not in "buif":
        raise DatasetError(
            f"{where} holds values of type {matrix.dtype}, not numbers: give whole-number counts"
        )
    # scipy takes neither half precision nor a foreign byte order.
    counts = csr_matrix(matrix.astype(np.promote_types(matrix.dtype, np.float32), copy=False), copy=True)
    counts.sum_duplicates()
    for what, wrong in (
        ("NaN", np.isnan(counts.data)),
        ("infinite", np.isinf(counts.data)),
        ("negative", counts.data < 0),
        ("not whole", counts.data != np.floor(counts.data)),
    ):
        if wrong.any():
            raise DatasetError(_first_wrong(counts, wrong, what, where))
    counts.data = counts.data.astype(np.float32)
    counts.eliminate_zeros()
    return counts


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


def _first_wrong(counts: csr_matrix, wrong: np.ndarray, what: str, where: str) -> str:
    position = int(np.argmax(wrong))
    cell = int(np.searchsorted(counts.indptr, position, side="right")) - 1
    gene = int(counts.indices[position])
    return (
        f"{where} holds {int(wrong.sum())} values that are {what}, the first is {counts.data[position]} "
        f"at cell {cell}, gene {gene}: give whole-number counts in X or layers['counts']"
    )
