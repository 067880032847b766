import errno
import os
import subprocess
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import datasets
from datasets import DatasetError
from datasets.cache import locked
from datasets.readers import read_cells
from tests.datasets.dataset_files import (
    files_below,
    make_cells,
    write_10x_v2,
    write_10x_v3,
    write_archive,
    write_mtx_folder,
)

pytestmark = pytest.mark.slow


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


def with_twin_columns():
    adata = make_cells()
    adata.obs.columns = ["donor", "donor"]
    return adata


def with_damaged_indices():
    adata = make_cells()
    adata.X.indices[-1] = 60
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
    "labels lost on the way through text": (
        with_labels(["a", "b", "", " ", "nan", "NaN"] * 15),
        {},
        "empty or NaN for 60 of 90 cells",
    ),
    "twin columns": (with_twin_columns(), {}, "several columns called donor"),
    "damaged indices": (with_damaged_indices(), {}, "X is a damaged sparse matrix"),
    "negative validation share": (make_cells(), {"validation_share": -0.1}, r"-0\.1 is not in \[0, 1\)"),
    "all for validation": (make_cells(), {"validation_share": 1.0}, r"1\.0 is not in \[0, 1\)"),
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


def write_damaged_indices(path):
    make_cells().write_h5ad(path)
    with h5py.File(path, "a") as file:
        file["X/indices"][-1] = 60


def write_10x_without_genes(path):
    write_10x_v2(path, make_cells())
    with h5py.File(path, "a") as file:
        del file["mm10/genes"]


def write_10x_without_feature_names(path):
    write_10x_v3(path, make_cells())
    with h5py.File(path, "a") as file:
        del file["matrix/features/name"]


def write_10x_with_damaged_indices(path):
    write_10x_v3(path, make_cells(), types=["Gene Expression"] * 59 + ["Antibody Capture"])
    with h5py.File(path, "a") as file:
        file["matrix/indices"][-1] = 10**9


def write_antibodies(path):
    write_10x_v3(path, make_cells(), types=["Antibody Capture"] * 60)


@pytest.mark.parametrize(
    "write",
    [
        write_text,
        write_truncated,
        write_other_hdf5,
        write_future_h5ad,
        write_damaged_indices,
        write_10x_without_genes,
        write_10x_without_feature_names,
        write_10x_with_damaged_indices,
        write_antibodies,
        None,
    ],
)
def test_bad_files_are_told_in_one_line_and_leave_nothing(write, cache, tmp_path):
    path = tmp_path / "cells.h5ad"
    if write is not None:
        write(path)
    words = "X is a damaged" if write is write_damaged_indices else r"cells\.h5ad"
    with pytest.raises(DatasetError, match=words) as caught:
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


@pytest.mark.parametrize("pack", [None, write_archive], ids=["folder", "archive"])
@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
def test_mtx_files_are_read_under_both_names_packed_or_not(compressed, legacy, pack, tmp_path):
    raw = make_cells()
    path = write_mtx_folder(tmp_path / "filtered" / "hg19", raw, compressed=compressed, legacy=legacy)
    if pack is not None:
        path = pack(tmp_path / "cells.tar.gz", path)
    read = read_cells(path)
    np.testing.assert_array_equal(read.X.toarray(), raw.X.toarray())
    assert list(read.var_names) == list(raw.var_names)
    assert list(read.obs_names) == list(raw.obs_names)


def test_reading_an_archive_writes_nothing_beside_it(tmp_path):
    folder = write_mtx_folder(tmp_path / "cells", make_cells(), compressed=False)
    archive = write_archive(tmp_path / "cells.tar.gz", folder)
    os.utime(tmp_path, ns=(0, 0))
    assert read_cells(archive).shape == (90, 60)
    assert tmp_path.stat().st_mtime_ns == 0


def test_an_mtx_folder_without_its_barcodes_is_told(tmp_path):
    folder = write_mtx_folder(tmp_path / "cells", make_cells(), compressed=False)
    (folder / "barcodes.tsv").unlink()
    with pytest.raises(DatasetError, match=r"cells is truncated or foreign \(without barcodes\.tsv\)"):
        read_cells(folder)


def test_gene_names_that_look_like_gaps_are_kept(tmp_path):
    raw = make_cells()
    raw.var_names = ["NA", "nan", '5"', *raw.var_names[3:]]
    read = read_cells(write_mtx_folder(tmp_path / "cells", raw, compressed=True))
    assert list(read.var_names) == list(raw.var_names)


def test_features_that_are_no_genes_are_left_out_and_counted(cache, tmp_path):
    raw = make_cells()
    types = ["Antibody Capture"] * 3 + ["Gene Expression"] * 55 + ["CRISPR Guide Capture"] * 2
    told = "5 of 60 features are no genes (Antibody Capture, CRISPR Guide Capture) and are left out"
    for source in (
        write_10x_v3(tmp_path / "cells.h5", raw, types=types),
        write_mtx_folder(tmp_path / "cells", raw, compressed=True, types=types),
    ):
        prepared = datasets.prepare(source, cache_folder=cache)
        assert list(prepared.read().var_names) == list(raw.var_names[3:58])
        assert told in prepared.notes


def test_split_by_holds_out_whole_donors(cache):
    raw = make_cells()
    prepared = datasets.prepare(raw, cache_folder=cache, split_by="donor", validation_share=0.2)
    split = prepared.read().obs["split"]
    donors = raw.obs["donor"][split == "test"]
    assert list(donors.value_counts()) == [10]
    assert f"test cells are all cells whose donor is {donors.iloc[0]}" in prepared.notes
    assert (split == "valid").sum() == 3 * int(0.2 * 80 / 3)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("Can't write (No space left on device)")],
)
def test_a_full_disk_while_caching_leaves_nothing(error, cache, monkeypatch):
    def full(adata, path):
        path.write_bytes(b"half a file")
        raise error

    monkeypatch.setattr("datasets.stored.write_cells", full)
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
        "print(prepared.path, prepared.read().n_obs, 'filtering' in told)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "cells.h5ad"), str(cache)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0][:2] == answers[1][:2]
    assert sorted(answer[2] for answer in answers) == ["False", "True"]
    # The cells and their checksum.
    assert len(files_below(cache)) == 2


def test_what_a_killed_process_left_is_removed_by_the_next(cache):
    target, other = cache / "a.h5ad", cache / "b.h5ad"
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from datasets.cache import atomic\n"
        "with atomic(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    for path in (target, cache / "a.h5ad.json", other):
        subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert len(files_below(cache)) == 3
    with locked(target):
        pass
    (left,) = files_below(cache)
    assert left.startswith(".b.h5ad.writing-")


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


@pytest.mark.parametrize("stem", ["x" * 240, "a\nb", "[x] $\\foo$", "数据", "..."])
def test_a_file_may_be_called_anything(tmp_path, cache, stem):
    path = tmp_path / f"{stem}.h5ad"
    make_cells().write_h5ad(path)
    prepared = datasets.prepare(path, cache_folder=cache)
    assert prepared.name.isprintable()
    assert prepared.path.parent == cache / "prepared"
    assert prepared.read().n_obs == make_cells().n_obs
