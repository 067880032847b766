"""Put raw cells under the contract: counts, filters, types, clusters where asked for, split, notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets import clusters, preprocessing, splits
from datasets.counts import require_counts
from datasets.declaration import Declaration, Progress, step
from datasets.errors import DatasetError
from datasets.labels import LABEL_KEY, complete_column, given_labels, unlabelled
from datasets.selection import NOTES, some_cells, unique_names

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

MIN_TEST_CELLS = 10
"""Cell types with fewer test cells are left out of per-type scores."""

_SPLITS = ["train", "valid", "test"]


@dataclass(frozen=True)
class Parameters:
    """What, beside the source and the code, decides how the prepared cells come out."""

    label_key: str | None
    split_by: str | None
    split_seed: int
    validation_share: float
    test_size: int | float
    stratify_by: str
    cluster_seed: int = 0
    split_from: str | None = None
    drop_unlabelled: bool = False
    layer: str | None = None
    gene_names: str | None = None
    genome: str | None = None
    donor_key: str | None = None

    def __post_init__(self) -> None:
        if self.split_from is not None and (self.split_by is not None or self.validation_share):
            other = "--split-by" if self.split_by is not None else "a validation share"
            raise DatasetError(
                f"--split-from {self.split_from!r} and {other} both say which cells are held out: give one"
            )
        if not 0 <= self.validation_share < 1:
            raise DatasetError(
                f"a validation share of {self.validation_share} is not in [0, 1): give for example 0.1"
            )


def assemble(
    raw: AnnData, declaration: Declaration, parameters: Parameters, *, progress: Progress
) -> AnnData:
    """Check, filter, normalise and split raw cells, and cluster them where clusters are needed.

    Parameters
    ----------
    raw
        What `datasets.selection.select` returns: counts in X, labels in obs, notes in uns; not modified.
    declaration
        What the data set is and should look like.
    parameters
        How the cells are labelled and split.
    progress
        Function called as each step begins and ends, and with the share done where that is known.

    Returns
    -------
    AnnData
        Cells that keep the contract of `datasets.pipeline`, except for the source in uns["bench"].

    Raises
    ------
    DatasetError
        For every input that cannot be used.
    """
    import pandas as pd
    from anndata import AnnData

    require_counts(raw.X.nnz, raw.shape, where=f"{declaration.name}: ")
    notes = [*declaration.notes, *raw.uns.get(NOTES, ())]
    if parameters.drop_unlabelled:
        raw = labelled(raw, label_column(raw.obs, parameters), notes)
    with step(progress, "filtering"):
        genes, cells = unique_names(raw.var_names, "gene", notes), unique_names(raw.obs_names, "cell", notes)
        keep_cells, keep_genes = preprocessing.kept_cells_and_genes(raw.X)
        tell_dropped(keep_cells, keep_genes, notes)
        counts, genes = raw.X[keep_cells][:, keep_genes], genes[keep_genes]
        obs = raw.obs.set_axis(cells)[keep_cells]
    obs, uns = annotate(
        obs, declaration, parameters, notes, n_genes=len(genes), counts=counts, progress=progress
    )
    with step(progress, "normalising"):
        values, var = preprocessing.normalise(counts), pd.DataFrame(index=genes)
        return AnnData(values, obs=obs, var=var, layers={"counts": counts}, uns=uns)


def label_column(obs: pd.DataFrame, parameters: Parameters) -> str | None:
    """Return the column of labels: the one that was named, else ``cell_type`` where there is one."""
    return parameters.label_key or ("cell_type" if "cell_type" in obs.columns else None)


def annotate(
    obs: pd.DataFrame,
    declaration: Declaration,
    parameters: Parameters,
    notes: list[str],
    *,
    n_genes: int,
    counts: csr_matrix | None,
    progress: Progress,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Type, split and describe cells that passed the filters.

    Parameters
    ----------
    obs
        Table of the cells, one row each.
    declaration, parameters, progress
        Declaration of the data set; how the cells are labelled and split; function called with the progress.
    notes
        Notes so far, to which more are added.
    n_genes
        Number of genes that passed the filters.
    counts
        Counts, n_cells × n_genes; None if they stay on disk, and then no clusters can be found.

    Returns
    -------
    obs, uns
        Table and facts that keep the contract of `datasets.pipeline`.
    """
    label_key = label_column(obs, parameters)
    given = None if label_key is None else given_labels(obs, label_key)
    columns, found = _types_and_clusters(counts, given, parameters, notes, progress)
    if parameters.donor_key is not None:
        columns["donor"] = complete_column(obs, parameters.donor_key, option="--donor-key")
    with step(progress, "splitting"):
        assigned = _split(columns, obs, parameters, notes)
        pool = splits.control_pool(assigned, seed=parameters.split_seed)
        half = splits.null_half(pool, seed=parameters.split_seed)
    notes += _size_notes(columns["cell_type"], assigned)
    notes += differences(declaration, _numbers(columns, assigned, n_genes))
    facts = {
        "name": declaration.name,
        "labels": "cluster" if given is None else "given",
        "clusters": found,
        "parameters": asdict(parameters),
        "rare_type_markers": list(declaration.rare_type_markers),
        "notes": notes,
    }
    columns |= {"split": assigned, "control_pool": pool, "null_half": half}
    return _as_obs(columns, obs.index), {"bench": facts}


