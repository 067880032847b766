"""What is prepared piece by piece is, byte for byte, what is prepared in memory."""

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from anndata.abc import CSRDataset
from scipy.sparse import csc_matrix, csr_matrix

import datasets
from datasets import pipeline, stored, streamed
from tests.datasets.dataset_files import make_cells


def as_csr(adata):
    return {}


def counts_in_a_layer(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X * 0.5
    return {}


def dense(adata):
    adata.X = adata.X.toarray().astype(np.float64)
    return {"label_key": "cell_type"}


def counts_in_raw(adata):
    adata.raw = adata.copy()
    adata.X = adata.X * 0.5
    return {"layer": "raw"}


def features_that_are_no_genes(adata):
    adata.var["feature_types"] = ["Antibody Capture"] * 5 + ["Gene Expression"] * (adata.n_vars - 5)
    adata.var["symbol"] = [f"S{number // 2}" for number in range(adata.n_vars)]
    return {"gene_names": "symbol"}


def poor_cells_and_rare_genes(adata):
    matrix = adata.X.toarray()
    matrix[[3, 50]] = 0
    matrix[3, :4] = 1
    # Ten genes are detected in this cell, and each of them in two cells alone.
    matrix[:, :10] = 0
    matrix[60] = 0
    matrix[60, :10] = matrix[70, :10] = 1
    adata.X = csr_matrix(matrix)
    adata.obs_names = ["twice" if number in (5, 6) else f"c{number}" for number in range(adata.n_obs)]
    return {}


def gaps_among_the_labels(adata):
    adata.obs["cell_type"] = adata.obs["cell_type"].where(np.arange(adata.n_obs) % 9 != 0)
    return {"drop_unlabelled": True, "donor_key": "donor"}


def a_split_of_its_own(adata):
    adata.obs["part"] = np.where(np.arange(adata.n_obs) % 4 == 0, "test", "train")
    return {"split_from": "part"}


def groups_held_out(adata):
    return {"split_by": "donor", "validation_share": 0.2, "split_seed": 3}


KINDS = [
    as_csr,
    counts_in_a_layer,
    dense,
    counts_in_raw,
    features_that_are_no_genes,
    poor_cells_and_rare_genes,
    gaps_among_the_labels,
    a_split_of_its_own,
    groups_held_out,
]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    for module in (stored, streamed):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 8)


def write_zarr(adata, path):
    adata.write_zarr(path)


def write_h5ad(adata, path):
    adata.write_h5ad(path)


@pytest.mark.filterwarnings("ignore:Observation names are not unique", "ignore:Writing zarr v2")
@pytest.mark.parametrize("write", [write_h5ad, write_zarr])
@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_the_same_as_in_memory(kind, write, tmp_path, monkeypatch):
    adata, source = make_cells(), tmp_path / "cells"
    options = kind(adata)
    write(adata, source)
    whole = datasets.prepare(source, cache_folder=tmp_path / "whole", **options)
    monkeypatch.setattr(pipeline, "assemble", lambda *_, **__: pytest.fail("all cells were read at once"))
    pieces = datasets.prepare(source, cache_folder=tmp_path / "pieces", memory=1, **options)
    assert (pieces.key, pieces.notes) == (whole.key, whole.notes)
    assert pieces.path.read_bytes() == whole.path.read_bytes()


def test_what_was_left_out_is_told(tmp_path):
    adata = make_cells()
    poor_cells_and_rare_genes(adata)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = datasets.prepare(tmp_path / "cells.h5ad", cache_folder=tmp_path / "cache", memory=1)
    # Two cells have too few genes, and one has no count left; ten genes are in two cells or in none.
    assert [note for note in found.notes if "dropped" in note] == [
        "3 of 90 cells dropped: fewer than 10 detected genes, or no count left",
        "10 of 60 genes dropped: seen in fewer than 3 cells",
    ]
    assert found.read().shape == (87, 50)


def test_memory_decides_whether_cells_are_read_in_pieces(tmp_path, monkeypatch):
    adata = make_cells()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    values, pointers = adata.X.nnz, adata.n_obs + 1
    needed = streamed.TIMES_IN_MEMORY * (8 * values + 4 * pointers)
    assert streamed.is_too_large(tmp_path / "cells.h5ad", memory=needed - 1)
    assert not streamed.is_too_large(tmp_path / "cells.h5ad", memory=needed)


@pytest.mark.parametrize(
    ("value", "told"), [(0.5, "not whole"), (-1, "negative"), (np.nan, "NaN"), (np.inf, "infinite")]
)
def test_a_wrong_value_is_found_where_it_is(value, told, tmp_path):
    adata = make_cells()
    matrix = adata.X.toarray()
    matrix[53, 7] = value
    adata.X = csr_matrix(matrix)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(
        datasets.DatasetError, match=f"at least 1 values that are {told}, .* at cell 53, gene 7"
    ):
        datasets.prepare(tmp_path / "cells.h5ad", cache_folder=tmp_path / "cache", memory=1)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_what_cannot_be_read_in_pieces_is_refused_in_one_line(tmp_path):
    adata = make_cells()
    without = AnnData(adata.X, obs=pd.DataFrame(index=adata.obs_names), var=adata.var)
    by_column = AnnData(csc_matrix(adata.X), obs=adata.obs, var=adata.var)
    none = AnnData(csr_matrix(adata.shape, dtype=np.float32), obs=adata.obs, var=adata.var)
    for cells, told in (
        (
            without,
            "need all cells in memory, where these do not fit: name a column of types with --label-key",
        ),
        (by_column, "X is not stored row by row"),
        (none, "no counts at all in 90 cells × 60 genes"),
    ):
        cells.write_h5ad(tmp_path / "cells.h5ad")
        with pytest.raises(datasets.DatasetError, match=told):
            datasets.prepare(tmp_path / "cells.h5ad", cache_folder=tmp_path / "cache", memory=1)


