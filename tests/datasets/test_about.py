"""What ``bench data info`` and ``bench data add`` tell, and paths as text."""

import json

import numpy as np
import pytest

import datasets
from datasets import DatasetError, Declaration, SourceFile
from tests.datasets.dataset_files import files_below, make_cells, write_10x_v2, write_10x_v3

pytestmark = pytest.mark.slow


def test_a_file_is_told_with_what_a_run_would_be_told_of_it(cache, tmp_path):
    adata = make_cells()
    adata.obs = adata.obs.rename(columns={"cell_type": "CellType"})
    adata.layers["logged"] = adata.X.log1p()
    adata.X[:, 3] = 0
    adata.write_h5ad(tmp_path / "cells.h5ad")
    told = datasets.info(tmp_path / "cells.h5ad", cache_folder=cache)
    json.dumps(told)
    assert (told["cells"], told["genes"], told["columns"]) == (90, 60, ["CellType", "donor"])
    assert told["matrices"] == {"X": "whole numbers", "logged": "other values"}
    assert told["prepared"] == {"cells": 90, "genes": 59, "types": 3, "train": 81, "valid": 0, "test": 9}
    prepared = datasets.prepare(tmp_path / "cells.h5ad", cache_folder=cache)
    assert told["notes"] == list(prepared.notes)
    assert "1 of 60 genes dropped: seen in fewer than 3 cells" in told["notes"]
    assert "no cell types are given: 3 clusters stand in for them" in told["notes"]
    labelled = datasets.info(tmp_path / "cells.h5ad", cache_folder=cache, label_key="CellType")
    assert not any("stand in" in note for note in labelled["notes"])


def test_what_cannot_be_prepared_is_told_with_the_reason(cache):
    adata = make_cells()
    adata.raw = adata.copy()
    adata.X = adata.X.log1p()
    told = datasets.info(adata, cache_folder=cache)
    assert told["matrices"] == {"X": "other values", "raw": "whole numbers"}
    assert "--layer raw" in told["refused"]
    assert "prepared" not in told
    assert datasets.info(adata, cache_folder=cache, layer="raw")["prepared"]["cells"] == 90
    with pytest.raises(DatasetError, match="no such file exists"):
        datasets.info("missing.h5ad", cache_folder=cache)


def test_a_registered_name_tells_the_notes_of_its_copies(cache, tmp_path):
    datasets.add("brain_small", write_10x_v2(tmp_path / "mine.h5", make_cells()), cache_folder=cache)
    assert datasets.info("brain_small", cache_folder=cache)["notes"] == []
    prepared = datasets.prepare("brain_small", cache_folder=cache)
    assert datasets.info("brain_small", cache_folder=cache)["notes"] == list(prepared.notes)
    chosen = datasets.info("brain_small", cache_folder=cache, genome="mm10")
    assert chosen["prepared"]["genes"] == 60
    assert datasets.info("synthetic:300x60x2", cache_folder=cache)["notes"] == [
        "synthetic cells: for speed and scale, never for quality claims"
    ]


def mine(**facts):
    given = {"description": "", "reference": "", "files": (SourceFile("mine.h5ad"),)} | facts
    return {"mine": Declaration(name="mine", **given)}


def test_a_file_that_is_handed_over_is_held_against_the_declaration(cache, tmp_path):
    adata = make_cells()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    wanted = {"train": 100, "test": 20, "genes": 60, "types": 4, "clusters": 3}
    taken = datasets.add(
        "mine",
        tmp_path / "cells.h5ad",
        registry=mine(expected=wanted, label_key="cell_type"),
        cache_folder=cache,
    )
    assert "mine has 3 types after preprocessing, where 4 are expected" in taken.note
    assert "mine has 90 cells after preprocessing, where 120 are expected" in taken.note
    assert "does not look like" not in taken.note
    assert "genes after" not in taken.note and "clusters" not in taken.note


def logged():
    adata = make_cells()
    adata.X = adata.X.log1p()
    return adata


def unlabelled():
    adata = make_cells()
    del adata.obs["cell_type"]
    return adata


def gappy():
    adata = make_cells()
    adata.obs["cell_type"] = ["NA", "a", "b"] * 30
    return adata


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (logged, "cells.h5ad is not mine: X holds .* not whole"),
        (unlabelled, r"cells.h5ad is not mine: there is no column obs\['cell_type'\]"),
        (gappy, r"cells.h5ad is not mine: obs\['cell_type'\] is empty or NaN for 30 of 90"),
        (lambda: make_cells().T.copy(), "cells.h5ad is not mine: the matrix looks transposed"),
    ],
)
def test_a_file_that_contradicts_the_declaration_is_not_taken(make, words, cache, tmp_path):
    make().write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(DatasetError, match=words):
        datasets.add(
            "mine", tmp_path / "cells.h5ad", registry=mine(label_key="cell_type"), cache_folder=cache
        )
    assert files_below(cache) == []


def test_the_last_of_several_files_brings_the_whole_under_the_declaration(cache, tmp_path):
    def read(paths):
        cells, table = paths
        adata = datasets.readers.read_cells(cells)
        labels = datasets.readers.read_labels(table, cell_column="cell", label_column="kind")
        adata.obs["kind"] = adata.obs_names.map(labels)
        return adata

    registry = mine(
        files=(SourceFile("mine.h5"), SourceFile("kinds.tsv")),
        read=read,
        label_key="kind",
        expected={"types": 3},
    )
    write_10x_v3(tmp_path / "mine.h5", make_cells())
    first = datasets.add("mine", tmp_path / "mine.h5", registry=registry, cache_folder=cache)
    assert "not yet held against the declaration, for want of kinds.tsv" in first.note
    rows = [f"{name}\t{kind}" for name, kind in make_cells().obs["cell_type"].items()]
    for left_out, words in ((1, "kinds.tsv is not mine: .* NaN for 1 of 90"), (0, None)):
        (tmp_path / "kinds.tsv").write_text("\n".join(["cell\tkind", *rows[left_out:]]) + "\n")
        if words is not None:
            with pytest.raises(DatasetError, match=words):
                datasets.add("mine", tmp_path / "kinds.tsv", registry=registry, cache_folder=cache)
    second = datasets.add("mine", tmp_path / "kinds.tsv", registry=registry, cache_folder=cache)
    assert "not yet" not in second.note and "expected" not in second.note


def test_a_path_may_be_text_everywhere(cache, tmp_path):
    path = write_10x_v2(tmp_path / "cells.h5", make_cells())
    as_path = datasets.prepare(path, cache_folder=cache)
    as_text = datasets.prepare(str(path), cache_folder=str(cache))
    assert as_text == as_path
    np.testing.assert_array_equal(datasets.load(str(as_text.path)).X.toarray(), as_path.read().X.toarray())
    assert datasets.readers.read_cells(str(path)).shape == (90, 60)
    assert datasets.info(str(path), cache_folder=str(cache))["prepared"]["cells"] == 90
    taken = datasets.add("brain_small", str(path), cache_folder=str(cache))
    (fetched,) = datasets.fetch("brain_small", cache_folder=str(cache))
    assert fetched.path == taken.path and taken.path.is_relative_to(cache)
