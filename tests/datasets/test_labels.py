"""Labels with gaps, and a split that comes with the cells."""

import numpy as np
import pandas as pd
import pytest

import datasets
from datasets import DatasetError
from datasets.labels import as_labels
from tests.datasets.dataset_files import files_below, make_cells

pytestmark = pytest.mark.slow

GAPS = ["NA", "N/A", "None", "<NA>", "nan", "NaN", "", " ", "na"]


def with_column(values, name="cell_type"):
    adata = make_cells()
    adata.obs[name] = np.asarray(values, dtype=object) if isinstance(values, list) else values
    return adata


def gappy(word, *, categorical=False):
    labels = make_cells().obs["cell_type"].astype(object).to_numpy().copy()
    labels[:30] = word
    return with_column(pd.Categorical(labels) if categorical else list(labels))


@pytest.mark.parametrize("categorical", [False, True])
@pytest.mark.parametrize("word", [*GAPS, None, np.nan, pd.NA])
def test_gaps_are_refused_in_every_spelling_and_left_out_where_asked_for(word, categorical, cache):
    adata = gappy(word, categorical=categorical)
    with pytest.raises(
        DatasetError, match=r"obs\['cell_type'\] is empty or NaN for 30 of 90 cells \(.*--drop-unlabelled"
    ) as caught:
        datasets.prepare(adata, cache_folder=cache)
    assert "NaN" in str(caught.value) if pd.isna(word) else repr(word) in str(caught.value)
    assert files_below(cache) == []
    prepared = datasets.prepare(adata, cache_folder=cache, drop_unlabelled=True)
    assert list(prepared.read().obs_names) == list(adata.obs_names[30:])
    assert sorted(prepared.read().obs["cell_type"].unique()) == ["type 0", "type 1", "type 2"]
    assert "30 of 90 cells have no label in obs['cell_type'] and are left out" in prepared.notes


def test_cells_without_a_label_count_for_nothing_once_they_are_left_out(cache):
    """Whether a gene is seen often enough is told by the cells that stay."""
    adata = gappy("NA")
    adata.X[10:, 5] = 0
    adata.X.eliminate_zeros()
    result = datasets.prepare(adata, cache_folder=cache, drop_unlabelled=True).read()
    alone = datasets.prepare(adata[30:].copy(), cache_folder=cache).read()
    assert "gene5" not in result.var_names
    np.testing.assert_array_equal(result.layers["counts"].toarray(), alone.layers["counts"].toarray())
    assert list(result.obs["split"]) == list(alone.obs["split"])


def test_leaving_out_needs_a_column_and_a_label(cache):
    adata = make_cells()
    complete = datasets.prepare(adata, cache_folder=cache, drop_unlabelled=True)
    assert not any("no label" in note for note in complete.notes)
    with pytest.raises(DatasetError, match="labels no cell: name another column with --label-key"):
        datasets.prepare(with_column(["NA"] * 90), cache_folder=cache, drop_unlabelled=True)
    del adata.obs["cell_type"]
    with pytest.raises(DatasetError, match="no column of labels is known: name it with --label-key"):
        datasets.prepare(adata, cache_folder=cache, drop_unlabelled=True)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.arange(90) % 3, ["0", "1", "2"]),
        (np.where(np.arange(90) < 9, np.nan, np.arange(90) % 3), ["0", "1", "2"]),
        (pd.array([None if n < 9 else n % 3 for n in range(90)], dtype="Int64"), ["0", "1", "2"]),
        (np.arange(90) % 3 / 2, ["0.0", "0.5", "1.0"]),
        (np.arange(90) % 2 == 0, ["False", "True"]),
    ],
    ids=["int", "int with gaps", "nullable", "float", "bool"],
)
def test_labels_may_be_numbers(values, names, cache):
    result = datasets.prepare(with_column(values), cache_folder=cache, drop_unlabelled=True).read()
    assert list(result.obs["cell_type"].cat.categories) == names


SPLITS = {
    "plain": ["train"] * 60 + ["test"] * 20 + ["valid"] * 10,
    "spelt out": ["Training"] * 60 + ["held-out"] * 20 + ["Validation"] * 10,
    "short": ["TRAIN"] * 60 + ["Testing"] * 20 + ["val"] * 10,
    "categorical": pd.Categorical(["train"] * 60 + ["test"] * 20 + ["valid"] * 10),
}


@pytest.mark.parametrize("case", SPLITS)
def test_a_split_that_comes_with_the_cells_is_kept(case, cache):
    prepared = datasets.prepare(with_column(SPLITS[case], "part"), cache_folder=cache, split_from="part")
    assert list(prepared.read().obs["split"]) == SPLITS["plain"]
    assert "the split is that of obs['part']: 60 train, 10 valid, 20 test" in prepared.notes
    pool = prepared.read().obs["control_pool"]
    assert pool.sum() == 30 and set(np.flatnonzero(pool)) <= set(range(60))


