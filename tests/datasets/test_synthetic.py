import numpy as np
import pytest

import datasets
from datasets import DatasetError
from datasets.synthetic import Recipe, draw


def silent(what, done, total):
    pass


def test_the_name_is_read_and_its_mistakes_are_named():
    assert Recipe.parse("synthetic:20000x17970") == Recipe(20000, 17970, 8)
    assert Recipe.parse("synthetic:2000x500x4") == Recipe(2000, 500, 4)
    for text in ("synthetic:", "synthetic:20x", "synthetic:axb", "synthetic:1x2x3x4"):
        with pytest.raises(DatasetError, match="is not like synthetic:20000x17970"):
            Recipe.parse(text)
    with pytest.raises(DatasetError, match=r"too small: .* 25 cells a type \(200\)"):
        Recipe.parse("synthetic:100x500")
    with pytest.raises(DatasetError, match=r"at least 2 types, .* 25 cells a type \(50\)"):
        Recipe.parse("synthetic:1000x500x1")


def test_cells_look_like_droplet_data_at_the_scale_of_brain_small():
    adata = draw(Recipe(600, 17970, 3), progress=silent)
    library_sizes = np.asarray(adata.X.sum(axis=1)).ravel()
    assert 0.05 < adata.X.nnz / (600 * 17970) < 0.09
    assert 2250 < np.median(library_sizes) < 2750
    assert 0.3 < np.std(np.log(library_sizes)) < 0.5
    assert np.all(adata.X.data == np.round(adata.X.data))
    assert np.diff(adata.X.indptr).min() >= 10
    assert np.bincount(adata.X.indices).min() >= 3


def test_counts_are_overdispersed_as_a_negative_binomial_with_shape_two():
    adata = draw(Recipe(20000, 50, 1), progress=silent)
    counts = adata.X.toarray().astype(float)
    library_sizes = counts.sum(axis=1)
    means, variances = counts.mean(axis=0), counts.var(axis=0)
    # Two sources of spread: the gamma (1/2) and the log-normal library (exp(0.4²) - 1), and their product.
    library = np.exp(0.4**2) - 1
    expected = means + means**2 * (0.5 + library + 0.5 * library)
    large = means > 1
    np.testing.assert_allclose(variances[large], expected[large], rtol=0.15)
    assert library_sizes.min() > 0


def test_same_seed_same_cells_and_types_of_unequal_size():
    first, again = (draw(Recipe(700, 60, 2), seed=5, progress=silent) for _ in range(2))
    assert (first.X != again.X).nnz == 0
    assert (first.X != draw(Recipe(700, 60, 2), seed=6, progress=silent).X).nnz > 0
    sizes = first.obs["cell_type"].value_counts()
    assert sizes.to_dict() == {"type 1": 410, "type 2": 290}  # 700 / (1 + 1/√2) = 410.05


def test_prepared_synthetic_cells_say_what_they_are(tmp_path):
    prepared = datasets.prepare("synthetic:300x80x2", cache_folder=tmp_path)
    adata = prepared.read()
    assert "synthetic cells: for speed and scale, never for quality claims" in prepared.notes
    assert "cluster" not in adata.obs
    assert prepared.path.name.startswith("synthetic_300x80x2-")
    assert (adata.obs["split"] == "test").sum() == 17 + 12  # int(0.1 · 176) + int(0.1 · 124)
