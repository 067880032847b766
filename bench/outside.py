"""Cells made elsewhere, scored like any other: ``bench score --real … --train … --synthetic …``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from bench.errors import RequestError
from bench.plan import exists_in
from bench.scorer import METRICS_SEED, evidence_folder
from bench.scoring import score_of
from metrics.protocols import protocol_named
from models.base import Space

if TYPE_CHECKING:
    from anndata import AnnData

    from metrics.declaration import Metric
    from metrics.evidence import RealEvidence, SampleEvidence


def score_outside_cells(
    real: Path,
    train: Path,
    synthetic: Path,
    *,
    space: str,
    label_key: str | None,
    cells: int | None,
    metrics: list[Metric],
    protocols: Sequence[str] = ("strict",),
) -> list[dict[str, Any]]:
    """Score one file of synthetic cells against real ones.

    Parameters
    ----------
    real, train
        Held-out and training cells: ``.h5ad`` with whole-number counts in X or ``layers["counts"]``.
    synthetic
        Cells to score; its genes must include every gene of `train`.
    space
        What the synthetic X holds: ``"counts"``, ``"cp20k"`` or ``"log_cp20k"``. It is never guessed.
    label_key
        Column of ``obs`` with cell types, for the metrics that look at types; None takes ``cell_type`` where
        there is one.
    cells
        Cells a side; None means as many as the protocol wants and the smaller side has.
    metrics
        What to compute, under each protocol in which it exists.
    protocols
        Names of protocols. Cells that are counts have no ``+observed`` of their own.

    Returns
    -------
    list of dict
        Scores as in score files, protocol by protocol.

    Raises
    ------
    RequestError
        If a file is missing or unfit.
    """
    from metrics.evidence import RealEvidence, SampleEvidence

    if space not in get_args(Space):
        raise RequestError(f"--space {space!r}: choose from {', '.join(get_args(Space))}")
    test_cells, train_cells, fake = (_read(path) for path in (real, train, synthetic))
    if label_key is not None and label_key not in train_cells.obs:
        raise RequestError(
            f"--label-key {label_key!r}: {train.name} has {', '.join(train_cells.obs) or 'no columns'}"
        )
    genes = train_cells.var_names
    available = min(test_cells.n_obs, fake.n_obs)
    if cells is not None and cells > available:
        raise RequestError(
            f"--cells {cells}: the smaller of {real.name} and {synthetic.name} has {available}"
        )
    fake = _with_genes(fake, genes, synthetic)
    if space == "counts":
        _counts(fake, synthetic, remedy="; for other values give --space cp20k or --space log_cp20k")
    counts = _counts(train_cells, train), _counts(_with_genes(test_cells, genes, real), real)
    facts: dict[str, Any] = {
        "train_types": _types(train_cells, label_key),
        "test_types": _types(test_cells, label_key),
        "control_pool": None,
        "gene_names": genes.to_numpy(dtype=str),
        "seed": METRICS_SEED,
        "cache_folder": evidence_folder(),
    }
    scores = []
    for protocol in map(protocol_named, protocols):
        if protocol.observed and space == "counts":
            raise RequestError(
                f"--protocol {protocol.name}: {synthetic.name} holds counts; give {protocol.base}"
            )
        n_cells = cells or protocol.cells_a_side(available)
        evidence = RealEvidence(*counts, n_cells=n_cells, protocol=protocol.name, **facts)
        sample = SampleEvidence(
            evidence, fake.X, space=cast(Space, space), cell_types=_types(fake, label_key)
        )
        for metric in metrics:
            if exists_in(metric, protocol.name):
                scores.append(_score(metric, evidence, sample))
    return scores


def _score(metric: Metric, real: RealEvidence, sample: SampleEvidence) -> dict[str, Any]:
    n_cells = real.n_cells
    return score_of(metric, real.protocol.name, n_cells, lambda: (metric.compute(real, sample), n_cells))


def _read(path: Path) -> AnnData:
    import anndata
    from scipy import sparse

    try:
        adata = anndata.read_h5ad(path)
    except FileNotFoundError as error:
        raise RequestError(f"{str(path)!r}: no such file") from error
    except (OSError, KeyError) as error:
        raise RequestError(f"{str(path)!r} is not an .h5ad file: {str(error).splitlines()[0]}") from error
    if not adata.var_names.is_unique:
        raise RequestError(f"{str(path)!r}: gene names must be unique, as genes are matched by name")
    adata.X = sparse.csr_matrix(adata.X)
    return adata


def _with_genes(adata: AnnData, genes: Any, path: Path) -> AnnData:
    missing = genes.difference(adata.var_names)
    if len(missing):
        raise RequestError(
            f"{str(path)!r} lacks {len(missing)} genes of the training cells, such as {missing[0]!r}"
        )
    return adata[:, genes]


def _counts(adata: AnnData, path: Path, *, remedy: str = "") -> Any:
    from scipy import sparse

    matrix = sparse.csr_matrix(adata.layers.get("counts", adata.X))
    values = matrix.data
    if not (np.isfinite(values).all() and (values >= 0).all() and (values == np.round(values)).all()):
        raise RequestError(
            f"{str(path)!r} holds no counts: X (or layers['counts']) must be whole numbers from 0 on{remedy}"
        )
    return matrix


def _types(adata: AnnData, label_key: str | None) -> Any:
    column = label_key or "cell_type"
    return adata.obs[column].to_numpy(dtype=str) if column in adata.obs else None