@pytest.mark.parametrize(
    ("name", "value"), [("is_train", True), ("train", True), ("is_test", False), ("held_out", False)]
)
@pytest.mark.parametrize("kind", [bool, str, int, float, "category"])
def test_booleans_mean_what_their_name_says(name, value, kind, cache):
    kind, categorical = (float, True) if kind == "category" else (kind, False)
    values = [kind(value)] * 70 + [kind(not value)] * 20
    column = pd.Categorical(values) if categorical else values if kind is str else np.array(values)
    result = datasets.prepare(with_column(column, name), cache_folder=cache, split_from=name).read()
    assert list(result.obs["split"]) == ["train"] * 70 + ["test"] * 20


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (
            ["train"] * 60 + ["unused"] * 30,
            {},
            "holds unused for 30 of 90 cells: it must say train, test or val",
        ),
        (["train"] * 60 + [None] * 30, {}, "holds None for 30 of 90 cells"),
        (np.arange(90) % 2, {}, "holds 0, 1 for 90 of 90 cells"),
        (np.arange(90) % 2 == 0, {}, "holds False, True for 90 of 90 cells.*booleans called is_train"),
        (["train"] * 90, {}, "calls no cell test"),
        (["test"] * 80 + ["valid"] * 10, {}, "calls no cell train"),
        (
            ["train"] * 60 + ["test"] * 30,
            {"split_from": "spilt"},
            "--split-from from: cell_type, donor, part",
        ),
        (["train"] * 60 + ["test"] * 30, {"split_by": "donor"}, "and --split-by both say"),
        (["train"] * 60 + ["test"] * 30, {"validation_share": 0.1}, "and a validation share both say"),
    ],
)
def test_what_is_no_split_is_told(values, options, words, cache):
    with pytest.raises(DatasetError, match=words) as caught:
        datasets.prepare(
            with_column(values, "part"), cache_folder=cache, **({"split_from": "part"} | options)
        )
    assert "\n" not in str(caught.value)
    assert files_below(cache) == []


def test_a_type_without_training_cells_is_told(cache):
    adata = with_column(["train"] * 60 + ["test"] * 30, "part")
    adata.obs["cell_type"] = ["a"] * 30 + ["b"] * 40 + ["c"] * 20
    with pytest.raises(
        DatasetError, match=r"no training cell of c \(20 cells\).*assign some in obs\['part'\]"
    ):
        datasets.prepare(adata, cache_folder=cache, split_from="part")


def test_the_key_follows_every_choice(cache):
    adata = with_column(["train"] * 60 + ["test"] * 30, "part")
    adata.var["symbol"], adata.var["genome"] = [f"S{n}" for n in range(60)], "mm10"
    adata.layers["other"] = adata.X.copy()
    choices = (
        {},
        {"split_from": "part"},
        {"drop_unlabelled": True},
        {"layer": "other"},
        {"gene_names": "symbol"},
        {"genome": "mm10"},
    )
    keys = [datasets.prepare(adata, cache_folder=cache, **choice).key for choice in choices]
    assert len(set(keys)) == len(choices)
    assert datasets.prepare(adata, cache_folder=str(cache), split_from="part").key == keys[1]


@pytest.mark.parametrize("how", ["float64", "float32", "Float64", "object", "category", "Int64", "int8"])
def test_whole_numbers_are_spelt_alike_however_they_are_held(how):
    column = pd.Series([1.0, 2.0, 10.0, 2.0]).astype("int8" if how == "int8" else "float64").astype(how)
    assert as_labels(column).tolist() == ["1", "2", "10", "2"]


def test_labels_that_are_no_whole_numbers_stay_as_they_are():
    for values, wanted in (
        (pd.Categorical([1.5, 2.0]), ["1.5", "2.0"]),
        (pd.Categorical([True, False]), ["True", "False"]),
        (pd.Series(["1.0", "2"]), ["1.0", "2"]),
        (pd.Categorical(["b", "a"]), ["b", "a"]),
    ):
        assert as_labels(pd.Series(values)).tolist() == wanted


def test_types_of_categories_of_floats_are_those_of_whole_numbers(cache):
    numbers = np.arange(90) % 3 + 1.0
    prepared = datasets.prepare(with_column(pd.Categorical(numbers)), cache_folder=cache)
    assert list(prepared.read().obs["cell_type"].cat.categories) == ["1", "2", "3"]
