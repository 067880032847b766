"""Which features of a file are genes, and whether genes and cells stand where they should."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from datasets.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_FEATURE_TYPES = {"featuretype", "featuretypes"}
_TYPE_COLUMNS = _FEATURE_TYPES | {"featurebiotype", "modality", "modalities"}
"""Columns of var that tell types of features, in any spelling (``feature_types``, ``Feature Type``…)."""

_SURELY_GENES = "geneexpression"
_GENES = {_SURELY_GENES, "gene", "genes", "gex", "mrna", "rna"}
_NO_GENES = {
    "adt",
    "antibody",
    "antibodycapture",
    "antigencapture",
    "atac",
    "crisprguidecapture",
    "custom",
    "hto",
    "multiplexingcapture",
    "peak",
    "peaks",
    "prot",
    "protein",
    "spikein",
}
_UNTYPED = {"", "nan", "none", "na"}

_BARCODE = re.compile(r"([\w.]+[_:#-])?[ACGT]{10,}([-_.]\w+)*")
_CELL = re.compile(r"(cell|barcode|bc)[ _-]?\d+([-_.]\w+)*", re.IGNORECASE)
_SHORT_CELL = re.compile(r"[cb]\d+", re.IGNORECASE)
_GENE = re.compile(r"ENS[A-Z]*G\d{6,}(\.\d+)?|gene[ _-]?\d+", re.IGNORECASE)
_SHORT_GENE = re.compile(r"g\d+", re.IGNORECASE)
_FAMILIES = re.compile(r"(MT-|RPL|RPS|NDUF|HLA-|H2-|SLC|ZNF|Zfp)\w+", re.IGNORECASE)
_ENOUGH_OF_FAMILIES = 10
_LOOKED_AT = 5000
_MOST_TYPES = 50


def plain(text: object) -> str:
    """Return a name with nothing but its letters and digits, in lower case."""
    return re.sub(r"[\W_]+", "", str(text)).lower()


def only_genes(adata: AnnData, notes: list[str], *, where: str = "the data") -> AnnData:
    """Return cells without the features that ``var["feature_types"]`` calls something else than genes.

    Parameters
    ----------
    adata
        Cells × features; not modified. The column may be spelt as it likes (``feature_type``,
        ``Feature Type``), or be called something else as long as it says ``Gene Expression``. Columns that
        tell biotypes (``protein_coding``) are none.
    notes
        Told how many features were left out, and of which types.
    where
        What to call the cells in an error.

    Raises
    ------
    DatasetError
        If no feature is a gene.
    """
    types = feature_types(adata.var)
    if types is None:
        return adata
    words = types.map(plain).to_numpy(dtype=str)
    untyped = np.isin(words, list(_UNTYPED))
    genes = np.isin(words, list(_GENES)) | untyped
    others = ", ".join(sorted(set(types[~genes])))
    if not (genes & ~untyped).any():
        raise DatasetError(f"{where} has no feature of type 'Gene Expression', only {others}: give genes")
    if not genes.all():
        notes.append(
            f"{int((~genes).sum())} of {len(genes)} features are no genes ({others}) and are left out"
        )
    if untyped.any():
        notes.append(f"{int(untyped.sum())} of {len(genes)} features have no type and are taken for genes")
    return adata if genes.all() else adata[:, genes].copy()


def feature_types(var: pd.DataFrame) -> pd.Series | None:
    """Return the type of each feature as a string, or None where no column tells it."""
    for column in var.columns:
        if var[column].dtype.kind in "biufc":
            continue
        types = var[column].astype(object).where(var[column].notna(), "").astype(str)
        if types.nunique() > _MOST_TYPES:
            continue
        words = {plain(word) for word in types.unique()} - _UNTYPED
        named = plain(column) in _TYPE_COLUMNS
        if _SURELY_GENES in words or (named and words and (words & _GENES or words <= _NO_GENES)):
            return types
    return None


def require_upright(adata: AnnData, *, label_key: str | None = None) -> None:
    """Raise a `DatasetError` if cells and genes look swapped, by their names or their columns.

    Parameters
    ----------
    adata
        Cells × genes.
    label_key
        A column that cells should have.
    """
    cells, genes = (_some(names) for names in (adata.obs_names, adata.var_names))
    reasons = []
    if _share(genes, _BARCODE, _CELL) > 0.5 >= _share(cells, _BARCODE, _CELL):
        reasons.append("its genes are named like cells")
    if _like_genes(cells) and not _like_genes(genes):
        reasons.append("its cells are named like genes")
    if _share(cells, _SHORT_GENE) > 0.9 and _share(genes, _SHORT_CELL) > 0.9:
        reasons.append("its cells are named like genes and its genes like cells")
    if label_key is not None and label_key in adata.var.columns and label_key not in adata.obs.columns:
        reasons.append(f"var, not obs, has the column {label_key!r}")
    columns = {plain(column) for column in adata.obs.columns}
    if columns & _FEATURE_TYPES and feature_types(adata.obs) is not None and feature_types(adata.var) is None:
        reasons.append("obs, not var, tells types of features")
    if reasons:
        raise DatasetError(
            f"the matrix looks transposed: {' and '.join(reasons)} (first cell {cells[0]!r}, first gene "
            f"{genes[0]!r}): give cells × genes, such as adata.T"
        )


def _some(names: pd.Index) -> list[str]:
    """Return names from all over an index, no more than a look needs."""
    return [str(name) for name in names[:: 1 + len(names) // _LOOKED_AT]]


def _share(names: list[str], *patterns: re.Pattern[str]) -> float:
    found = [any(pattern.fullmatch(name) for pattern in patterns) for name in names]
    return float(np.mean(found)) if found else 0.0


def _like_genes(names: list[str]) -> bool:
    if _share(names, _GENE) > 0.5:
        return True
    return sum(_FAMILIES.fullmatch(name) is not None for name in names) >= _ENOUGH_OF_FAMILIES
