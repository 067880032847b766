"""What reads batches of cells from disk: ours, AnnData's, and loaders of others where they are installed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from bench.errors import RequestError, refused

ORDERS: Final = ("random", "in blocks", "sequential")
BLOCK: Final = 64
"""Neighbouring rows that stay together where the order is one of blocks."""
AHEAD: Final = 3
"""Batches that our reader is told of beforehand, as ACTIVA's training tells it."""
BATCHES_A_FETCH: Final = 16
"""scDataset's default: it reads the rows of so many batches at once, and shuffles them."""

Rows: TypeAlias = NDArray[np.integer]
Batch: TypeAlias = tuple[Rows, sp.csr_matrix]
Epoch: TypeAlias = Generator[Batch, None, None]


class NotForThis(Exception):
    """A loader is not installed, or cannot read this file or in this order; the message says which."""


@dataclass(frozen=True)
class StoredCells:
    """Cells on disk whose X is read by rows.

    Attributes
    ----------
    path
        An ``.h5ad`` or a Zarr store.
    group
        Group of ``X`` in the file, with ``data``, ``indices`` and ``indptr``.
    matrix
        AnnData's view of the group, read where it is indexed.
    """

    path: Path
    group: Any
    matrix: Any

    @property
    def n_cells(self) -> int:
        """Number of rows."""
        return int(self.matrix.shape[0])


@contextmanager
def cells_on_disk(path: Path) -> Iterator[StoredCells]:
    """Open the matrix of a file; each reader has an opening of its own, so that none shares another's cache.

    Raises
    ------
    RequestError
        If there is no such file, or it is neither an ``.h5ad`` nor a Zarr store with X in CSR.
    """
    from anndata.io import sparse_dataset

    from datasets import DatasetError
    from datasets.readers import kind_of
    from datasets.stored import store_of

    remedy = "give an .h5ad or a .zarr store whose X is a CSR matrix"
    with refused(DatasetError):
        kind = kind_of(path)
    if kind not in ("h5ad", "zarr store"):
        raise RequestError(f"{path} is of the kind {kind}: {remedy}")
    with store_of(path) as store:
        group = store.get("X")
        encoding = "missing" if group is None else group.attrs.get("encoding-type", "no CSR matrix")
        if encoding != "csr_matrix":
            raise RequestError(f"{path}: its X is {encoding}: {remedy}")
        yield StoredCells(path, group, sparse_dataset(group))


class Reader(ABC):
    """What is timed.

    Attributes
    ----------
    name
        Name in the table.
    batches_a_fetch
        Number of batches read at once: a turn ends where all that was read has been given out.
    """

    name: str
    batches_a_fetch: int = 1

    def missing(self) -> str | None:
        """Return why it cannot be used here, or None."""
        return None

    @abstractmethod
    def epoch(self, cells: StoredCells, order: str, *, batch_size: int, seed: int) -> Epoch:
        """Draw an order, and return what gives all rows once, batch by batch: numbers, and what was read.

        What is done before it returns is not timed: an order is drawn once for an epoch, of which a turn
        may read little.

        Raises
        ------
        NotForThis
            If it cannot read these cells, or in this order.
        """


def batches_of(order: str, n_cells: int, *, batch_size: int, seed: int) -> list[Rows]:
    """Return the rows of each batch of an epoch.

    Parameters
    ----------
    order
        One of `ORDERS`. In blocks: neighbours of `BLOCK` rows stay together, the blocks are shuffled.
    n_cells
        Number of rows.
    batch_size
        Rows of a batch; the last one may have fewer.
    seed
        Seed of the order.
    """
    rows = np.arange(n_cells)
    if order == "random":
        rows = np.random.default_rng(seed).permutation(rows)
    elif order == "in blocks":
        blocks = np.split(rows, range(BLOCK, n_cells, BLOCK))
        shuffled = np.random.default_rng(seed).permutation(len(blocks))
        rows = np.concatenate([blocks[number] for number in shuffled])
    return np.split(rows, range(batch_size, n_cells, batch_size))


class Ours(Reader):
    """`models.streaming.RowReader`, which reads the next batches meanwhile."""

    name = "RowReader (this project's)"

    def epoch(self, cells: StoredCells, order: str, *, batch_size: int, seed: int) -> Epoch:
        """Give all rows once; see `Reader`."""
        from models.streaming import RowReader

        batches = batches_of(order, cells.n_cells, batch_size=batch_size, seed=seed)
        reader = RowReader(cells.matrix)

        def read() -> Epoch:
            # Closing waits for what is being read ahead: nothing of ours runs in another reader's turn.
            with closing(reader):
                for number, rows in enumerate(batches, 1):
                    yield rows, reader.read(rows, ahead=batches[number : number + AHEAD])

        return read()


