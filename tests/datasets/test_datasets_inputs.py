import errno
import subprocess
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from dataset_files import files_below, make_cells, write_10x_v3, write_mtx_folder
from scipy import sparse

import datasets
from datasets import DatasetError


def with_value(value):
    adata = make_cells()
    matrix = adata.X.toarray()
    matrix[3, 4] = value
    adata.X = matrix
    return adata


def with_labels(labels):
    adata = make_cells()
    adata.obs["cell_type"] = labels
    return adata


def few_genes():
    return make_cells()[:, :9].copy()


def few_cells():
    return make_cells()[:2].copy()


BAD = {
    "negative": (with_value(-1), {}, "negative"),
    "NaN": (with_value(np.nan), {}, "NaN"),
    "infinite": (with_value(np.inf), {}, "infinite"),
    "not counts": (with_value(0.5), {}, r"not whole.*layers\['counts'\]"),
    "missing column": (make_cells(), {"label_key": "louvain"}, "obs\\['louvain'\\].*from: cell_type, donor"),
    "one class": (with_labels(["a"] * 90), {}, r"one class only \(a\).*--label-key"),
    "NaN labels": (with_labels(["a", "b", None] * 30), {}, "NaN for 30 of 90 cells"),
    "class lost": (
        with_labels(["rare" if n < 10 else "a" for n in range(90)]),
        {"split_by": "donor", "split_seed": 4},
        r"no training cell of rare \(10 cells\)",
    ),
    "missing group": (make_cells(), {"split_by": "batch"}, "--split-by from: cell_type, donor"),
    "no cells left": (few_genes(), {}, "nothing is left of 90 cells × 9 genes .* 10 detected genes"),
    "no genes left": (few_cells(), {}, "nothing is left of 2 cells × 60 genes .* 3 cells"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_cells_are_told_in_one_line_and_leave_nothing(case, cache):
    adata, options, words = BAD[case]
    with pytest.raises(DatasetError, match=words) as caught:
        datasets.prepare(adata, cache_folder=cache, **options)
    assert "\n" not in str(caught.value)
    assert files_below(cache) == []


def write_text(path):
    path.write_text("barcode\tgene\n")


def write_truncated(path):
    make_cells().write_h5ad(path)
    path.write_bytes(path.read_bytes()[:-3000])


def write_other_hdf5(path):
    with h5py.File(path, "w") as file:
        file["weights"] = [1, 2, 3]


def write_future_h5ad(path):
    make_cells().write_h5ad(path)
    with h5py.File(path, "a") as file:
        file["X"].attrs["encoding-type"] = "unheard of"


@pytest.mark.parametrize("write", [write_text, write_truncated, write_other_hdf5, write_future_h5ad, None])
def test_bad_files_are_told_in_one_line_and_leave_nothing(write, cache, tmp_path):
    path = tmp_path / "cells.h5ad"
    if write is not None:
        write(path)
    with pytest.raises(DatasetError, match=r"cells\.h5ad") as caught:
        datasets.prepare(path, cache_folder=cache)
    assert "\n" not in str(caught.value)
    assert files_below(cache) == []


def test_an_unknown_name_lists_what_there_is(cache):
    with pytest.raises(DatasetError, match=r"'brain_smal' .* choose from brain_small, neurocovid"):
        datasets.prepare("brain_smal", cache_folder=cache)
    with pytest.raises(DatasetError, match="type list cannot be read"):
        datasets.prepare([1, 2], cache_folder=cache)


def test_empty_cells_and_duplicate_genes_are_mended_and_noted(cache):
    adata = make_cells()
    adata.X = adata.X.multiply(np.arange(90)[:, None] != 5).tocsr()
    adata.var_names = ["twin", "twin", *adata.var_names[2:]]
    prepared = datasets.prepare(adata, cache_folder=cache)
    result = prepared.read()
    assert result.shape == (89, 60)
    assert list(result.var_names[:2]) == ["twin", "twin-1"]
    assert "cell5-1" not in result.obs_names
    assert any(note.startswith("1 of 90 cells dropped") for note in prepared.notes)
    assert "1 duplicate gene names made unique (the first is twin)" in prepared.notes


def test_every_way_of_handing_over_the_same_cells_gives_the_same_counts(cache, tmp_path):
    raw = make_cells()
    raw.write_h5ad(tmp_path / "cells.h5ad")
    logged = raw.copy()
    logged.layers["counts"] = raw.X.copy()
    logged.X = raw.X.log1p()
    dense = anndata.AnnData(raw.X.toarray().astype(np.int64), obs=raw.obs, var=raw.var)
    with_types = [raw, logged, dense, tmp_path / "cells.h5ad"]
    without_types = [
        str(write_10x_v3(tmp_path / "cells.h5", raw)),
        write_mtx_folder(tmp_path / "old", raw, compressed=False),
        write_mtx_folder(tmp_path / "new", raw, compressed=True),
    ]
    for source in with_types + without_types:
        result = datasets.prepare(source, cache_folder=cache).read()
        np.testing.assert_array_equal(result.layers["counts"].toarray(), raw.X.toarray())
        assert list(result.var_names) == list(raw.var_names)
        assert list(result.obs_names) == list(raw.obs_names)
        labels = "cluster" if any(source is other for other in without_types) else "given"
        assert result.uns["bench"]["labels"] == labels
    np.testing.assert_array_equal(raw.X.toarray(), make_cells().X.toarray())


def test_split_by_holds_out_whole_donors(cache):
    raw = make_cells()
    prepared = datasets.prepare(raw, cache_folder=cache, split_by="donor", validation_share=0.2)
    split = prepared.read().obs["split"]
    donors = raw.obs["donor"][split == "test"]
    assert list(donors.value_counts()) == [10]
    assert f"test cells are all cells whose donor is {donors.iloc[0]}" in prepared.notes
    assert (split == "valid").sum() == 3 * int(0.2 * 80 / 3)


def test_the_key_follows_source_parameters_and_code(cache, tmp_path, monkeypatch):
    raw = make_cells()
    other = make_cells(seed=1)
    regrouped = with_labels(raw.obs["donor"].to_numpy())
    keys = {
        datasets.prepare(source, cache_folder=cache, **options).key
        for source, options in (
            (raw, {}),
            (raw, {"split_seed": 1}),
            (raw, {"split_by": "donor"}),
            (raw, {"label_key": "donor"}),
            (raw, {"validation_share": 0.1}),
            (other, {}),
            (regrouped, {}),
        )
    }
    assert len(keys) == 7
    assert datasets.prepare(make_cells(), cache_folder=cache).key in keys


def test_the_key_follows_a_third_partys_reader(cache, tmp_path, monkeypatch):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    code = """
from datasets import Declaration, SourceFile
from datasets.readers import read_cells

def read(paths):
    return read_cells(paths[0])

MINE = Declaration(name="mine", description="", reference="", files=(SourceFile("cells.h5ad"),), read=read)
"""
    (tmp_path / "their_reader.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    import their_reader

    registry = {"mine": their_reader.MINE}
    datasets.add("mine", tmp_path / "cells.h5ad", registry=registry, cache_folder=cache)
    first = datasets.prepare("mine", registry=registry, cache_folder=cache)
    assert datasets.prepare("mine", registry=registry, cache_folder=cache).key == first.key
    (tmp_path / "their_reader.py").write_text(code.replace("paths[0])", "paths[0])[:60]"))
    assert datasets.prepare("mine", registry=registry, cache_folder=cache).key != first.key


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("Can't write (No space left on device)")],
)
def test_a_full_disk_while_caching_leaves_nothing(error, cache, monkeypatch):
    def full(self, path, **options):
        path.write_bytes(b"half a file")
        raise error

    monkeypatch.setattr("anndata.AnnData.write_h5ad", full)
    with pytest.raises(DatasetError, match="is full"):
        datasets.prepare(make_cells(), cache_folder=cache)
    assert files_below(cache) == []


def test_two_processes_fill_the_cache_once(cache, tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    code = (
        "import sys, datasets\n"
        "from pathlib import Path\n"
        "told = []\n"
        "prepared = datasets.prepare(sys.argv[1], cache_folder=Path(sys.argv[2]),"
        " progress=lambda what, done, total: told.append(what))\n"
        "print(prepared.path, prepared.read().n_obs, 'clustering' in told)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "cells.h5ad"), str(cache)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0][:2] == answers[1][:2]
    assert sorted(answer[2] for answer in answers) == ["False", "True"]
    assert len(files_below(cache)) == 1


def test_a_single_cluster_or_tiny_data_still_come_through(cache):
    rng = np.random.default_rng(0)
    tiny = anndata.AnnData(
        sparse.csr_matrix(rng.poisson(3.0, size=(12, 20)).astype(np.float32)),
        obs=pd.DataFrame(index=[f"c{n}" for n in range(12)]),
        var=pd.DataFrame(index=[f"g{n}" for n in range(20)]),
    )
    result = datasets.prepare(tiny, cache_folder=cache).read()
    assert result.uns["bench"]["labels"] == "cluster"
    assert (result.obs["split"] == "test").sum() >= 1
