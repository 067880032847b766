"""What a generator promises of its cells (`models.base.Generator`), held against the cells it gives.

A promise that is broken fails the Job, because any score of such cells would be of something else; what can
be put right without guessing is put right, and said.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

LIBRARY_SIZE = 20_000
LIBRARY_SIZE_TOLERANCE = 0.01
MOST_LOGGED = float(np.log1p((1 + LIBRARY_SIZE_TOLERANCE) * LIBRARY_SIZE))


class BrokenContract(Exception):
    """A generator did not do what `models.base.Generator` says; the message is one line."""


@dataclass(frozen=True)
class Contract:
    """What cells of one generator must be like.

    Attributes
    ----------
    space
        Space of the values, as the generator declares it.
    genes
        Names of the training cells' genes, in order.
    cell_types
        Cell types of the training cells.
    """

    space: str
    genes: tuple[str, ...]
    cell_types: frozenset[str]

    @classmethod
    def of(cls, space: str, train: AnnData) -> Contract:
        """Return the contract of a generator that was trained on these cells."""
        types = train.obs["cell_type"].dropna().astype(str).unique()
        return cls(space, tuple(train.var_names.astype(str)), frozenset(types))

    def hold(self, cells: Any, *, n_cells: int, requested: Sequence[str] | None) -> AnnData:
        """Return cells as they may be written, or say which promise they break.

        Warns of genes in another order, which are put right, of library sizes off what ``cp20k`` says, and of
        types that nobody asked for and nobody knows, which are left out.

        Parameters
        ----------
        cells
            Sample that the generator returned.
        n_cells, requested
            Number of cells that were requested, and their types.

        Returns
        -------
        AnnData
            X is CSR float32, without stored zeros; genes are in the order of the training cells.

        Raises
        ------
        BrokenContract
            If cells are too few or too many, genes or types others than asked for, or values NaN, infinite,
            negative or not of the declared space.
        """
        from anndata import AnnData

        if not isinstance(cells, AnnData):
            raise BrokenContract(f"sample returned {type(cells).__name__} instead of AnnData")
        if cells.n_obs != n_cells:
            raise BrokenContract(f"sample returned {cells.n_obs} cells, {n_cells} were asked for")
        cells = self._with_genes_in_order(cells)
        matrix = as_csr(cells.X)
        self._check_values(matrix)
        obs = self._checked_types(cells, requested)
        if matrix is cells.X and obs is cells.obs:
            return cells
        return AnnData(matrix, obs=obs, var=cells.var, uns=dict(cells.uns))

    def _with_genes_in_order(self, cells: AnnData) -> AnnData:
        given = tuple(cells.var_names.astype(str))
        if given == self.genes:
            return cells
        unknown, missing = set(given) - set(self.genes), set(self.genes) - set(given)
        if unknown or missing or len(given) != len(self.genes):
            example = f", such as {min(unknown or missing)!r}" if unknown or missing else ""
            raise BrokenContract(
                f"sample returned other genes than those of the training cells: {len(unknown)} unknown, "
                f"{len(missing)} missing{example}"
            )
        warnings.warn("genes came in another order than the training cells': put right", stacklevel=2)
        return cells[:, list(self.genes)].copy()

    def _check_values(self, matrix: csr_matrix) -> None:
        values = matrix.data
        if not np.isfinite(values).all():
            raise BrokenContract(f"{_rows_with(matrix, ~np.isfinite(values))} hold NaN or infinite values")
        if (values < 0).any():
            raise BrokenContract(f"{_rows_with(matrix, values < 0)} hold negative values")
        if self.space == "counts" and (broken := values != np.rint(values)).any():
            raise BrokenContract(
                f"declared counts, but {_rows_with(matrix, broken)} hold values that are not whole"
            )
        if self.space == "log_cp20k" and values.size and values.max() > MOST_LOGGED:
            raise BrokenContract(
                f"declared log_cp20k, but values reach {values.max():.4g}, where a whole library of "
                f"{LIBRARY_SIZE} in one gene is {MOST_LOGGED:.4g}"
            )
        if self.space == "cp20k":
            sums = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()
            if (abs(sums - LIBRARY_SIZE) > LIBRARY_SIZE_TOLERANCE * LIBRARY_SIZE).any():
                warnings.warn(
                    f"declared cp20k, but library sizes are not {LIBRARY_SIZE}: look at library_size_error, "
                    "and score under --protocol strict+observed, too",
                    stacklevel=3,
                )

    def _checked_types(self, cells: AnnData, requested: Sequence[str] | None) -> pd.DataFrame:
        """Return the cells' annotation; without types if they are not the training cells' own."""
        if "cell_type" not in cells.obs:
            if requested is not None:
                raise BrokenContract('cell types were asked for and obs["cell_type"] is missing')
            return cells.obs
        types = cells.obs["cell_type"]
        if requested is not None:
            if types.astype(str).tolist() != list(map(str, requested)):
                raise BrokenContract("cells are not of the types asked for, in the order asked for")
            return cells.obs
        foreign = types.isna() | ~types.astype(str).isin(self.cell_types)
        if not foreign.any():
            return cells.obs
        warnings.warn(
            f"{foreign.sum()} of {len(types)} cells are of no type of the training cells: "
            'obs["cell_type"] is left out',
            stacklevel=3,
        )
        return cells.obs.drop(columns="cell_type")


def as_csr(matrix: Any) -> csr_matrix:
    """Return a matrix as CSR float32 without stored zeros; the very same one if it is that already.

    Raises
    ------
    BrokenContract
        If it holds no numbers.
    """
    found = in_csr(matrix)
    if found.has_canonical_format and np.all(found.data):
        return found
    # The generator's own matrix stays as it is.
    found = found.copy() if found is matrix else found
    found.sum_duplicates()
    found.eliminate_zeros()
    return found


def in_csr(matrix: Any) -> csr_matrix:
    """Return a matrix as CSR float32; the very same one if it is that already.

    Raises
    ------
    BrokenContract
        If it holds no numbers.
    """
    from scipy.sparse import csr_matrix, issparse

    if getattr(matrix, "dtype", None) is None or matrix.dtype.kind not in "fiub":
        kind = "nothing" if matrix is None else getattr(matrix, "dtype", type(matrix).__name__)
        raise BrokenContract(f"X of the sample holds {kind}, no numbers")
    is_csr = issparse(matrix) and matrix.format == "csr" and matrix.dtype == np.float32
    return matrix if is_csr else csr_matrix(matrix, dtype=np.float32)


def _rows_with(matrix: csr_matrix, broken: np.ndarray) -> str:
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[broken]
    return f"{np.unique(rows).size} of {matrix.shape[0]} cells"


def checksum(train: AnnData) -> dict[str, int]:
    """Return a cheap checksum of each part of the training cells that a generator is given."""
    return {name: zlib.crc32(np.ascontiguousarray(part).data) for name, part in _parts(train)}


def _parts(train: AnnData) -> Iterator[tuple[str, np.ndarray]]:
    from pandas.util import hash_pandas_object
    from scipy.sparse import issparse

    for name, matrix in (("X", train.X), ('layers["counts"]', train.layers["counts"])):
        if not issparse(matrix):
            # On disk, in a file that was opened for reading.
            continue
        for part in ("data", "indices", "indptr"):
            yield f"{name}.{part}", getattr(matrix, part)
    # Of values, not of codes: these would not see that two types changed names.
    for table in ("obs", "var"):
        yield f"{table}_names", hash_pandas_object(getattr(train, f"{table}_names"), index=False).to_numpy()
        for name, column in getattr(train, table).items():
            yield f'{table}["{name}"]', hash_pandas_object(column, index=False).to_numpy()


def require_unchanged(before: dict[str, int], train: AnnData) -> None:
    """Raise BrokenContract if the training cells are not what they were when `checksum` returned `before`."""
    after = checksum(train)
    for name in before | after:
        if before.get(name) != after.get(name):
            how = "" if name in before and name in after else " was added" if name in after else " is gone"
            raise BrokenContract(f"fit changed the training cells: {name}{how}")