def test_a_file_that_breaks_off_is_named(tmp_path):
    make_cells(n_cells=2000).write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        del file["X/data"]
        file["X/data"] = np.ones(5, dtype=np.float32)
    with pytest.raises(datasets.DatasetError, match=r"cells.h5ad is truncated or foreign"):
        datasets.prepare(tmp_path / "cells.h5ad", cache_folder=tmp_path / "cache", memory=1)


def test_prepared_cells_are_opened_without_their_matrices_and_copied_in_part(tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    prepared = datasets.prepare(tmp_path / "cells.h5ad", cache_folder=tmp_path / "cache")
    whole = prepared.read()
    rows = (whole.obs["split"] == "train").to_numpy()
    with datasets.opened(prepared.path) as cells:
        assert all(isinstance(held, CSRDataset) for held in (cells.X, cells.layers["counts"]))
        assert cells.uns["bench"] == whole.uns["bench"]
        pd.testing.assert_frame_equal(cells.obs, whole.obs)
        stored.copy_cells(cells, rows, tmp_path / "train.h5ad")
        some = np.array([0, 1, 7, 8, 30, 89])
        expected = whole.layers["counts"][some].toarray()
        np.testing.assert_array_equal(stored.rows_of(cells, some).toarray(), expected)
    copied, expected = datasets.load(tmp_path / "train.h5ad"), whole[rows]
    np.testing.assert_array_equal(copied.X.toarray(), expected.X.toarray())
    np.testing.assert_array_equal(copied.layers["counts"].toarray(), expected.layers["counts"].toarray())
    pd.testing.assert_frame_equal(copied.obs, expected.copy().obs)
    assert copied.uns["bench"] == whole.uns["bench"]


def test_a_file_of_cells_is_complete_or_none(tmp_path):
    matrix = make_cells().X
    with (
        pytest.raises(ValueError, match=f"0 of {matrix.nnz} values were written"),
        stored.CellWriter(tmp_path / "cells.h5ad", n_values=matrix.nnz, n_genes=60) as writer,
    ):
        writer.annotate(obs=pd.DataFrame(), var=pd.DataFrame(), uns={})


def test_matrices_that_nobody_asked_for_may_be_stored_as_they_like(tmp_path):
    adata = make_cells()
    adata.layers["spliced"] = csc_matrix(adata.X)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = datasets.prepare(tmp_path / "cells.h5ad", cache_folder=tmp_path / "cache", memory=1)
    assert found.read().shape == adata.shape
    with pytest.raises(datasets.DatasetError, match="layers/spliced is not stored row by row"):
        datasets.prepare(tmp_path / "cells.h5ad", cache_folder=tmp_path / "cache", memory=1, layer="spliced")


def test_the_matrix_that_holds_counts_is_named_as_in_memory(tmp_path):
    adata = make_cells()
    adata.raw = adata.copy()
    adata.X = adata.X * 0.3
    adata.write_h5ad(tmp_path / "cells.h5ad")
    for memory in (None, 1):
        with pytest.raises(datasets.DatasetError, match=r"\.raw holds whole numbers: take --layer raw"):
            datasets.prepare(tmp_path / "cells.h5ad", cache_folder=tmp_path / "cache", memory=memory)


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
@pytest.mark.parametrize("memory", [None, 1])
@pytest.mark.parametrize("kind", [as_csr, dense, counts_in_a_layer, counts_in_raw])
def test_a_zarr_store_that_lacks_a_chunk_is_no_cells(kind, memory, tmp_path):
    adata = make_cells()
    options = kind(adata)
    place = {counts_in_a_layer: "layers/counts", counts_in_raw: "raw/X"}.get(kind, "X")
    adata.write_zarr(tmp_path / "cells.zarr", chunks=(30, 20) if kind is dense else None)
    folder = tmp_path / "cells.zarr" / place
    chunks = [file for file in folder.rglob("*") if file.name.replace(".", "").isdigit()]
    (chunks[-1]).unlink()
    with pytest.raises(datasets.DatasetError, match=r"lacks 1 of its \d+ chunks, .*: copy the store again"):
        datasets.prepare(tmp_path / "cells.zarr", cache_folder=tmp_path / "cache", memory=memory, **options)


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_the_names_in_a_zarr_store_are_part_of_what_it_is(tmp_path):
    adata = make_cells()
    adata.layers["counts"] = adata.X.copy()
    adata.layers["other"] = adata.X * 2
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    adata.write_zarr(tmp_path / "a" / "cells.zarr")
    adata.layers["counts"], adata.layers["other"] = (
        adata.layers["other"].copy(),
        adata.layers["counts"].copy(),
    )
    adata.write_zarr(tmp_path / "b" / "cells.zarr")
    keys = {
        datasets.prepare(tmp_path / name / "cells.zarr", cache_folder=tmp_path / "cache").key
        for name in ("a", "b")
    }
    assert len(keys) == 2
