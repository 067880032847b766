"""Cell types: the given column, checked, and the type of the augmentation experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datasets.errors import DatasetError
from datasets.features import require_column

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

LABEL_KEY = "--label-key"

_MISSING = ("", "nan", "na", "n/a", "none", "<na>")
"""What a table that went through text has where there was no label."""


def given_labels(obs: pd.DataFrame, label_key: str) -> np.ndarray:
    """Return a column of labels as strings.

    Parameters
    ----------
    obs
        Table with one row for each cell.
    label_key
        Name of the column with the labels.

    Raises
    ------
    DatasetError
        If the column is missing, lacks labels (NaN, or no text), or has a single class.
    """
    column = complete_column(obs, label_key, option=LABEL_KEY)
    if len(np.unique(column)) < 2:
        raise DatasetError(
            f"obs[{label_key!r}] has one class only ({column[0]}): name another column with --label-key, "
            f"or drop this one and clusters stand in"
        )
    return column


def complete_column(obs: pd.DataFrame, key: str, *, option: str) -> np.ndarray:
    """Return an obs column as strings; one that is missing or has gaps is an error that names `option`."""
    missing = unlabelled(obs, key, option=option)
    if missing.any():
        gaps = obs[key][missing]
        spelt = {repr(word) for word in gaps.dropna().astype(str)} | ({"NaN"} if gaps.isna().any() else set())
        drop = ", leave these cells out with --drop-unlabelled" if option == LABEL_KEY else ""
        raise DatasetError(
            f"obs[{key!r}] is empty or NaN for {len(gaps)} of {len(obs)} cells ({', '.join(sorted(spelt))})"
            f"{drop}, label them, or name another column with {option}"
        )
    return as_labels(obs[key])


def unlabelled(obs: pd.DataFrame, key: str, *, option: str = LABEL_KEY) -> np.ndarray:
    """Tell which cells have no label: NaN, no text, or a gap that became text (``NA``, ``None``, ``<NA>``…).

    Raises
    ------
    DatasetError
        If there is no such column; it names `option`.
    """
    require_column(obs, key, option=option)
    text = obs[key].astype(str).str.strip().str.lower()
    return (obs[key].isna() | text.isin(_MISSING)).to_numpy(dtype=bool)


def as_labels(column: pd.Series) -> np.ndarray:
    """Return labels as strings; numbers that a gap made floating-point ones are whole again.

    However they are held: as numbers, as categories or one by one.
    """
    import pandas as pd

    held = column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column
    if pd.api.types.infer_dtype(held) in ("floating", "mixed-integer-float"):
        numbers = held.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all():
            return numbers.astype(np.int64).astype(str)
    return column.astype(str).to_numpy(dtype=str)


def rare_type(adata: AnnData) -> str:
    """Return the cell type of the augmentation experiment.

    Where the data set names marker genes, the type with the highest mean log1p expression of them among
    the training cells; else the most frequent type of the training cells.

    Parameters
    ----------
    adata
        A prepared data set, in memory or backed by its file.
    """
    train = adata.obs["split"] == "train"
    types = adata.obs.loc[train, "cell_type"].astype(str)
    wanted = set(adata.uns["bench"]["rare_type_markers"])
    markers = [gene for gene in adata.var_names if gene in wanted]
    if not markers:
        return str(types.value_counts().idxmax())
    expression = np.asarray(adata[train, markers].to_memory().X.log1p().mean(axis=1)).ravel()
    by_type = types.to_frame().assign(expression=expression).groupby("cell_type")["expression"]
    return str(by_type.mean().idxmax())