class Backed(Reader):
    """AnnData's matrix on disk, indexed with the rows of a batch."""

    name = "AnnData backed"

    def epoch(self, cells: StoredCells, order: str, *, batch_size: int, seed: int) -> Epoch:
        """Give all rows once; see `Reader`."""
        batches = batches_of(order, cells.n_cells, batch_size=batch_size, seed=seed)
        return ((rows, _indexed(cells.matrix, rows)) for rows in batches)


def _indexed(matrix: Any, rows: Rows) -> Any:
    """Index AnnData's matrix in the way that costs least: by a slice where the rows follow each other."""
    is_slice = bool((np.diff(rows) == 1).all())
    return matrix[int(rows[0]) : int(rows[-1]) + 1] if is_slice else matrix[rows]


class ScDataset(Reader):
    """``scDataset`` over AnnData's matrix on disk, with the strategies it has for these orders.

    Parameters
    ----------
    batches_a_fetch
        Number of batches read at once, scDataset's ``fetch_factor``.
    """

    def __init__(self, batches_a_fetch: int) -> None:
        self.batches_a_fetch = batches_a_fetch
        self.name = f"scDataset, {batches_a_fetch} batch{'es' if batches_a_fetch > 1 else ''} a fetch"

    def missing(self) -> str | None:
        """Return why it cannot be used here, or None."""
        return None if find_spec("scdataset") else "not installed: pip install scdataset"

    def epoch(self, cells: StoredCells, order: str, *, batch_size: int, seed: int) -> Epoch:
        """Give all rows once; see `Reader`."""
        from scdataset import BlockShuffling, Streaming, scDataset

        # A matrix on disk has no length: so the strategies are given all rows.
        every = np.arange(cells.n_cells)
        blocks = {"random": 1, "in blocks": BLOCK}
        strategy = BlockShuffling(blocks[order], indices=every) if order in blocks else Streaming(every)
        # It would draw while it reads, in its turn: its own order is drawn before instead.
        drawn = strategy.get_indices(cells.matrix, seed=seed)
        strategy.get_indices = lambda *_asked, **_named: drawn
        batches = scDataset(
            cells.matrix,
            strategy,
            batch_size=batch_size,
            fetch_factor=self.batches_a_fetch,
            fetch_callback=lambda matrix, rows: (rows, _indexed(matrix, rows)),
            batch_callback=lambda fetched, places: (fetched[0][places], fetched[1][places]),
            seed=seed,
        )
        return (batch for batch in batches)


class Annbatch(Reader):
    """``annbatch`` on the store as it is, without the shuffled copy that its authors advise to make.

    It draws its order while it reads, and so within its turn.
    """

    name = f"annbatch, {BATCHES_A_FETCH} batches a fetch"
    batches_a_fetch = BATCHES_A_FETCH

    def missing(self) -> str | None:
        """Return why it cannot be used here, or None."""
        return None if find_spec("annbatch") else "not installed: pip install annbatch (Python 3.12 or later)"

    def epoch(self, cells: StoredCells, order: str, *, batch_size: int, seed: int) -> Epoch:
        """Give all rows once; see `Reader`."""
        from annbatch import Loader

        if cells.path.is_file():
            raise NotForThis("reads Zarr stores only")
        chunk = 1 if order == "random" else BLOCK
        fetched = BATCHES_A_FETCH * batch_size
        if fetched % chunk:
            least = BLOCK // BATCHES_A_FETCH
            raise NotForThis(f"reads whole blocks: --batch-size must be a multiple of {least}")
        loader: Any = Loader(
            chunk_size=chunk,
            preload_nchunks=fetched // chunk,
            batch_size=batch_size,
            shuffle=order != "sequential",
            rng=np.random.default_rng(seed) if order != "sequential" else None,
            return_index=True,
            preload_to_gpu=False,
        )
        loader.add_datasets([cells.matrix])
        return ((np.asarray(batch["index"]), batch["X"]) for batch in loader)


READERS: Final[tuple[Reader, ...]] = (Ours(), Backed(), ScDataset(1), ScDataset(BATCHES_A_FETCH), Annbatch())
