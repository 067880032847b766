import threading
from contextlib import closing

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr

from models.activa import cells as cells_module
from models.activa import streaming
from models.activa.streaming import RowReader, in_memory
from models.activa.training import train
from models.base import Budget
from tests.models.activa.activa_cases import Interrupted, KeepingMonitor, small_cells, small_settings

ORDER = [np.array([7, 3, 20]), np.array([1, 2, 3]), np.array([29, 0, 11, 28, 1, 2])]


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("activa-rows")]


def as_stored(matrix, kind, folder):
    """The same cells as an AnnData whose X stays on disk."""
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(np.array(["a", "b", "c"])[np.arange(matrix.shape[0]) % 3])},
        index=[f"cell {row}" for row in range(matrix.shape[0])],
    )
    adata = anndata.AnnData(matrix, obs=obs)
    if kind in ("h5ad", "dense_h5ad"):
        stored = adata if kind == "h5ad" else anndata.AnnData(matrix.toarray(), obs=obs)
        stored.write_h5ad(folder / "cells.h5ad")
        return anndata.read_h5ad(folder / "cells.h5ad", backed="r")
    adata.write_zarr(folder / "cells.zarr")
    group = zarr.open_group(folder / "cells.zarr", mode="r")
    return anndata.AnnData(anndata.io.sparse_dataset(group["X"]), obs=obs, var=adata.var)


@pytest.mark.parametrize("kind", ["h5ad", "dense_h5ad", "zarr"])
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


def trained(matrix, types, **how):
    return train(
        matrix,
        types,
        n_cell_types=3,
        seed=3,
        budget=Budget(14, "steps"),
        settings=small_settings(),
        **how,
    ).state_dict()


@pytest.fixture
def nothing_fits_dense(monkeypatch):
    monkeypatch.setattr(cells_module, "_DENSE_BYTES_ON_CPU", 0)


@pytest.mark.usefixtures("nothing_fits_dense")
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_training_from_disk_is_training_from_memory(kind, tmp_path):
    matrix, types = small_cells(40)
    expected = trained(matrix, types)
    streamed = trained(as_stored(matrix, kind, tmp_path).X, types)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(streamed[name], tensor, err_msg=name)
    assert not reading_threads()


@pytest.mark.usefixtures("nothing_fits_dense")
def test_an_interrupted_training_from_disk_ends_its_thread_and_goes_on(tmp_path):
    matrix, types = small_cells(40)
    stored = as_stored(matrix, "h5ad", tmp_path).X
    expected = trained(stored, types)
    with pytest.raises(Interrupted):
        trained(stored, types, monitor=KeepingMonitor(folder=tmp_path / "kept", stop_at=3))
    assert not reading_threads()
    resumed = trained(stored, types, monitor=KeepingMonitor(resume_from=tmp_path / "kept"))
    for name, tensor in expected.items():
        np.testing.assert_array_equal(resumed[name], tensor, err_msg=name)


@pytest.mark.usefixtures("nothing_fits_dense")
def test_activa_never_pulls_a_backed_matrix_into_memory(tmp_path, monkeypatch):
    from models.activa import Activa

    backed = as_stored(small_cells(40)[0], "h5ad", tmp_path)
    read = []
    whole = streaming._Hdf5Rows.__getitem__
    monkeypatch.setattr(
        streaming._Hdf5Rows, "__getitem__", lambda of, rows: read.append(rows) or whole(of, rows)
    )
    for name in ("__getitem__", "to_memory"):
        monkeypatch.setattr(type(backed.X), name, lambda *_: pytest.fail("read by AnnData"))
    assert Activa.skip(backed) is None
    small = {"latent_dim": 4, "hidden_sizes": (24, 16, 8), "batch_size": 16}
    model = Activa(**small)
    model.fit(backed, seed=0, budget=Budget(4, "steps"), monitor=KeepingMonitor())
    assert model.sample(5, seed=0).shape == (5, 50)
    sizes = [len(np.arange(40)[rows]) for rows in read]
    assert sizes and max(sizes) <= 17
