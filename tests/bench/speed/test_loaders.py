"""``bench loaders``: the rows that are read, who is caught, and what is told instead of a number."""

import subprocess
import sys
from itertools import count

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from rich.console import Console

from bench.errors import WRONG_REQUEST, RequestError
from bench.speed import loaders
from bench.speed.loaders import Request, WrongRows, carry_out, check, measure, rows_as_stored, turn
from bench.speed.row_readers import BLOCK, ORDERS, READERS, Backed, NotForThis, batches_of, cells_on_disk
from datasets.stored import write_cells
from models.activa.cells import BatchOrder
from tests.conftest import make_prepared

KINDS = ("contiguous.h5ad", "compressed.h5ad", "cells.zarr")
N_CELLS, N_GENES = 700, 50


@pytest.fixture(scope="module")
def matrix():
    cells = make_prepared(n_cells=N_CELLS, n_genes=N_GENES)
    # A cell without a value, and one that differs from all others.
    dense = cells.X.toarray()
    dense[3], dense[4] = 0, np.arange(N_GENES)
    return sp.csr_matrix(dense, dtype=np.float32)


@pytest.fixture(scope="module")
def files(matrix, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    cells = anndata.AnnData(matrix, layers={"counts": matrix})
    write_cells(cells, folder / KINDS[0])
    cells.write_h5ad(folder / KINDS[1], compression="gzip")
    cells.write_zarr(folder / KINDS[2])
    return folder


@pytest.fixture
def cells(files):
    with cells_on_disk(files / KINDS[0]) as found:
        yield found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_an_epoch_gives_every_row_once_and_as_the_file_has_it(reader, order, kind, files, matrix):
    if reason := reader.missing():
        pytest.skip(reason)
    with cells_on_disk(files / kind) as found:
        try:
            batches = list(reader.epoch(found, order, batch_size=64, seed=1))
        except NotForThis as error:
            assert (str(error), found.path.suffix) == ("reads Zarr stores only", ".h5ad")
            return
        check(reader, found, order, batch_size=64)
    rows = np.concatenate([rows for rows, _ in batches])
    assert [len(rows) for rows, _ in batches] == [64] * 10 + [60]
    assert sorted(rows) == list(range(N_CELLS))
    assert (rows.tolist() == list(range(N_CELLS))) == (order == "sequential")
    given = sp.vstack([sp.csr_matrix(found) for _, found in batches])
    np.testing.assert_array_equal(given.toarray(), matrix.toarray()[rows])


def test_the_yardstick_is_the_matrix(cells, matrix):
    rows = np.array([4, 3, 699, 0])
    np.testing.assert_array_equal(rows_as_stored(cells, rows).toarray(), matrix.toarray()[rows])


def test_orders_by_hand():
    assert [rows.tolist() for rows in batches_of("sequential", 5, batch_size=2, seed=0)] == [
        [0, 1],
        [2, 3],
        [4],
    ]
    rows = np.concatenate(batches_of("in blocks", 3 * BLOCK + 7, batch_size=50, seed=0))
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    assert len(breaks) and all(part[0] % BLOCK == 0 for part in np.split(rows, breaks))
    shuffled = [np.concatenate(batches_of("random", 90, batch_size=9, seed=seed)) for seed in (1, 1, 2)]
    assert shuffled[0].tolist() == shuffled[1].tolist() != shuffled[2].tolist()
    assert sorted(shuffled[2]) == list(range(90))


def worth(batches, *, n_cells, n_types=20):
    """Return how many cells drawn singly vary as much in type as a batch does, in a file sorted by type."""
    types = np.arange(n_cells) * n_types // n_cells
    shares = [np.bincount(types[rows], minlength=n_types) / len(rows) for rows in batches]
    return (1 / n_types) * (1 - 1 / n_types) / np.var(shares, axis=0).mean()


def test_what_blocks_do_to_the_batches_of_a_training():
    """What docs/large_data.md says of them: a training's own order is as good as drawn singly."""
    n_cells, batch_size = 640 * BLOCK, 2 * BLOCK
    training = BatchOrder(n_cells, batch_size, seed=3)
    rng, orders = np.random.default_rng(0), {"training": [], "in blocks": [], "of 16": []}
    for seed in range(20):
        orders["training"] += [training.next().numpy() for _ in range(training.batches_per_epoch)]
        blocks = batches_of("in blocks", n_cells, batch_size=batch_size, seed=seed)
        orders["in blocks"] += blocks
        fetches = np.split(np.concatenate(blocks), n_cells // (16 * batch_size))
        orders["of 16"] += [part for rows in fetches for part in np.split(rng.permutation(rows), 16)]
    found = {name: worth(batches, n_cells=n_cells) for name, batches in orders.items()}
    # By hand: 128 cells; two blocks, each of one type; 32 blocks in what a batch of 128 is drawn from.
    within = (1 - 1 / 32) * (16 - 1) / (16 * batch_size - 1)
    expected = {"training": 128, "in blocks": 2, "of 16": 1 / (1 / 32 + within)}
    assert found == pytest.approx(expected, rel=0.05)


class Planted(Backed):
    """Reads as AnnData does, and spoils it."""

    name = "planted"

    def __init__(self, spoil):
        self.spoil = spoil

    def epoch(self, cells, order, *, batch_size, seed):
        yield from self.spoil(list(super().epoch(cells, order, batch_size=batch_size, seed=seed)))


def one_value_off(batches):
    values = batches[1][1].tolil()
    values[5, 7] += 1
    return [batches[0], (batches[1][0], values.tocsr())]


def neighbours_swapped(batches):
    rows, values = batches[0]
    return [(rows, values[np.r_[1, 0, 2 : len(rows)]]), *batches[1:]]


def of_two_rows_in_turn(batches):
    rows = batches[0][0].copy()
    rows[:2] = rows[1::-1]
    return [(rows, batches[0][1][np.r_[1, 0, 2 : len(rows)]]), *batches[1:]]


WRONG = [
    ("random", one_value_off, "has other values than the file"),
    ("sequential", neighbours_swapped, "row 0 has other values than the file"),
    ("sequential", of_two_rows_in_turn, "they do not come in the order of the file"),
    ("random", lambda batches: [batches[0], batches[0]], "a row comes twice"),
    ("random", lambda batches: [(rows + N_CELLS, found) for rows, found in batches], "there is none"),
    (
        "random",
        lambda batches: [(rows, found[:-1]) for rows, found in batches],
        r"\(64, 50\) comes as \(63, 50\)",
    ),
    ("random", lambda batches: [], "it gives nothing"),
]


@pytest.mark.parametrize(("order", "spoil", "words"), WRONG)
def test_a_wrong_reader_is_caught(order, spoil, words, cells):
    with pytest.raises(WrongRows, match=words):
        check(Planted(spoil), cells, order, batch_size=64)


@pytest.mark.parametrize(
    ("claimed", "given", "words"),
    [
        ("random", "in blocks", "neighbours come together"),
        ("random", "sequential", "neighbours come together"),
        ("in blocks", "random", "neighbours do not stay together"),
        ("sequential", "in blocks", "they do not come in the order of the file"),
    ],
)
def test_right_rows_in_another_order_are_caught(claimed, given, words, cells):
    class Other(Backed):
        def epoch(self, cells, order, *, batch_size, seed):
            return super().epoch(cells, given, batch_size=batch_size, seed=seed)

    with pytest.raises(WrongRows, match=words):
        check(Other(), cells, claimed, batch_size=64)


class Clocked(Backed):
    """Takes a second of a clock of its own for each batch, and notes its epochs."""

    def __init__(self, name="clocked", batches_a_fetch=1):
        self.name, self.batches_a_fetch, self.now, self.seeds = name, batches_a_fetch, 0.0, []

    def epoch(self, cells, order, *, batch_size, seed):
        self.seeds.append(seed)
        self.now += 1000  # Drawing an order: no part of a turn.
        return self.read(super().epoch(cells, order, batch_size=batch_size, seed=seed))

    def read(self, batches):
        for batch in batches:
            self.now += 1
            yield batch


@pytest.mark.parametrize(
    ("seconds", "batches_a_fetch", "expected", "epochs"),
    [
        (2.5, 1, 3 / (3 * 100), 1),
        # What was read at once counts only once it has been given out.
        (2.5, 4, 4 / (4 * 100), 1),
        # Seven batches of 100 are an epoch; another one begins.
        (8.0, 1, 8 / (8 * 100), 2),
    ],
)
def test_a_turn_by_hand(seconds, batches_a_fetch, expected, epochs, cells, files, monkeypatch):
    reader = Clocked(batches_a_fetch=batches_a_fetch)
    monkeypatch.setattr(loaders.time, "perf_counter", lambda: reader.now)
    asked = Request(files / KINDS[0], batch_size=100, seconds=seconds)
    assert turn(reader, cells, "random", asked, count(5)) == pytest.approx(expected)
    assert reader.seeds == list(range(5, 5 + epochs))


def test_readers_take_turns_and_none_reads_what_another_has_read(files, monkeypatch):
    taken = []
    monkeypatch.setattr(loaders, "turn", lambda reader, *_: taken.append(reader.name) or 0.5)
    readers = [Clocked("a"), Clocked("b")]
    rows = measure(Request(files / KINDS[0], rounds=2), readers)
    assert "".join(taken) == "ababab" * 3  # one that is not counted, and two rounds, of three orders
    assert [(row["measure"], row["name"]) for row in rows] == [(o, n) for o in ORDERS for n in "ab"]
    assert all(row["rates"] == [2.0, 2.0] for row in rows)
    monkeypatch.undo()
    measure(Request(files / KINDS[0], rounds=2, seconds=1e-6), readers)
    drawn = [seed for reader in readers for seed in reader.seeds if seed]
    assert sorted(drawn) == sorted([*range(1, 6)] * 3)


def test_a_reader_that_fails_or_is_not_there_costs_nobody_else_a_number(files):
    class Missing(Backed):
        name = "missing"

        def missing(self):
            return "not installed: pip install missing"

    class Breaks(Backed):
        name = "breaks"

        def epoch(self, cells, order, *, batch_size, seed):
            if seed:
                raise OSError("disk on fire")
            return super().epoch(cells, order, batch_size=batch_size, seed=seed)

    class Choosy(Backed):
        name = "choosy"

        def epoch(self, cells, order, *, batch_size, seed):
            raise NotForThis("reads scrolls only")
            yield

    asked = Request(files / KINDS[0], rounds=2, seconds=1e-6)
    console = Console(width=120, record=True)
    rows = carry_out(asked, console, [Missing(), Planted(one_value_off), Breaks(), Choosy(), Backed()])
    for number in range(0, len(rows), 5):
        missing, wrong, broken, choosy, right = rows[number : number + 5]
        assert missing["left_out"] == "not installed: pip install missing"
        assert wrong["failed"].startswith("wrong rows: row ")
        assert broken["failed"] == "OSError: disk on fire"
        assert choosy["left_out"] == "reads scrolls only"
        assert len(right["rates"]) == 2 and min(right["rates"]) > 0
        assert all("rates" not in row for row in (missing, wrong, broken, choosy))
    text = console.export_text()
    assert text.count("reads scrolls only") == text.count("disk on fire") == 3


def test_the_table_shows_median_least_and_most(files):
    rows = [{"measure": "random", "name": "mine", "rates": [300.0, 100.4, 700.0]}]
    console = Console(width=120, record=True)
    console.print(loaders.loaders_table(rows, Request(files / KINDS[0]), about=["Machine: a lamp."]))
    text = console.export_text()
    (line,) = (line for line in text.splitlines() if "mine" in line)
    assert line.split() == ["random", "mine", "300", "100", "700"]
    assert "Machine: a lamp." in text and "page cache" in text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (KINDS[0], "700 cells × 50 genes, contiguous, not compressed"),
        (KINDS[1], "values, compressed (gzip)"),
        (KINDS[2], "values, compressed ("),
    ],
)
def test_it_says_how_the_file_lies(kind, words, files):
    with cells_on_disk(files / kind) as found:
        machine, file = loaders.describe(found)
    assert machine.startswith("Machine: ") and words in file and "memory" in file


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "--batch-size 0 is too small: give at least 1"),
        ({"batch_size": 701}, "--batch-size 701 is too large: .* has 700 cells"),
        ({"rounds": 0}, "--rounds 0 is too small: give at least 1"),
        ({"seconds": 0.0}, "--seconds 0 is too small: give more than 0"),
        ({"seconds": float("nan")}, "--seconds nan is too small: give more than 0"),
    ],
)
def test_wrong_numbers_are_named(options, words, files):
    with pytest.raises(RequestError, match=words):
        Request(files / KINDS[0], **options)


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.parametrize(
    ("X", "words"),
    [
        (
            np.ones((9, 4), dtype=np.float32),
            "its X is array: give an .h5ad or a .zarr store whose X is a CSR",
        ),
        (sp.csc_matrix(np.eye(9, 4, dtype=np.float32)), "its X is csc_matrix: give"),
        (None, "its X is (missing|null): give"),
    ],
)
def test_a_file_without_csr_is_refused(X, words, suffix, tmp_path):
    path = tmp_path / f"cells{suffix}"
    cells = anndata.AnnData(X, shape=None if X is not None else (9, 4))
    cells.write_zarr(path) if suffix == ".zarr" else cells.write_h5ad(path)
    with pytest.raises(RequestError, match=words):
        Request(path, batch_size=1)


@pytest.mark.slow
def test_a_file_that_is_not_there_is_one_line_and_exit_code_2():
    command = [sys.executable, "-m", "bench", "loaders", "nowhere.h5ad"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (WRONG_REQUEST, "")
    assert done.stderr.startswith("bench: nowhere.h5ad does not exist") and done.stderr.count("\n") == 1
