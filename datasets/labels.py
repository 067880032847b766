"""Cell types: the given column, checked, and the type of the augmentation experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datasets.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_MISSING = ("", "nan")
"""What a table that went through text has where there was no label."""


def given_labels(obs: pd.DataFrame, label_key: str) -> np.ndarray:
    """Return a column of labels as strings.

    Parameters
    ----------
    obs
        One row a cell.
    label_key
        The column.

    Raises
    ------
    DatasetError
        If the column is missing, lacks labels (NaN, or no text), or has a single class.
    """
    column = complete_column(obs, label_key, option="--label-key")
    if len(np.unique(column)) < 2:
        raise DatasetError(
            f"obs[{label_key!r}] has one class only ({column[0]}): name another column with --label-key, "
            f"or drop this one and clusters stand in"
        )
    return column


def complete_column(obs: pd.DataFrame, key: str, *, option: str) -> np.ndarray:
    """Return an obs column as strings; one that is missing or has gaps is an error that names `option`."""
    if key not in obs.columns:
        available = ", ".join(str(column) for column in obs.columns) or "none"
        raise DatasetError(f"there is no column obs[{key!r}]: choose {option} from: {available}")
    column = obs[key].astype(str)
    missing = int((obs[key].isna() | column.str.strip().str.lower().isin(_MISSING)).sum())
    if missing:
        raise DatasetError(
            f"obs[{key!r}] is empty or NaN for {missing} of {len(obs)} cells: label or drop these cells, "
            f"or name another column with {option}"
        )
    return column.to_numpy(dtype=str)


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
    return str(
        types.to_frame().assign(expression=expression).groupby("cell_type")["expression"].mean().idxmax()
    )
