"""Cells made elsewhere, scored like any other: ``bench score --real … --train … --synthetic …``.

The files are read as ``bench run`` reads them, and what was checked is what is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from bench.errors import RequestError, refused
from bench.request.choices import exists_in
from bench.request.spec import Reading
from bench.scoring.comparison import METRICS_SEED, Comparison
from bench.scoring.scorer import evidence_folder
from bench.scoring.tasks import score_of
from bench.work.contract import LIBRARY_SIZE, LIBRARY_SIZE_TOLERANCE, MOST_LOGGED
from metrics.protocols import protocol_named
from models.base import Space
from reports.view import Score

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from metrics.declaration import Metric

Say = Callable[[str], None]
_CELL_TYPE = "cell_type"
_SHOWN = 5
AS_IT_IS = Reading()


@dataclass(frozen=True)
class _Cells:
    """One file: checked values, names of genes, and types, None where there are none."""

    path: Path
    adata: AnnData
    types: np.ndarray | None
    say: Say

    def note(self, words: str) -> None:
        """Tell what the user of this file should know."""
        self.say(f"note: {self.path.name}: {words}")

    @property
    def genes(self) -> pd.Index:
        return self.adata.var_names


def score_outside_cells(
    real: str | Path,
    train: str | Path,
    synthetic: str | Path,
    *,
    space: str,
    reading: Reading = AS_IT_IS,
    synthetic_layer: str | None = None,
    cells: int | None,
    metrics: list[Metric],
    protocols: Sequence[str] = ("strict",),
    say: Say = lambda words: None,
) -> list[Score]:
    """Score one file of synthetic cells against real ones.

    Parameters
    ----------
    real, train
        Held-out and training cells: whole-number counts in any file that ``bench run`` reads.
    synthetic
        Cells to score; their genes must include every gene of `train`, except those that preparing would
        drop.
    space
        What the synthetic matrix holds: ``"counts"``, ``"cp20k"`` or ``"log_cp20k"``. It is never guessed.
    reading
        How the files are read: as by `datasets.prepare`, with four exceptions. Without `label_key`, the
        column ``cell_type`` is used if it exists. `layer` also selects the synthetic counts, if their file
        has it. `gene_names` and `genome` apply to the synthetic file only if it has such a column. With
        `split_from`, training cells are selected from the one real file, test cells from the other.
    synthetic_layer
        Matrix of the synthetic cells, if it is not `layer`; X by default for normalised cells.
    cells
        Number of cells a side; None means as many as the protocol wants and the smaller side has.
    metrics
        Metrics to compute, each under the protocols in which it exists.
    protocols
        Names of protocols. Cells that are counts have no ``+observed`` of their own.
    say
        Function that takes what the user of the scores should know, a sentence at a time.

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
    for protocol in map(protocol_named, protocols):
        if protocol.observed and space == "counts":
            raise RequestError(
                f"--protocol {protocol.name}: {Path(synthetic).name} holds counts; give {protocol.base}"
            )
    train_cells = _read_real(Path(train), reading, "train", say)
    test_cells = _read_real(Path(real), reading, "test", say)
    fake = _read_synthetic(Path(synthetic), reading, synthetic_layer, space, say)
    files = (train_cells, test_cells, fake)
    _make_genes_unique(*files)
    _say_missing_types(*files)
    _hold_types_together(*files)
    genes = _genes_to_score(*files)
    available = min(test_cells.adata.n_obs, fake.adata.n_obs)
    if cells is not None and cells > available:
        raise RequestError(
            f"--cells {cells}: the smaller of {test_cells.path.name} and {fake.path.name} has {available}"
        )
    facts: dict[str, Any] = {
        "train_types": train_cells.types,
        "test_types": test_cells.types,
        "control_pool": None,
        "gene_names": genes.to_numpy(dtype=str),
        "seed": METRICS_SEED,
        "cache_folder": evidence_folder(),
    }
    train_counts, test_counts, values = (part.adata[:, genes].X for part in files)
    scores = []
    for name in protocols:
        comparison = Comparison.of_files(name, available=available, asked=cells)
        with refused(ValueError, f"these cells cannot be scored under {name}: "):
            evidence = RealEvidence(
                train_counts, test_counts, n_cells=comparison.n_cells, protocol=name, **facts
            )
            sample = SampleEvidence(evidence, values, space=cast(Space, space), cell_types=fake.types)
        scores += [
            score_of(metric, comparison, partial(metric.compute, evidence, sample))
            for metric in metrics
            if exists_in(metric, name)
        ]
    return scores


