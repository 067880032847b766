"""Metrics from arrays or AnnData objects, without a run."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metrics.arrays import Strings
from metrics.declaration import Metric, Score
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.protocols import protocol_named
from metrics.spaces import CellMatrix, Space

if TYPE_CHECKING:
    from anndata import AnnData


def prepare(
    train: AnnData | CellMatrix,
    test: AnnData | CellMatrix,
    synthetic: AnnData | CellMatrix,
    *,
    space: Space = "counts",
    label_key: str = "cell_type",
    n_cells: int | None = None,
    protocol: str = "strict",
    seed: int = 0,
) -> tuple[RealEvidence, SampleEvidence]:
    """Put synthetic cells beside real ones, as every metric sees them.

    Parameters
    ----------
    train, test, synthetic
        Training cells, held-out cells and cells of a generator: cells × genes, dense or sparse, in the same
        order of genes; or AnnData objects, whose ``layers["counts"]`` is taken where there is one, else X,
        and whose genes are matched by name with those of `train`. Real cells are whole-number counts.
        Where ``train.obs["control_pool"]`` marks cells that `real` and other controls draw from
        (`datasets.prepare`), components are fitted to the others, as in a run.
    space
        What the synthetic values are: ``"counts"``, ``"cp20k"`` (library size 20 000) or ``"log_cp20k"``
        (and log1p of that). It is never guessed; other values than counts are those of X.
    label_key
        Column of ``obs`` with cell types; without it, metrics that need types are not applicable.
    n_cells
        Cells a side; None for as many as the protocol wants and both sides have. Most metrics change with
        that number.
    protocol
        Name of a protocol, see `metrics.protocols`.
    seed
        Everything random follows from it.

    Returns
    -------
    tuple of RealEvidence and SampleEvidence
        For `score`.

    Raises
    ------
    ValueError
        If genes or sizes do not match, real values are no counts, or the protocol is unknown.

    Examples
    --------
    >>> import numpy as np, metrics
    >>> rng = np.random.default_rng(0)
    >>> train, test, synthetic = (rng.poisson(3.0, size=(60, 8)) for _ in range(3))
    >>> real, sample = metrics.prepare(train, test, synthetic)
    >>> real.n_cells
    60
    """
    genes = _genes(train)
    train_counts, test_counts = (_values(cells, genes, counts=True) for cells in (train, test))
    values = _values(synthetic, genes, counts=space == "counts")
    available = min(test_counts.shape[0], values.shape[0])
    real = RealEvidence(
        train_counts,
        test_counts,
        train_types=_column(train, label_key),
        test_types=_column(test, label_key),
        control_pool=_column(train, "control_pool", bool),
        gene_names=genes,
        n_cells=protocol_named(protocol).cells_a_side(available) if n_cells is None else n_cells,
        seed=seed,
        protocol=protocol,
    )
    return real, SampleEvidence(real, values, space=space, cell_types=_column(synthetic, label_key))


def score(metric: str, real: RealEvidence, sample: SampleEvidence) -> Score:
    """Compute one metric.

    Parameters
    ----------
    metric
        Name of the metric, one of `available`.
    real, sample
        The two values that `prepare` returns.

    Returns
    -------
    Score
        ``headline`` is the number, ``values`` has it and those beside it, ``interval`` and ``p_value`` where
        the metric has them.

    Raises
    ------
    ValueError
        If there is no metric of that name, or it does not exist under the protocol.
    NotApplicable
        If these cells have no such score; the message says why.

    Examples
    --------
    Half of these cells are copies of training cells:

    >>> import numpy as np, metrics
    >>> cells = np.random.default_rng(0).poisson(3.0, size=(90, 8))
    >>> train, test, others = cells[:30], cells[30:60], cells[60:75]
    >>> real, sample = metrics.prepare(train, test, np.vstack([train[:15], others]))
    >>> metrics.score("duplicates", real, sample).headline
    0.5
    """
    known = _declared()
    if metric not in known:
        raise ValueError(f"metric {metric!r} is unknown: choose from {', '.join(known)}")
    declared: Metric = known[metric].load()
    if declared.experiment != "main":
        raise ValueError(f"metric {metric!r} scores a retraining, not a sample of cells")
    if real.protocol.base not in declared.protocols:
        raise ValueError(
            f"metric {metric!r} does not exist under {real.protocol.name}, but under "
            f"{', '.join(declared.protocols)}"
        )
    return declared.compute(real, sample)


def available() -> list[str]:
    """Return the names of the metrics that are installed, those of other packages among them."""
    return list(_declared())


def _declared() -> dict[str, Any]:
    return {point.name: point for point in sorted(entry_points(group="bench.metrics"), key=lambda p: p.name)}


def _genes(train: Any) -> Strings:
    """Return the names of genes: of an AnnData object its own."""
    if hasattr(train, "var_names"):
        return np.asarray(train.var_names.to_numpy(), dtype=str)
    return np.array([f"gene{number}" for number in range(train.shape[1])])


def _values(cells: Any, genes: Strings, *, counts: bool) -> CellMatrix:
    """Return cells × those genes."""
    if not hasattr(cells, "var_names"):
        if cells.shape[1] != genes.size:
            raise ValueError(f"cells with {cells.shape[1]} genes beside training cells with {genes.size}")
        return cells  # type: ignore[no-any-return]
    missing = np.setdiff1d(genes, cells.var_names.to_numpy(dtype=str))
    if missing.size or not cells.var_names.is_unique:
        what = f"lack {missing.size} genes, such as {missing[0]}" if missing.size else "name a gene twice"
        raise ValueError(f"genes are matched by name with those of the training cells: these {what}")
    matched = cells[:, genes]
    return matched.layers["counts"] if counts and "counts" in matched.layers else matched.X  # type: ignore[no-any-return]


def _column(cells: Any, key: str, dtype: type = str) -> NDArray[Any] | None:
    """Return a column of an AnnData object's ``obs``, where there is one."""
    obs = getattr(cells, "obs", {})
    return obs[key].to_numpy(dtype=dtype) if key in obs else None
