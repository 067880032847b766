"""Each promise of a generator, kept and broken."""

import re

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from bench.work.contract import BrokenContract, Contract, as_csr, checksum, require_unchanged

GENES = ("CD3E", "CD19", "LYZ")
COUNTS = np.array([[1, 0, 2], [0, 3, 0]], dtype=np.float32)


def cells(matrix=COUNTS, genes=GENES, types=("B", "T")):
    obs = pd.DataFrame({"cell_type": list(types)} if types else {}, index=["0", "1"])
    return anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=list(genes)))


def hold(sample, *, space="counts", n_cells=2, requested=None):
    return Contract(space, GENES, frozenset("BT")).hold(sample, n_cells=n_cells, requested=requested)


@pytest.mark.parametrize(
    "convert",
    [
        sparse.csr_matrix,
        sparse.csc_matrix,
        sparse.csr_array,
        np.asarray,
        lambda matrix: matrix.astype(np.float64),
        lambda matrix: matrix.astype(np.int64),
        lambda matrix: sparse.csc_matrix(matrix.astype(np.float64)),
    ],
)
def test_every_kind_of_matrix_becomes_csr_float32(convert):
    held = hold(cells(convert(COUNTS)), requested=["B", "T"])
    assert (held.X.format, held.X.dtype) == ("csr", np.float32)
    assert (held.X.toarray() == COUNTS).all()
    assert held.obs["cell_type"].tolist() == ["B", "T"]


def test_what_is_right_is_not_copied():
    sample = cells(sparse.csr_matrix(COUNTS))
    assert hold(sample) is sample


def test_stored_zeros_and_repeated_entries_are_no_values():
    twice = sparse.csr_matrix((np.float32([1, 1, 0, 5]), [0, 0, 1, 2], [0, 3, 4]), shape=(2, 3))
    matrix = as_csr(twice)
    assert twice.nnz == 4
    assert matrix.nnz == 2
    assert matrix.toarray().tolist() == [[2, 0, 0], [0, 0, 5]]


def test_genes_in_another_order_are_put_right_and_said():
    backwards = cells(COUNTS[:, ::-1].copy(), GENES[::-1])
    with pytest.warns(UserWarning, match="^genes came in another order"):
        held = hold(backwards)
    assert tuple(held.var_names) == GENES
    assert (held.X.toarray() == COUNTS).all()


@pytest.mark.parametrize(
    ("sample", "asked", "reason"),
    [
        (None, {}, "sample returned NoneType instead of AnnData"),
        (cells(), {"n_cells": 3}, "sample returned 2 cells, 3 were asked for"),
        (cells(genes=("CD3E", "CD19", "MS4A1")), {}, "1 unknown, 1 missing, such as 'MS4A1'"),
        (cells(COUNTS[:, :2], GENES[:2]), {}, "0 unknown, 1 missing, such as 'LYZ'"),
        (cells(COUNTS * np.float32(np.nan)), {}, "2 of 2 cells hold NaN or infinite values"),
        (cells(np.where(COUNTS == 3, np.inf, COUNTS)), {}, "1 of 2 cells hold NaN or infinite values"),
        (cells(-COUNTS), {}, "2 of 2 cells hold negative values"),
        (cells(COUNTS + 0.5), {}, "declared counts, but 2 of 2 cells hold values that are not whole"),
        (cells(COUNTS * 6), {"space": "log_cp20k"}, "declared log_cp20k, but values reach 18, where"),
        (cells(types=None), {"requested": ["B", "T"]}, 'asked for and obs["cell_type"] is missing'),
        (cells(types=("B", "T")), {"requested": ["T", "B"]}, "not of the types asked for, in the order"),
        (cells(types=("B", "NK")), {"requested": ["B", "T"]}, "not of the types asked for, in the order"),
        (cells(types=("B", None)), {"requested": ["B", "T"]}, "not of the types asked for, in the order"),
        (cells(np.array([["1", "0", "2"], ["0", "3", "0"]], dtype=object)), {}, "no numbers"),
    ],
)
def test_a_broken_promise_is_named(sample, asked, reason):
    with pytest.raises(BrokenContract, match=re.escape(reason)):
        hold(sample, **asked)


def test_library_sizes_that_are_not_the_declared_ones_are_said():
    normalised = COUNTS / COUNTS.sum(axis=1, keepdims=True) * 20_000
    hold(cells(normalised), space="cp20k")
    hold(cells(normalised * 1.009), space="cp20k")
    with pytest.warns(UserWarning, match="^declared cp20k, but library sizes are not 20000"):
        hold(cells(normalised * np.array([[0.5], [1]])), space="cp20k")


@pytest.mark.parametrize("types", [("B", "NK"), ("B", None)])
def test_types_that_nobody_asked_for_or_knows_are_left_out(types):
    with pytest.warns(UserWarning, match="^1 of 2 cells are of no type of the training cells"):
        held = hold(cells(sparse.csr_matrix(COUNTS), types=types))
    assert "cell_type" not in held.obs
    assert (held.X.toarray() == COUNTS).all()


def test_a_logged_library_may_be_one_in_a_hundred_too_large():
    hold(cells(np.float32([[np.log1p(20_190), 0, 0], [0, 1, 0]])), space="log_cp20k")


@pytest.fixture
def train():
    matrix = sparse.csr_matrix(COUNTS)
    made = cells(matrix)
    made.layers["counts"] = matrix.copy()
    made.obs["cell_type"] = pd.Categorical(made.obs["cell_type"])
    made.obs["control_pool"] = [True, False]
    made.obs["null_half"] = [0, 1]
    made.obs["split"] = pd.Categorical(["train", "train"])
    made.obs["batch"] = [None, 3]
    return made


def swap_types(train):
    train.obs["cell_type"] = train.obs["cell_type"].cat.rename_categories({"B": "T", "T": "B"})


def putting(table, name, values):
    return lambda train: setattr(train, table, getattr(train, table).assign(**{name: values}))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda train: train.X.data.__imul__(2), "X.data"),
        (lambda train: train.layers["counts"].data.__setitem__(0, 9), 'layers["counts"].data'),
        (swap_types, 'obs["cell_type"]'),
        (lambda train: setattr(train, "var_names", GENES[::-1]), "var_names"),
        (lambda train: setattr(train, "obs_names", ["1", "0"]), "obs_names"),
        (putting("obs", "control_pool", [False, True]), 'obs["control_pool"]'),
        (putting("obs", "null_half", [1, 0]), 'obs["null_half"]'),
        (putting("obs", "split", "test"), 'obs["split"]'),
        (putting("obs", "mine", 1), 'obs["mine"] was added'),
        (lambda train: setattr(train, "obs", train.obs.drop(columns="split")), 'obs["split"] is gone'),
        (putting("var", "mine", 1.5), 'var["mine"] was added'),
    ],
)
def test_training_cells_that_were_changed_are_found(train, change, part):
    before = checksum(train)
    require_unchanged(before, train)
    change(train)
    with pytest.raises(BrokenContract, match=re.escape(f"fit changed the training cells: {part}")):
        require_unchanged(before, train)