def _read_real(path: Path, reading: Reading, part: Literal["train", "test"], say: Say) -> _Cells:
    from datasets import DatasetError
    from datasets.counts import require_counts
    from datasets.preprocessing import MIN_GENES, kept_cells_and_genes
    from datasets.readers import read_cells
    from datasets.selection import Selection, some_cells
    from datasets.splits import given_split

    try:
        held = read_cells(path, genome=reading.genome)
        wanted = Selection(layer=reading.layer, gene_names=reading.gene_names, genome=reading.genome)
        column = reading.label_key or (_CELL_TYPE if _CELL_TYPE in held.obs else None)
        if column is None and reading.drop_unlabelled:
            raise DatasetError("--drop-unlabelled: no column of labels is known: name it with --label-key")
        cells = _taken(path, held, wanted, column, reading, say, counts=True)
        require_counts(cells.adata.X.nnz, cells.adata.shape)
        if poor := int((~kept_cells_and_genes(cells.adata.X)[0]).sum()):
            rule = f"fewer than {MIN_GENES} detected genes, or none that is kept"
            cells.note(f"{poor} of {cells.adata.n_obs} cells have {rule}: bench run would drop them")
        if reading.split_from is None:
            return cells
        rows = given_split(cells.adata.obs, reading.split_from) == part
        cells.note(f"{int(rows.sum())} cells are {part} in obs[{reading.split_from!r}]")
        types = None if cells.types is None else cells.types[rows]
        return replace(cells, adata=some_cells(cells.adata, rows), types=types)
    except DatasetError as error:
        raise _about(path, error) from error


def _read_synthetic(path: Path, reading: Reading, layer: str | None, space: str, say: Say) -> _Cells:
    from datasets import DatasetError
    from datasets.counts import matrices
    from datasets.readers import read_cells
    from datasets.selection import Selection

    counts = space == "counts"
    try:
        held = read_cells(path, genome=reading.genome)
        if layer is None and counts and reading.layer in matrices(held):
            layer = reading.layer
        names = reading.gene_names if reading.gene_names in held.var else None
        genome = reading.genome if "genome" in held.var else None
        wanted = Selection(layer=layer, gene_names=names, genome=genome)
        column = next((name for name in (reading.label_key, _CELL_TYPE) if name in held.obs), None)
        cells = _taken(path, held, wanted, column, reading, say, counts=counts)
        if not cells.adata.n_obs:
            raise DatasetError("there are no cells to score: give a file that holds some")
    except DatasetError as error:
        other = (
            "; for other values give --space cp20k or --space log_cp20k" if "not whole" in str(error) else ""
        )
        raise _about(path, error, other) from error
    _check_space(cells, space)
    return cells


def _taken(
    path: Path, held: AnnData, wanted: Any, column: str | None, reading: Reading, say: Say, *, counts: bool
) -> _Cells:
    """Select what is wanted of a file, and tell what there is to know, also where its values come from."""
    from datasets.assemble import labelled
    from datasets.counts import find_matrix, matrices
    from datasets.labels import LABEL_KEY, complete_column
    from datasets.selection import NOTES, select

    adata = select(held, wanted, notes=held.uns[NOTES], counts=counts, label_key=reading.label_key)
    told, matrix = adata.uns[NOTES], find_matrix(held, wanted.layer, counts=counts)
    if matrix != "X":
        told.append(f"the values are those of {matrices(held)[matrix][2]}")
    if column is not None and reading.drop_unlabelled:
        adata = labelled(adata, column, told)
    types = None if column is None else complete_column(adata.obs, column, option=LABEL_KEY)
    cells = _Cells(path, adata, types, say)
    for note in told:
        cells.note(note)
    return cells


