"""Rows of cells on disk are those in memory, and every generator that streams learns the same from them."""

import os
import threading
from contextlib import ExitStack, closing
from importlib.metadata import entry_points

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from datasets import stored
from models import streaming
from models.activa import cells as cells_module
from models.base import Budget, SilentMonitor
from models.streaming import RowReader, column_sums, in_memory, pieces, row_sums, some_rows
from tests.models.activa.activa_cases import small_cells
from tests.models.disk import KINDS, as_stored

ORDER = [np.array([7, 3, 20]), np.array([1, 2, 3]), np.array([29, 0, 11, 28, 1, 2])]


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("rows-from-disk")]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_read_from_disk_in_the_order_asked_for(kind, tmp_path):
    matrix, _ = small_cells(30)
    stored = as_stored(matrix, kind, tmp_path).X
    assert in_memory(matrix) and not in_memory(stored)
    with closing(RowReader(stored)) as reader:
        for number, rows in enumerate(ORDER):
            found = reader.read(rows, ahead=ORDER[number + 1 : number + 2])
            assert (found.format, found.dtype) == ("csr", np.float32)
            np.testing.assert_array_equal(found.toarray(), matrix.toarray()[rows])


class Reading:
    """Stands for a matrix on disk; tells in which thread and in which order rows were read."""

    shape = (30, 50)

    def __init__(self, *, fails_at=None):
        self.matrix, self.read, self.fails_at = small_cells(30)[0], [], fails_at
        self.done = threading.Event()

    def __getitem__(self, rows):
        assert threading.current_thread() is not threading.main_thread()
        if len(self.read) == self.fails_at:
            raise OSError("disk on fire")
        self.read.append(np.arange(30)[rows].tolist())
        if len(self.read) == 2:
            self.done.set()
        return self.matrix[rows]


def test_the_next_batch_is_read_while_the_present_one_is_in_use_and_only_once():
    stored = Reading()
    with closing(RowReader(stored)) as reader:
        reader.read(ORDER[0], ahead=[ORDER[1]])
        assert stored.done.wait(timeout=300)
        reader.read(ORDER[1])
    assert stored.read == [[3, 7, 20], [1, 2, 3]]


def test_what_was_not_foretold_is_read_all_the_same():
    stored = Reading()
    with closing(RowReader(stored)) as reader:
        reader.read(ORDER[0], ahead=[ORDER[1]])
        found = reader.read(ORDER[2])
    np.testing.assert_array_equal(found.toarray(), stored.matrix.toarray()[ORDER[2]])


def test_a_failure_ahead_is_raised_where_the_rows_are_wanted():
    with closing(RowReader(Reading(fails_at=1))) as reader:
        reader.read(ORDER[0], ahead=[ORDER[1]])
        with pytest.raises(OSError, match="disk on fire"):
            reader.read(ORDER[1])
    assert not reading_threads()


def test_a_file_of_ours_is_read_past_hdf5_and_others_through_it(tmp_path):
    matrix, _ = small_cells(30)
    for kind, reader in (("plain", streaming._PlainArray), ("h5ad", streaming._Hdf5Array)):
        (tmp_path / kind).mkdir()
        found = streaming._fastest(as_stored(matrix, kind, tmp_path / kind).X)
        assert type(found._values) is type(found._columns) is reader
        np.testing.assert_array_equal(found[np.array([], dtype=int)].shape, (0, 50))


def test_a_file_that_was_cut_off_is_no_cells(tmp_path):
    cells = as_stored(small_cells(30)[0], "plain", tmp_path).X
    with closing(RowReader(cells)) as reader:
        os.truncate(tmp_path / "cells.h5", 3000)
        with pytest.raises(OSError, match="it was changed or cut off"):
            reader.read(np.arange(30))


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_sums_and_some_rows_are_those_in_memory(kind, tmp_path, monkeypatch):
    matrix, _ = small_cells(30)
    cells = as_stored(matrix, kind, tmp_path).X
    monkeypatch.setattr(streaming, "PIECE", 7)
    found = list(pieces(cells))
    assert [part.stop - part.start for part, _ in found] == [7, 7, 7, 7, 2]
    for part, piece in found:
        np.testing.assert_array_equal(piece.toarray(), matrix.toarray()[part])
    rows = np.array([0, 1, 2, 9, 11, 12, 13, 14, 15, 29])
    for held in (cells, matrix, matrix.toarray()):
        # In double precision, whatever is held.
        np.testing.assert_allclose(row_sums(held), matrix.toarray().sum(axis=1, dtype=float), rtol=1e-12)
        np.testing.assert_allclose(column_sums(held), matrix.toarray().sum(axis=0, dtype=float), rtol=1e-12)
        np.testing.assert_array_equal(some_rows(held, rows).toarray(), matrix.toarray()[rows])


