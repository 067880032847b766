from contextlib import closing

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from models.activa import cells as cells_module
from models.activa.cells import BatchOrder, TrainingCells, batches_per_epoch
from models.activa.phases import CLASSIFIER_SHARE, WARM_UP_SHARE, early_phase_over
from models.base import Budget
from tests.models.activa.activa_cases import DEVICES, N_GENES, small_cells


@pytest.mark.parametrize(
    ("n_cells", "sizes"),
    [(32, [16, 16]), (40, [16, 16, 8]), (33, [16, 17]), (34, [16, 16, 2]), (5, [5]), (17, [17]), (2, [2])],
)
def test_an_epoch_holds_every_cell_once_and_no_batch_of_one(n_cells, sizes):
    order = BatchOrder(n_cells, 16, seed=0)
    assert batches_per_epoch(n_cells, 16) == len(sizes)
    epochs = [[order.next() for _ in sizes] for _ in range(2)]
    for epoch in epochs:
        assert [len(rows) for rows in epoch] == sizes
        assert sorted(torch.cat(epoch).tolist()) == list(range(n_cells))
    assert n_cells < 10 or not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))


@pytest.mark.parametrize("done", [0, 1, 3, 4, 7])
def test_an_order_goes_on_from_its_state(done):
    order = BatchOrder(40, 16, seed=3)
    for _ in range(done):
        order.next()
    state = order.state()
    expected = [order.next().tolist() for _ in range(7)]
    other = BatchOrder(40, 16, seed=99)
    other.restore(**state)
    assert [other.next().tolist() for _ in range(7)] == expected


@pytest.mark.parametrize(("done", "position"), [(0, 0), (1, 1), (3, 3)])
def test_upcoming_batches_are_those_that_come_in_this_epoch(done, position):
    order, same = (BatchOrder(70, 16, seed=3) for _ in range(2))
    for _ in range(done):
        order.next(), same.next()
    upcoming = order.upcoming()
    assert len(upcoming) == min(3, 5 - position)
    for rows in upcoming:
        assert torch.equal(rows, same.next())
    assert torch.equal(order.next(), upcoming[0])


class Backed:
    """Reads from disk like AnnData: ascending rows or a slice; keeps what it was asked for."""

    def __init__(self, matrix):
        self.matrix, self.shape, self.asked = matrix, matrix.shape, []

    def __getitem__(self, rows):
        assert isinstance(rows, slice) or (np.diff(rows) > 0).all()
        self.asked.append(rows)
        return self.matrix[rows]


ROWS = torch.tensor([4, 29, 0, 17])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("wrapped", [sp.csr_matrix, sp.csr_array, Backed], ids=lambda kind: kind.__name__)
def test_dense_sparse_and_backed_cells_give_the_same_batches(device, wrapped, monkeypatch):
    matrix, _ = small_cells(30)
    dense = TrainingCells(wrapped(matrix), device=torch.device(device))
    monkeypatch.setattr(cells_module, "_DENSE_BYTES_ON_CPU", 0)
    monkeypatch.setattr(cells_module, "_SHARE_OF_GPU", 0)
    sparse = TrainingCells(wrapped(matrix), device=torch.device(device))
    assert dense._dense is not None and sparse._dense is None
    for kept in (dense, sparse):
        with closing(kept):
            for rows in (ROWS, torch.arange(5, 9), torch.arange(30)):
                batch = kept.batch(rows)
                assert torch.equal(batch.cpu(), torch.from_numpy(matrix.toarray()[rows]))
                assert batch.device.type == device and batch.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_cells_that_fit_on_the_gpu_only_as_csr_lie_there_so(monkeypatch):
    matrix = sp.csr_matrix(np.diag(np.arange(1, 31, dtype=np.float32)))
    monkeypatch.setattr(cells_module, "_room", lambda device: cells_module._csr_bytes(matrix))
    kept = TrainingCells(matrix, device=torch.device("cuda"))
    assert kept._dense is None and kept._csr is not None
    assert torch.equal(kept.batch(ROWS).cpu(), torch.from_numpy(matrix.toarray()[ROWS]))


