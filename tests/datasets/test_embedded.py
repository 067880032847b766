import shutil
import subprocess
import sys
from fractions import Fraction

import anndata
import numpy as np
import pytest
from scipy import sparse

import datasets
from datasets import splits
from datasets.library import fetch
from datasets.sources import recover_counts
from tests.datasets.dataset_files import files_below

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return datasets.prepare("pbmc68k_reduced", cache_folder=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def adata(prepared):
    return prepared.read()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::PendingDeprecationWarning")
def test_counts_are_whole_and_give_back_the_stored_values(prepared, adata):
    stored = anndata.read_h5ad(fetch("pbmc68k_reduced", cache_folder=prepared.path.parents[1])[0].path)
    counts = adata.layers["counts"].toarray().astype(float)
    assert adata.shape == (700, 765)
    assert np.all(counts == np.round(counts))
    library_sizes = stored.obs["n_counts"].to_numpy()[:, None]
    # A rounding of 0.11 counts at most (spec) is what separates the two.
    again = np.log1p(counts / library_sizes * 1e4)
    assert np.abs(np.expm1(again) - np.expm1(stored.raw.X.toarray())).max() < 0.12 * 1e4 / library_sizes.min()
    assert np.array_equal(counts > 0, stored.raw.X.toarray() > 0)
    assert np.all(counts.sum(axis=1, keepdims=True) <= library_sizes)
    assert list(adata.obs["cell_type"].astype(str)) == list(stored.obs["bulk_labels"].astype(str))


def test_the_contract_is_kept(prepared, adata):
    assert sparse.isspmatrix_csr(adata.X)
    assert sparse.isspmatrix_csr(adata.layers["counts"])
    assert adata.X.dtype == adata.layers["counts"].dtype == np.float32
    counts = adata.layers["counts"].toarray()
    expected = 20_000 * counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(adata.X.toarray(), expected, rtol=1e-5)
    for column in ("cell_type", "split"):
        assert adata.obs[column].dtype == "category"
    assert list(adata.obs["split"].cat.categories) == ["train", "valid", "test"]
    assert adata.obs["control_pool"].dtype == bool
    assert set(adata.obs["split"][adata.obs["control_pool"]]) == {"train"}
    assert adata.obs["control_pool"].sum() == (adata.obs["split"] == "train").sum() // 2
    assert set(adata.obs["null_half"][adata.obs["control_pool"]]) >= {1, 2}
    assert set(adata.obs["null_half"][~adata.obs["control_pool"]]) == {0}
    facts = adata.uns["bench"]
    assert facts["name"] == "pbmc68k_reduced"
    assert facts["labels"] == "given"
    assert facts["clusters"] is None
    assert "cluster" not in adata.obs
    assert facts["parameters"]["split_by"] is None
    assert isinstance(facts["notes"], list)
    assert facts["notes"] == list(prepared.notes)
    assert len(facts["checksum"]) == 64


def test_the_split_is_by_type_alone(adata):
    expected = splits.split(adata.obs["cell_type"], share=Fraction(1, 5), seed=0)
    np.testing.assert_array_equal(adata.obs["split"].astype(str), expected)


def test_a_fifth_of_each_type_is_held_out_and_small_types_are_named(prepared, adata):
    sizes = adata.obs["cell_type"].value_counts()
    held_out = adata.obs.loc[adata.obs["split"] == "test", "cell_type"].value_counts()
    assert {name: held_out[name] for name in sizes.index} == {name: size // 5 for name, size in sizes.items()}
    note = next(note for note in prepared.notes if "left out of per-type scores" in note)
    assert "CD34+ (13 cells, 2 for testing)" in note
    assert "CD4+/CD45RA+/CD25- Naive T (8 cells, 1 for testing)" in note


def test_the_cache_answers_the_second_time(prepared):
    told = []
    again = datasets.prepare(
        "pbmc68k_reduced", cache_folder=prepared.path.parents[1], progress=lambda *what: told.append(what)
    )
    assert again == prepared
    assert told == []
    assert files_below(prepared.path.parents[1]) == [prepared.path.name, f"{prepared.path.name}.sha256"]


@pytest.fixture
def damaged(prepared, tmp_path):
    """Return a function that damages a copy of the prepared file, and prepares anew."""
    cache = tmp_path / "cache"
    shutil.copytree(prepared.path.parents[1], cache)
    copy = cache / "prepared" / prepared.path.name

    def again(damage):
        damage(copy)
        return datasets.prepare("pbmc68k_reduced", cache_folder=cache)

    return again


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1000]),
        lambda path: path.write_bytes(b""),
        flip_a_byte,
        lambda path: path.with_name(f"{path.name}.sha256").unlink(),
        lambda path: path.with_name(f"{path.name}.sha256").write_bytes(b"\xff"),
    ],
)
def test_a_prepared_file_that_was_damaged_is_made_again(prepared, damaged, damage):
    adata, before = damaged(damage).read(), prepared.read()
    assert (adata.X != before.X).nnz == 0
    assert (adata.layers["counts"] != before.layers["counts"]).nnz == 0
    assert adata.obs.equals(before.obs)


def test_the_type_for_augmentation_is_the_most_frequent_or_has_the_markers(adata, tmp_path):
    assert datasets.rare_type(adata) == "Dendritic"
    marked = adata.copy()
    marked.uns["bench"]["rare_type_markers"] = ["NKG7", "GZMA", "not measured"]
    assert datasets.rare_type(marked) == "CD56+ NK"
    marked.write_h5ad(tmp_path / "marked.h5ad")
    assert datasets.rare_type(anndata.read_h5ad(tmp_path / "marked.h5ad", backed="r")) == "CD56+ NK"


def test_recovered_counts_that_disagree_are_refused():
    sizes = np.array([500.0, 800.0])
    counts = np.array([[1, 0, 4], [2, 1, 0]])
    log_values = sparse.csr_matrix(np.log1p(counts / sizes[:, None] * 1e4))
    np.testing.assert_array_equal(recover_counts(log_values, sizes).toarray(), counts)
    with pytest.raises(datasets.DatasetError, match="cannot be recovered"):
        recover_counts(log_values, sizes * 1.4)  # no longer whole
    with pytest.raises(datasets.DatasetError, match="cannot be recovered"):
        recover_counts(log_values, sizes * 2)  # whole, but the smallest value is two counts


def test_importing_the_package_and_its_declarations_is_light():
    code = (
        "import sys, datasets, datasets.sources; assert datasets.DatasetError and datasets.prepare; "
        "sys.exit(any(name in sys.modules for name in ('anndata', 'pandas', 'scanpy', 'h5py', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'datasets' has no attribute 'nothing'"):
        _ = datasets.nothing
