"""``bench loaders``: rows per second of whatever reads batches of cells from disk, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench import hardware
from bench.errors import RequestError
from bench.speed.rounds import interleave
from bench.speed.row_readers import (
    AHEAD,
    BATCHES_A_FETCH,
    BLOCK,
    ORDERS,
    READERS,
    NotForThis,
    Reader,
    Rows,
    StoredCells,
    cells_on_disk,
)
from bench.speed.table import Row, failed_row

CHECKED_BATCHES: Final = 2
"""So many batches of each reader and order are compared with the matrix, value by value."""


class WrongRows(Exception):
    """A reader gives other rows than the matrix has, or not in the order asked for."""


@dataclass(frozen=True)
class Request:
    """What is measured, checked.

    Attributes
    ----------
    path
        An ``.h5ad`` or a Zarr store.
    batch_size
        Rows of a batch.
    rounds
        Number of rounds; in each, every reader has one turn.
    seconds
        Least seconds of a turn.
    """

    path: Path
    batch_size: int = 128
    rounds: int = 5
    seconds: float = 1.0

    def __post_init__(self) -> None:
        for option, value in {"batch-size": self.batch_size, "rounds": self.rounds}.items():
            if value < 1:
                raise RequestError(f"--{option} {value} is too small: give at least 1")
        if not self.seconds > 0:
            raise RequestError(f"--seconds {self.seconds:g} is too small: give more than 0")
        with cells_on_disk(self.path) as cells:
            if cells.n_cells < self.batch_size:
                has = f"{self.path} has {cells.n_cells} cells"
                raise RequestError(f"--batch-size {self.batch_size} is too large: {has}")


def carry_out(request: Request, console: Console, readers: Sequence[Reader] = READERS) -> list[Row]:
    """Measure, show the table and return its rows."""
    with console.status("taking turns"):
        rows = measure(request, readers)
    with cells_on_disk(request.path) as cells:
        console.print(loaders_table(rows, request, about=describe(cells)))
    return rows


def measure(request: Request, readers: Sequence[Reader]) -> list[Row]:
    """Check and time each reader in each order.

    Returns
    -------
    list
        A row for each order and reader: its ``rates`` (rows per second, of each round), or why it ``failed``
        or was ``left_out``.
    """
    with ExitStack() as stack:
        cells = {reader.name: stack.enter_context(cells_on_disk(request.path)) for reader in readers}
        return [row for order in ORDERS for row in _measure_order(request, order, readers, cells)]


def check(reader: Reader, cells: StoredCells, order: str, *, batch_size: int) -> None:
    """Compare what a reader gives first with the matrix.

    Raises
    ------
    WrongRows
        If it gives a row of other values, one twice, or rows in another order.
    NotForThis
        If it cannot read these cells, or in this order.
    """
    with closing(reader.epoch(cells, order, batch_size=batch_size, seed=0)) as epoch:
        batches = list(islice(epoch, max(reader.batches_a_fetch, CHECKED_BATCHES)))
    if not batches:
        raise WrongRows("it gives nothing")
    _check_order(np.concatenate([rows for rows, _ in batches]), order, cells.n_cells)
    for rows, found in batches[:CHECKED_BATCHES]:
        expected = rows_as_stored(cells, rows)
        if found.shape != expected.shape:
            raise WrongRows(f"a batch of {expected.shape} comes as {found.shape}")
        unlike = abs(expected - sp.csr_matrix(found, dtype=np.float32)).getnnz(axis=1)
        if unlike.any():
            raise WrongRows(f"row {rows[np.argmax(unlike > 0)]} has other values than the file")


def rows_as_stored(cells: StoredCells, rows: Rows) -> sp.csr_matrix:
    """Return rows read one at a time from the arrays of the file, by nothing that is timed here."""
    starts = cells.group["indptr"][:]
    stretches = [slice(int(starts[row]), int(starts[row + 1])) for row in rows]
    values, columns = (
        np.concatenate([cells.group[part][stretch] for stretch in stretches]) for part in ("data", "indices")
    )
    pointers = np.cumsum([0, *(stretch.stop - stretch.start for stretch in stretches)])
    return sp.csr_matrix((values, columns, pointers), (len(rows), cells.matrix.shape[1]), dtype=np.float32)


def describe(cells: StoredCells) -> list[str]:
    """Say what was measured on: the machine, and how and how large the cells lie on disk."""
    from datasets.readers import files_of

    machine = hardware.describe()
    size = sum(file.stat().st_size for file in files_of(cells.path)) / 2**30
    n_cells, n_genes = cells.matrix.shape
    return [
        f"Machine: {machine['cpu_model']}, {machine['logical_cores']} cores.",
        f"File: {cells.path}, {n_cells} cells × {n_genes} genes, {_layout(cells.group['data'])}; "
        f"{size:.2f} GiB, memory {machine['memory_bytes'] / 2**30:.1f} GiB.",
    ]


def loaders_table(rows: Sequence[Row], request: Request, *, about: Sequence[str]) -> Table:
    """Lay out rows: the median of a reader's rounds in rows per second, the least and the most of a round."""
    explained = [
        *about,
        "After the first reading a file may lie in the page cache; a round before the first is not counted.",
        f"In blocks: {BLOCK} neighbours stay together. What has {BATCHES_A_FETCH} batches a fetch reads them "
        f"at once and, unless sequential, shuffles them; the others read batch by batch.",
        f"One process without workers. RowReader is told of {AHEAD} batches beforehand, as in training, but "
        f"nothing is computed here meanwhile.",
    ]
    size = f"batches of {request.batch_size}, {request.rounds} rounds of {request.seconds:g} s"
    table = Table(title=f"Rows per second, {size}", box=SIMPLE_HEAD, pad_edge=False)
    table.caption, table.caption_justify = "\n".join(explained), "left"
    table.add_column("order", no_wrap=True)
    table.add_column("reader", overflow="fold")
    for column in ("median", "least", "most"):
        table.add_column(column, justify="right", no_wrap=True)
    shown = None
    for row in rows:
        order, shown = "" if row["measure"] == shown else row["measure"], row["measure"]
        if reason := row.get("failed") or row.get("left_out"):
            table.add_row(order, f"{row['name']}\n  {reason}")
            continue
        rates = row["rates"]
        numbers = (statistics.median(rates), min(rates), max(rates))
        table.add_row(order, row["name"], *(f"{number:.0f}" for number in numbers))
    return table