def _check_space(cells: _Cells, space: str) -> None:
    matrix = cells.adata.X
    if space == "log_cp20k" and matrix.nnz and matrix.data.max() > MOST_LOGGED:
        raise RequestError(
            f"--space log_cp20k: {cells.path.name} holds values up to {matrix.data.max():.4g}, where a whole "
            f"library of {LIBRARY_SIZE} in one gene is {MOST_LOGGED:.4g}: give the space that it is in"
        )
    if space == "cp20k":
        sums = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()
        off = int((abs(sums - LIBRARY_SIZE) > LIBRARY_SIZE_TOLERANCE * LIBRARY_SIZE).sum())
        if off:
            cells.note(f"the library sizes of {off} of {len(sums)} cells are not {LIBRARY_SIZE}")


def _make_genes_unique(*files: _Cells) -> None:
    """Make gene names unique as ``bench run`` does, where all files list them as the first does."""
    from datasets.selection import unique_names

    listed = list(files[0].genes)
    for cells in files:
        if not cells.genes.is_unique and list(cells.genes) != listed:
            repeated = cells.genes[cells.genes.duplicated()][0]
            raise RequestError(
                f"{str(cells.path)!r}: gene names must be unique, as genes are matched by name: {repeated!r} "
                f"comes again"
            )
        notes: list[str] = []
        cells.adata.var_names = unique_names(cells.genes, "gene", notes)
        for note in notes:
            cells.note(note)


def _say_missing_types(*files: _Cells) -> None:
    if all(cells.types is None for cells in files):
        return
    for cells in files:
        if cells.types is None:
            cells.say(f"note: {cells.path.name} tells no cell types: metrics that need them are left out")


def _hold_types_together(train: _Cells, test: _Cells, fake: _Cells) -> None:
    """Tell which types have no training cell; refuse test cells of which no type has one."""
    if train.types is None:
        return
    known = set(train.types)
    for cells in (test, fake):
        if cells.types is None:
            continue
        found = set(cells.types)
        if cells is test and not found & known:
            raise RequestError(
                f"{cells.path.name} and {train.path.name} have no cell type in common "
                f"({_shortened(found)}; {_shortened(known)}): label both alike, or name another column with "
                f"--label-key"
            )
        if foreign := found - known:
            n_foreign = int(np.isin(cells.types, list(foreign)).sum())
            words = f"{_shortened(foreign)} ({n_foreign} of {len(cells.types)} cells)"
            cells.note(f"no cell of {train.path.name} is of type {words}")


def _shortened(names: set[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more


def _genes_to_score(train: _Cells, test: _Cells, fake: _Cells) -> pd.Index:
    """Return the training cells' genes, without rare ones that preparing drops and `fake` does not have."""
    from datasets.preprocessing import MIN_CELLS, kept_cells_and_genes

    missing = train.genes.difference(fake.genes)
    rare = train.genes[~kept_cells_and_genes(train.adata.X)[1]]
    if not len(missing.difference(rare)) and len(missing):
        train.say(
            f"note: {len(missing)} genes seen in fewer than {MIN_CELLS} training cells are not in "
            f"{fake.path.name} and are left out of the scores"
        )
        genes = train.genes[~train.genes.isin(missing)]
    else:
        _require_genes(fake, train.genes)
        genes = train.genes
    if not len(genes):
        raise RequestError(f"{str(fake.path)!r} has none of the genes of the training cells")
    _require_genes(test, genes)
    return genes


def _require_genes(cells: _Cells, genes: pd.Index) -> None:
    missing = genes.difference(cells.genes)
    if len(missing):
        raise RequestError(
            f"{str(cells.path)!r} lacks {len(missing)} genes of the training cells, such as {missing[0]!r}"
        )


def _about(path: Path, error: Exception, more: str = "") -> RequestError:
    words = str(error)
    return RequestError(f"{words if str(path) in words else f'{path.name}: {words}'}{more}")
