import threading

import numpy as np
import pytest

from models import streaming
from models.activa import cells as cells_module
from models.activa.training import train
from models.base import Budget
from tests.models.activa.activa_cases import Interrupted, KeepingMonitor, small_cells, small_settings
from tests.models.disk import as_stored


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("rows-from-disk")]


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
@pytest.mark.parametrize("kind", ["plain", "h5ad", "zarr"])
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
    whole = streaming._CsrRows.__getitem__
    monkeypatch.setattr(
        streaming._CsrRows, "__getitem__", lambda of, rows: read.append(rows) or whole(of, rows)
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