@pytest.mark.parametrize("device", DEVICES)
def test_rows_are_gathered_from_csr_tensors(device):
    matrix, _ = small_cells(30)
    matrix = sp.vstack(
        [matrix[:12], sp.csr_matrix((2, N_GENES), dtype=np.float32), matrix[14:]], format="csr"
    )
    rows = torch.tensor([13, 29, 12, 0, 13])
    gathered = cells_module._CsrOnDevice(matrix, torch.device(device)).batch(rows)
    np.testing.assert_array_equal(gathered.cpu(), matrix.toarray()[rows])


def test_dense_cells_are_made_in_pieces(monkeypatch):
    monkeypatch.setattr(cells_module, "_ROWS_AT_ONCE", 16)
    matrix, _ = small_cells(40)
    backed = Backed(matrix)
    with closing(TrainingCells(backed, device=torch.device("cpu"))) as kept:
        assert backed.asked == [slice(0, 16), slice(16, 32), slice(32, 40)]
        np.testing.assert_array_equal(kept.batch(torch.arange(40)), matrix.toarray())


def steps_until_over(share, budget, *, steps_per_epoch=10, seconds_per_step=0.0, least_steps=0):
    steps = 0
    while not early_phase_over(
        share,
        steps=steps,
        seconds=steps * seconds_per_step,
        budget=Budget.parse(budget),
        steps_per_epoch=steps_per_epoch,
        least_steps=least_steps,
    ):
        steps += 1
    return steps


@pytest.mark.parametrize(
    ("budget", "classifier", "warm_up"),
    [
        ("500epochs", 40, 90),
        ("1000epochs", 80, 180),
        ("100epochs", 10, 18),  # 8 steps would be the classifier's share, but an epoch has 10
        ("40epochs", 10, 10),
        ("4epochs", 10, 10),
        ("3epochs", 7, 7),  # a quarter of 30 each
        ("2epochs", 5, 5),
        ("1steps", 0, 0),
    ],
)
def test_early_phases_keep_their_shares_of_a_budget_in_steps(budget, classifier, warm_up):
    assert steps_until_over(CLASSIFIER_SHARE, budget) == classifier
    assert steps_until_over(WARM_UP_SHARE, budget) == warm_up


def test_a_phase_takes_its_least_steps_of_the_smallest_budget():
    assert steps_until_over(CLASSIFIER_SHARE, "1steps", least_steps=1) == 1
    assert steps_until_over(CLASSIFIER_SHARE, "500epochs", least_steps=1) == 40


@pytest.mark.parametrize(
    ("budget", "classifier", "warm_up"),
    [
        ("1000s", 8, 18),
        ("500s", 5, 9),  # an epoch of 5 steps of a second each, then 9 seconds
        ("12s", 3, 3),  # an epoch would take 5 seconds, a quarter is 3
    ],
)
def test_early_phases_keep_their_shares_of_a_budget_in_seconds(budget, classifier, warm_up):
    timing = {"steps_per_epoch": 5, "seconds_per_step": 1.0}
    assert steps_until_over(CLASSIFIER_SHARE, budget, **timing) == classifier
    assert steps_until_over(WARM_UP_SHARE, budget, **timing) == warm_up


def test_a_function_of_all_cells_has_them_in_their_order():
    matrix, _ = small_cells(41)
    with closing(TrainingCells(matrix, device=torch.device("cpu"))) as cells:
        sizes: list[int] = []

        def sums(batch):
            sizes.append(len(batch))
            return torch.stack([batch.sum(dim=1), batch.max(dim=1).values], dim=1)

        found = cells.of_all(sums, batch_size=16)
    assert sizes == [16, 16, 9]
    dense = matrix.toarray()
    np.testing.assert_allclose(found, np.column_stack([dense.sum(axis=1), dense.max(axis=1)]), rtol=1e-6)