def _types_and_clusters(
    counts: csr_matrix | None,
    given: np.ndarray | None,
    parameters: Parameters,
    notes: list[str],
    progress: Progress,
) -> tuple[dict[str, np.ndarray], str | None]:
    """Return the columns of types and, where they are needed, clusters; and how the latter were found."""
    stratified_by_type = parameters.stratify_by != "cluster" or parameters.split_from is not None
    if given is not None and stratified_by_type:
        return {"cell_type": given}, None
    if counts is None:
        raise DatasetError(
            f"clusters stand in where no types are given, and they need all cells in memory, where these do "
            f"not fit: name a column of types with {LABEL_KEY}"
        )
    found, how = clusters.cluster(counts, seed=parameters.cluster_seed, progress=progress)
    if given is None:
        notes.append(f"no cell types are given: {len(np.unique(found))} clusters stand in for them")
    return {"cell_type": found if given is None else given, "cluster": found}, how


def tell_dropped(keep_cells: np.ndarray, keep_genes: np.ndarray, notes: list[str]) -> None:
    """Note how many cells and genes do not pass the filters.

    Raises
    ------
    DatasetError
        If no cell does.
    """
    rules = (
        (keep_cells, "cells", f"fewer than {preprocessing.MIN_GENES} detected genes, or no count left"),
        (keep_genes, "genes", f"seen in fewer than {preprocessing.MIN_CELLS} cells"),
    )
    if not keep_cells.any():
        raise DatasetError(
            f"nothing is left of {len(keep_cells)} cells × {len(keep_genes)} genes once cells with "
            f"{rules[0][2]} and genes {rules[1][2]} are dropped: give more data"
        )
    for kept, what, rule in rules:
        if not kept.all():
            notes.append(f"{int((~kept).sum())} of {len(kept)} {what} dropped: {rule}")


def labelled(cells: AnnData, label_key: str | None, notes: list[str]) -> AnnData:
    """Return the cells that have a label; see `has_label`."""
    kept = has_label(cells.obs, label_key, notes)
    return cells if kept.all() else some_cells(cells, kept)


def has_label(obs: pd.DataFrame, label_key: str | None, notes: list[str]) -> np.ndarray:
    """Tell which cells have a label; `notes` are told how many are left out.

    Raises
    ------
    DatasetError
        If there is no such column, or no cell has a label.
    """
    if label_key is None:
        raise DatasetError("--drop-unlabelled: no column of labels is known: name it with --label-key")
    missing = unlabelled(obs, label_key)
    if missing.all():
        raise DatasetError(f"obs[{label_key!r}] labels no cell: name another column with {LABEL_KEY}")
    if missing.any():
        notes.append(
            f"{int(missing.sum())} of {len(obs)} cells have no label in obs[{label_key!r}] and are left out"
        )
    return ~missing


def _split(
    columns: dict[str, np.ndarray], obs: pd.DataFrame, parameters: Parameters, notes: list[str]
) -> np.ndarray:
    if parameters.split_from is not None:
        assigned = splits.given_split(obs, parameters.split_from)
        sizes = ", ".join(f"{int(np.sum(assigned == part))} {part}" for part in _SPLITS)
        notes.append(f"the split is that of obs[{parameters.split_from!r}]: {sizes}")
        splits.require_training_cells(
            columns["cell_type"], assigned, remedy=f"or assign some in obs[{parameters.split_from!r}]"
        )
        return assigned
    n_cells = len(columns["cell_type"])
    share = splits.held_out_share(parameters.test_size, n_cells)
    if isinstance(parameters.test_size, int) and share * n_cells != parameters.test_size:
        notes.append(
            f"{parameters.test_size} test cells are meant for a larger data set: "
            f"{float(share):.0%} of {n_cells} cells held out instead"
        )
    by = parameters.split_by
    groups = None if by is None else complete_column(obs, by, option="--split-by")
    assigned = splits.split(
        columns[parameters.stratify_by],
        share=share,
        validation_share=parameters.validation_share,
        groups=groups,
        seed=parameters.split_seed,
    )
    splits.require_training_cells(columns["cell_type"], assigned)
    if groups is not None:
        held = ", ".join(np.unique(groups[assigned == "test"]))
        notes.append(f"test cells are all cells whose {by} is {held}")
    return assigned


def _size_notes(types: np.ndarray, assigned: np.ndarray) -> list[str]:
    names, sizes = np.unique(types, return_counts=True)
    tested = [int(np.sum(types[assigned == "test"] == name)) for name in names]
    small = [
        f"{name} ({size} cells, {test} for testing)"
        for name, size, test in zip(names, sizes, tested, strict=True)
        if test < MIN_TEST_CELLS
    ]
    if not small:
        return []
    return [f"fewer than {MIN_TEST_CELLS} test cells, left out of per-type scores: {', '.join(small)}"]


def differences(declaration: Declaration, found: Mapping[str, int]) -> list[str]:
    """Hold what came out, by name, against what was published; what is not in `found` is not known."""
    return [
        f"{declaration.name} has {found[what]} {what} after preprocessing, where {wanted} are expected"
        for what, wanted in declaration.expected.items()
        if what in found and found[what] != wanted
    ]


def _numbers(columns: dict[str, np.ndarray], assigned: np.ndarray, n_genes: int) -> dict[str, int]:
    found = {"cells": len(assigned), "genes": n_genes, "types": len(np.unique(columns["cell_type"]))}
    found |= {part: int(np.sum(assigned == part)) for part in ("train", "test")}
    # Clusters that nobody needed were not looked for.
    return found | ({"clusters": len(np.unique(columns["cluster"]))} if "cluster" in columns else {})


def _as_obs(columns: dict[str, np.ndarray], names: pd.Index) -> pd.DataFrame:
    import pandas as pd

    obs = pd.DataFrame(columns, index=names)
    for column in obs.columns.intersection(["cell_type", "cluster", "donor"]):
        obs[column] = pd.Categorical(obs[column])
    obs["split"] = pd.Categorical(obs["split"], categories=_SPLITS)
    return obs