SMALL = {
    "activa": {"latent_dim": 4, "hidden_sizes": (24, 16, 8), "batch_size": 16, "precision": "fp32"},
    "activa_counts": {"latent_dim": 4, "hidden_sizes": (16,), "batch_size": 16, "precision": "fp32"},
    "cscgan": {"latent_dim": 4, "generator_sizes": (8,), "critic_sizes": (8,), "batch_size": 16},
    "latent_flow": {"latent_dim": 4, "hidden_sizes": (16,), "flow_width": 16, "batch_size": 16},
    "scgan": {"latent_dim": 4, "generator_sizes": (8,), "critic_sizes": (8,), "batch_size": 16},
}
GENERATORS = {point.name: point.load() for point in entry_points(group="bench.models")}
STREAMING = {name for name, generator in GENERATORS.items() if generator.streams}


def prepared(n_cells=60):
    """Cells as the harness gives them to a generator."""
    counts, types = small_cells(n_cells)
    counts = csr_matrix(np.ceil(counts.toarray()), dtype=np.float32)
    pool = np.arange(n_cells) % 2 == 0
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.array(["a", "b", "c"])[types]),
            "control_pool": pool,
            "null_half": np.where(pool, np.arange(n_cells) // 2 % 2 + 1, 0),
        },
        index=[f"cell {row}" for row in range(n_cells)],
    )
    scaled = csr_matrix(counts.multiply(20_000 / counts.sum(axis=1)), dtype=np.float32)
    return AnnData(scaled, obs=obs, layers={"counts": counts}, uns={"bench": {}})


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STREAMING))
def test_what_streams_learns_the_same_from_disk_as_from_memory(name, tmp_path, monkeypatch):
    monkeypatch.setattr(cells_module, "_DENSE_BYTES_ON_CPU", 0)
    monkeypatch.setattr(streaming, "PIECE", 16)
    train, drawn = prepared(), []
    stored.write_cells(train, tmp_path / "train.h5ad")
    with ExitStack() as stack:
        for cells in (train, stack.enter_context(stored.opened(tmp_path / "train.h5ad"))):
            assert in_memory(cells.X) is (cells is train)
            model = GENERATORS[name](**SMALL.get(name, {}))
            model.fit(cells, seed=1, budget=Budget(6, "steps"), monitor=SilentMonitor())
            drawn.append(model.sample(10, seed=2).X.toarray())
    np.testing.assert_array_equal(*drawn)
    assert drawn[0].any() or name == "empty_cells"


def test_which_generators_stream():
    controls = {name for name, kind in GENERATORS.items() if kind.role in ("ceiling", "floor", "null")}
    assert {"activa", "activa_counts", "latent_flow", "scgan", "cscgan"} | controls <= STREAMING
    assert not STREAMING & {"nb_copula", "scvi"}


def test_a_control_remembers_so_many_cells_and_none_twice_from_disk_as_from_memory(tmp_path, monkeypatch):
    from models.controls.control import Control
    from models.controls.real_cells import Real

    monkeypatch.setattr(Control, "most_cells", 10)
    train = prepared()
    stored.write_cells(train, tmp_path / "train.h5ad")
    remembered = []
    with stored.opened(tmp_path / "train.h5ad") as cells:
        for held, seed in ((cells, 0), (train, 0), (cells, 1)):
            real = Real()
            real.fit(held, seed=seed, budget=Budget(1, "steps"), monitor=SilentMonitor())
            remembered.append({row.tobytes() for row in real.sample(10, seed=0).X.toarray()})
    pool = {row.tobytes() for row in train.layers["counts"][train.obs["control_pool"].to_numpy()].toarray()}
    assert len(remembered[0]) == 10 and remembered[0] == remembered[1]
    assert remembered[0] != remembered[2] and remembered[0] | remembered[2] <= pool
