import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from metrics.forest import columns_of, vote_shares
from metrics.threads import usable_threads

RNG = np.random.default_rng(0)
# Small nodes look their cells up in a gene, larger ones run through the gene: both happen in each.
CELLS = {
    "expression": RNG.gamma(2.0, size=(300, 40)) * (RNG.random((300, 40)) < 0.4),
    "counts, many of them equal": RNG.poisson(0.7, size=(300, 40)),
    "more genes than cells": RNG.poisson(0.1, size=(60, 900)) * RNG.random((60, 900)),
    "components, negative ones too": RNG.normal(size=(400, 9)) * (RNG.random((400, 9)) < 0.9),
    "no zeros": 3 + RNG.normal(size=(90, 30)),
    "nearly equal values": 0.5 + 4e-8 * RNG.integers(5, size=(90, 6)) + RNG.integers(3, size=(90, 6)),
    "nearly zero": 6e-8 * RNG.integers(-3, 4, size=(90, 6)) + (RNG.random((90, 6)) < 0.3),
    "cells that come in threes": np.repeat(RNG.poisson(1.0, size=(40, 12)), 3, axis=0),
    "one gene": RNG.integers(4, size=(80, 1)),
    "constant genes": RNG.poisson(0.5, size=(90, 20)) * (np.arange(20) % 3 == 0),
    "no gene that varies": np.ones((40, 5)),
}


def parts(cells, *, share_of_ones=0.5):
    rng = np.random.default_rng(1)
    labels = (rng.random(len(cells)) < share_of_ones).astype(np.int64)
    # Class 1 differs a little, where there is anything to differ.
    moved = np.where(labels[:, None] & (rng.random(cells.shape) < 0.2), np.roll(cells, 1, axis=1), cells)
    order = rng.permutation(len(cells))
    return moved.astype(np.float32), labels, order[len(cells) // 5 :], order[: len(cells) // 5]


def plain(cells, labels, kept, held_out, *, n_trees, seed, **options):
    forest = RandomForestClassifier(n_trees, random_state=seed, **options).fit(cells[kept], labels[kept])
    return np.round(forest.predict_proba(cells[held_out])[:, 1], 9)


@pytest.mark.parametrize("name", CELLS)
def test_votes_are_those_of_scikit_learn_to_the_last_bit(name):
    cells, labels, kept, held_out = parts(CELLS[name])
    options = {"n_trees": 60, "seed": 3}
    found = vote_shares(columns_of(cells), labels, kept=kept, held_out=held_out, **options)
    assert np.array_equal(found, plain(cells, labels, kept, held_out, **options))
    assert found.std() > 0 or name == "no gene that varies"


@pytest.mark.parametrize("name", ["expression", "counts, many of them equal"])
def test_classes_that_weigh_alike_are_drawn_as_scikit_learn_draws_them(name):
    cells, labels, kept, held_out = parts(CELLS[name], share_of_ones=0.1)
    options = {"n_trees": 60, "seed": 4}
    found = vote_shares(columns_of(cells), labels, kept=kept, held_out=held_out, balanced=True, **options)
    assert np.array_equal(found, plain(cells, labels, kept, held_out, class_weight="balanced", **options))
    assert not np.array_equal(found, plain(cells, labels, kept, held_out, **options))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(8, 150),
    st.integers(1, 30),
    st.sampled_from([0.05, 0.5, 1.0]),
    st.sampled_from([2, 5, 10**6]),
)
def test_so_are_they_of_any_cells(seed, n_cells, n_genes, density, n_values):
    rng = np.random.default_rng(seed)
    cells = rng.integers(-n_values // 2, n_values, size=(n_cells, n_genes)) / n_values
    cells = (cells * (rng.random(cells.shape) < density)).astype(np.float32)
    labels = rng.permutation(np.arange(n_cells) % 2)
    order = rng.permutation(n_cells)
    kept, held_out = order[4:], order[:4]
    if np.unique(labels[kept]).size == 2:
        options = {"n_trees": 7, "seed": seed}
        found = vote_shares(columns_of(cells), labels, kept=kept, held_out=held_out, **options)
        assert np.array_equal(found, plain(cells, labels, kept, held_out, **options))


def test_neither_threads_nor_the_number_of_trees_at_once_change_an_answer(monkeypatch):
    cells, labels, kept, held_out = parts(CELLS["expression"])

    def votes(n_threads):
        return vote_shares(
            columns_of(cells), labels, kept=kept, held_out=held_out, n_trees=60, seed=3, n_threads=n_threads
        )

    alone = votes(1)
    assert np.array_equal(votes(3), alone)
    monkeypatch.setattr("metrics.forest.TREES_AT_ONCE", 7)
    assert np.array_equal(votes(2), alone)


def test_columns_hold_the_cells_and_find_each_value():
    cells = np.array([[0, 2.5, 0], [0, -1, 0], [0, 0, 4], [0, 1, 3]] + [[0, 0, 0]] * 30 + [[0, 7, 0]])
    columns = columns_of(cells)
    assert columns.starts.tolist() == [0, 0, 4, 6]
    assert columns.rows.tolist() == [0, 1, 3, 34, 2, 3]
    assert columns.values.tolist() == [2.5, -1, 1, 7, 4, 3]
    assert columns.sorted_rows.tolist() == [1, 3, 0, 34, 3, 2]
    assert columns.sorted_values.tolist() == [-1, 1, 2.5, 7, 3, 4]
    # Cells 0, 1 and 3 in the first 32, cell 34 in the second; values 0 to 2 and 3; then gene 2's from 4 on.
    words = [[0, 0], [0b1011, (3 << 32) + 0b100], [(4 << 32) + 0b1100, 6 << 32]]
    assert columns.words.tolist() == words


def test_threads_are_as_many_as_the_caller_says_and_no_more_than_cores(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    for asked, expected in {"1": 1, "3": 3, "9": 4, "": 4, "0": 4, "many": 4, "2,1": 2}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert usable_threads() == expected
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert usable_threads() == 4


def test_where_nothing_can_be_kept_trees_are_compiled_each_time(monkeypatch):
    from metrics import trees

    compile_it = trees.njit

    def without_a_place(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_it(**options)

    monkeypatch.setattr(trees, "njit", without_a_place)
    assert trees._compiled(lambda number: number + 1)(2) == 3
