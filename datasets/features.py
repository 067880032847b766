"""Which features of a file are genes, and whether genes and cells stand where they should."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
_PROTEINS = {"adt", "antibodies", "antibody", "antibodycapture", "antigencapture", "prot", "protein"}
_GUIDES_AND_TAGS = {"crisprguidecapture", "grna", "hashtag", "hto", "multiplexingcapture", "sgrna"}
_NO_GENES = _PROTEINS | _GUIDES_AND_TAGS | {"atac", "custom", "peak", "peaks", "spikein"}
_DOUBTFUL = {"custom", "prot", "protein"}
"""Words that may mean something else in a column that is not named for types of features."""

_BIOTYPE = re.compile(
    r"proteincoding|\w*pseudogene|\w*rna|(ig|tr)\w*gene|tec|ribozyme|artifact|antisense|sense\w+|"
    r"processedtranscript"
)
_UNTYPED = {"", "nan", "none", "na"}

_BARCODE = re.compile(r"([\w.]+[_:#-])?[ACGT]{10,}([-_.]\w+)*")
_CELL = re.compile(r"(cell|barcode|bc)[ _-]?\d+([-_.]\w+)*", re.IGNORECASE)
_SHORT_CELL = re.compile(r"[cb]\d+", re.IGNORECASE)
_GENE = re.compile(r"ENS[A-Z]*G\d{6,}(\.\d+)?|gene[ _-]?\d+", re.IGNORECASE)
_SHORT_GENE = re.compile(r"g\d+", re.IGNORECASE)
_FAMILIES = re.compile(r"(MT-|RPL|RPS|NDUF|HLA-|H2-|SLC|ZNF|ZFP)\w+", re.IGNORECASE)
_ENOUGH_OF_FAMILIES, _ENOUGH_FAMILIES = 10, 3
_CELL_TYPE = "cell_type"
_LOOKED_AT = 5000
_MOST_TYPES = 50
_SHOWN = 5


def plain(text: object) -> str:
    """Return a name with nothing but its letters and digits, in lower case."""
    return re.sub(r"[\W_]+", "", str(text)).lower()


def texts(column: pd.Series) -> pd.Series:
    """Return a column as strings, gaps as ``""``."""
    return column.astype(object).where(column.notna(), "").astype(str)


def require_column(table: pd.DataFrame, name: str, *, of: str = "obs", option: str) -> None:
    """Raise a `DatasetError` that names `option` if a table of cells, or `of` genes, has no such column."""
    if name not in table.columns:
        available = ", ".join(str(column) for column in table.columns) or "none"
        raise DatasetError(f"there is no column {of}[{name!r}]: choose {option} from: {available}")


def first_few(names: list[str]) -> str:
    """Return a list in words: its first names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def only_genes(adata: AnnData, notes: list[str], *, where: str = "the data") -> AnnData:
    """Return cells without the features that ``var["feature_types"]`` calls something else than genes.

    Parameters
    ----------
    adata
        Cells × features; not modified. Any spelling of the column's name is accepted (``feature_type``,
        ``Feature Type``), and any other name if the column's words are unambiguous (``Gene Expression``, or
        ``RNA`` and ``ADT``). Biotypes (``protein_coding``, ``lncRNA``) are genes.
    notes
        List to which notes are added: how many features were left out, and of which types; how many were kept
        without a type or with an unknown one.
    where
        Name of the cells in an error.

    Raises
    ------
    DatasetError
        If no feature is a gene.
    """
    types = feature_types(adata.var)
    if types is None and (types := _strange_types(adata.var)) is None:
        return adata
    words = types.map(plain)
    untyped = words.isin(_UNTYPED).to_numpy()
    strange = words.map(_strange).to_numpy(dtype=bool)
    genes = ~_no_genes(words)
    others = ", ".join(sorted(set(types[~genes])))
    if not (genes & ~untyped).any():
        raise DatasetError(f"{where} has no feature of type 'Gene Expression', only {others}: give genes")
    if not genes.all():
        notes.append(
            f"{int((~genes).sum())} of {len(genes)} features are no genes ({others}) and are left out"
        )
    _tell_kept(notes, untyped, "have no type and are taken for genes")
    unknown = ", ".join(sorted(set(types[strange & genes])))
    _tell_kept(notes, strange & genes, f"are of a type that is not known ({unknown}) and are taken for genes")
    return adata if genes.all() else adata[:, genes].copy()