def _measure_order(
    request: Request, order: str, readers: Sequence[Reader], cells: dict[str, StoredCells]
) -> Iterator[Row]:
    told = {reader: _unable(reader, cells[reader.name], order, request.batch_size) for reader in readers}
    # No two turns have the same rows: the second would find in the page cache what the first had to fetch.
    seeds = count()

    def take_turn(reader: Reader) -> float:
        try:
            return turn(reader, cells[reader.name], order, request, seeds)
        except Exception as error:  # noqa: BLE001 - whatever a reader raises is its row's failure alone
            told[reader] = failed_row(order, reader.name, _told(error))
            return float("nan")

    turns = {reader.name: partial(take_turn, reader) for reader, row in told.items() if row is None}
    for first in turns.values():
        first()
    seconds = interleave(turns, repeats=request.rounds, limit_seconds=float("inf"))
    for reader, row in told.items():
        rates = [1 / value for value in seconds.get(reader.name, [])]
        yield row or {"measure": order, "name": reader.name, "rates": rates}


def turn(reader: Reader, cells: StoredCells, order: str, request: Request, seeds: Iterator[int]) -> float:
    """Read epochs for the seconds of a turn, and to the end of what was read at once.

    Returns
    -------
    float
        Seconds a row, of reading alone: orders are drawn outside.
    """
    spent, n_rows = 0.0, 0
    while True:
        epoch = reader.epoch(cells, order, batch_size=request.batch_size, seed=next(seeds))
        started = time.perf_counter()
        with closing(epoch) as batches:
            for number, (rows, _) in enumerate(batches, 1):
                n_rows += len(rows)
                if number % reader.batches_a_fetch:
                    continue
                if (so_far := spent + time.perf_counter() - started) >= request.seconds:
                    return so_far / n_rows
        spent += time.perf_counter() - started


def _unable(reader: Reader, cells: StoredCells, order: str, batch_size: int) -> Row | None:
    """Return the row of a reader that is not timed, or None."""
    try:
        if reason := reader.missing():
            raise NotForThis(reason)
        check(reader, cells, order, batch_size=batch_size)
    except NotForThis as error:
        return {"measure": order, "name": reader.name, "left_out": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever a reader raises is its row's failure alone
        return failed_row(order, reader.name, _told(error))
    return None


def _told(error: Exception) -> str:
    return f"wrong rows: {error}" if isinstance(error, WrongRows) else f"{type(error).__name__}: {error}"


def _check_order(rows: Rows, order: str, n_cells: int) -> None:
    if len(np.unique(rows)) != len(rows) or rows.min() < 0 or rows.max() >= n_cells:
        raise WrongRows("a row comes twice, or there is none of its number")
    if order == "sequential" and not np.array_equal(rows, np.arange(len(rows))):
        raise WrongRows("they do not come in the order of the file")
    n_runs = 1 + np.count_nonzero(np.diff(np.sort(rows)) > 1)
    # The last block of a file is shorter, and the last one of what was read may be cut.
    if order == "in blocks" and n_runs > -(-len(rows) // BLOCK) + 1:
        raise WrongRows(f"neighbours do not stay together in blocks of {BLOCK}")
    # Of rows drawn singly, so many stretches without a gap are expected.
    if order == "random" and n_runs < len(rows) * (n_cells - len(rows) + 1) / n_cells / 4:
        raise WrongRows("neighbours come together, as they would not in a random order")


def _layout(array: Any) -> str:
    """Say how the values of an HDF5 or a Zarr array lie."""
    piece = getattr(array, "shards", None) or array.chunks
    names = [type(each).__name__ for each in getattr(array, "compressors", None) or ()]
    packed = ", ".join(names) or getattr(array, "compression", None)
    where = f"in chunks of {piece[0]} values" if piece else "contiguous"
    return f"{where}, {f'compressed ({packed})' if packed else 'not compressed'}"