def _tell_kept(notes: list[str], which: np.ndarray, what: str) -> None:
    """Note which features stay, unless the reader of the file did so before."""
    if which.any() and not any(note.endswith(what) for note in notes):
        notes.append(f"{int(which.sum())} of {len(which)} features {what}")


def feature_types(var: pd.DataFrame) -> pd.Series | None:
    """Return the type of each feature as a string, or None where no column tells it."""
    for column in var.columns:
        types = _texts(var[column])
        if types is not None and are_types(types.unique(), named=plain(column) in _TYPE_COLUMNS):
            return types
    return None


def names_no_genes(types: pd.Series) -> bool:
    """Tell whether types of features name any that are no genes."""
    return bool(_no_genes(types.map(plain)).any())


def are_types(values: Iterable[str], *, named: bool = False) -> bool:
    """Tell whether the values of a column tell genes from other features.

    Parameters
    ----------
    values
        Distinct values of a column.
    named
        Whether the name of the column says that they are types of features.
    """
    all_words = {plain(value) for value in values}
    words = all_words - _UNTYPED
    if _SURELY_GENES in words:
        return True
    if named:
        return bool(words & (_GENES | _NO_GENES))
    sure = bool(words & (_NO_GENES - _DOUBTFUL)) and words <= _GENES | _NO_GENES
    return sure and (bool(words & _GENES) or words == all_words)


def _texts(column: pd.Series) -> pd.Series | None:
    """Return a column of var as strings, gaps as ``""``; None for numbers and for too many values."""
    if column.dtype.kind in "biufc":
        return None
    found = texts(column)
    return found if found.nunique() <= _MOST_TYPES else None


def _strange_types(var: pd.DataFrame) -> pd.Series | None:
    """Return the column named for types of features that has words which are not known, if there is one."""
    for column in var.columns:
        types = _texts(var[column]) if plain(column) in _FEATURE_TYPES else None
        if types is not None and any(_strange(plain(word)) for word in types.unique()):
            return types
    return None


def _strange(word: str) -> bool:
    return word not in _GENES | _NO_GENES | _UNTYPED and _BIOTYPE.fullmatch(word) is None


def _no_genes(words: pd.Series) -> np.ndarray:
    """Tell which features are no genes: beside ``Gene Expression``, unknown words mean something else."""
    no_genes = words.isin(_NO_GENES)
    if (words == _SURELY_GENES).any():
        no_genes |= words.map(_strange).astype(bool)
    return no_genes.to_numpy(dtype=bool)


def require_upright(adata: AnnData, *, label_key: str | None = None) -> None:
    """Raise a `DatasetError` if cells and genes look swapped, by their names or their columns.

    Parameters
    ----------
    adata
        AnnData, cells × genes.
    label_key
        Column of obs that the cells should have; ``cell_type`` by default.
    """
    label_key = label_key or _CELL_TYPE
    cells, genes = (_some(names) for names in (adata.obs_names, adata.var_names))
    reasons = []
    if _share(genes, _BARCODE, _CELL) > 0.5 >= _share(cells, _BARCODE, _CELL):
        reasons.append("its genes are named like cells")
    if _like_genes(cells) and not _like_genes(genes):
        reasons.append("its cells are named like genes")
    if _share(cells, _SHORT_GENE) > 0.9 and _share(genes, _SHORT_CELL) > 0.9:
        reasons.append("its cells are named like genes and its genes like cells")
    if label_key in adata.var.columns and label_key not in adata.obs.columns:
        reasons.append(f"var, not obs, has the column {label_key!r} (rename it if it is none of cells)")
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
    found = [match[1].upper() for name in names if (match := _FAMILIES.fullmatch(name)) is not None]
    # Cells of one experiment may begin with what happens to be a family; not with several.
    return len(found) >= _ENOUGH_OF_FAMILIES and len(set(found)) >= _ENOUGH_FAMILIES
