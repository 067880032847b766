import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from metrics.declaration import NotApplicable
from metrics.embedding import joint_maps, top_markers, tsne_map, umap_map
from tests.metrics.typed_cells import evidence, reordered, sample_of, shuffled, typed_cells

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real():
    return evidence()


@pytest.fixture(scope="module")
def good(real):
    return sample_of(real, *typed_cells(150, seed=7))


@pytest.fixture(scope="module")
def maps(real, good):
    return joint_maps(real, good)


def mixed(points, is_synthetic):
    """Share of the 10 nearest others of a cell that are of the other side, mean over cells."""
    neighbours = NearestNeighbors(n_neighbors=10).fit(points).kneighbors(return_distance=False)
    return np.mean(is_synthetic[neighbours] != is_synthetic[:, None])


def clusters():
    rng = np.random.default_rng(0)
    return np.repeat(10 * np.eye(3, 5), 40, axis=0) + rng.normal(size=(120, 5)), np.repeat([0, 1, 2], 40)


@pytest.mark.parametrize("method", [tsne_map, umap_map])
def test_clusters_stay_apart_and_equal_seeds_agree(method):
    points, labels = clusters()
    found = method(points, seed=1)
    assert silhouette_score(found, labels) > 0.6
    np.testing.assert_array_equal(found, method(points, seed=1))


@pytest.mark.parametrize("method", [tsne_map, umap_map])
def test_too_few_cells_or_dimensions_make_no_map(method):
    with pytest.raises(NotApplicable, match="90 cells; a map needs more than 90"):
        method(np.zeros((90, 5)), seed=0)
    with pytest.raises(NotApplicable, match="1 principal component cannot"):
        method(np.zeros((100, 1)), seed=0)


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_like_cells_mix_and_unlike_ones_do_not(real, maps, method):
    assert mixed(maps[method], maps["is_synthetic"]) > 0.4
    unlike = joint_maps(real, sample_of(real, shuffled(typed_cells(150, seed=7)[0], seed=0)))
    assert mixed(unlike[method], unlike["is_synthetic"]) < 0.3


def test_what_colours_a_map_belongs_to_its_cells(real, good, maps):
    assert (~maps["is_synthetic"]).sum() == maps["is_synthetic"].sum() == 150
    assert maps["marker_types"].tolist() == ["A", "B", "C"]
    genes = [real.gene_names.tolist().index(name) for name in maps["marker_genes"]]
    expected = np.concatenate([cells[:, genes].toarray() for cells in (real.test_cells, good.cells)])
    assert sorted(map(tuple, maps["markers"])) == sorted(map(tuple, expected.astype(np.float32)))
    calls = np.concatenate([real.test_calls, good.calls])
    assert sorted(maps["cell_type"]) == sorted(calls)
    # A type's marker is highest in its own cells, on the map as in the data.
    for gene, name in enumerate("ABC"):
        means = {other: maps["markers"][maps["cell_type"] == other, gene].mean() for other in "ABC"}
        assert max(means, key=means.__getitem__) == name
    assert str(maps["space"]) == "log_cp20k"


def test_the_order_of_cells_does_not_matter(real, good, maps):
    again = joint_maps(real, reordered(good, seed=0))
    np.testing.assert_array_equal(again["cell_type"], maps["cell_type"])
    np.testing.assert_array_equal(again["markers"], maps["markers"])


def test_at_most_so_many_cells_a_side_are_drawn(real, good, monkeypatch):
    monkeypatch.setattr("metrics.embedding.MOST_CELLS", 60)
    few = joint_maps(real, good)
    assert few["umap"].shape == few["tsne"].shape == (120, 2)
    assert few["is_synthetic"].tolist() == [False] * 60 + [True] * 60


def test_no_marker_stands_for_two_types(real):
    chosen = top_markers(real)
    assert list(chosen) == ["A", "B", "C"]
    assert chosen["A"] == real.markers["A"].genes[0]
    assert len(set(chosen.values())) == 3


def test_a_type_that_no_gene_is_left_for_has_no_marker(real):
    ranked = SimpleNamespace(genes=np.array([1, 0]))
    few = SimpleNamespace(markers=dict.fromkeys("ABC", ranked), train_types=real.train_types)
    assert top_markers(few) == {"A": 1, "B": 0}


def test_without_types_there_are_no_colours_but_a_map():
    real = evidence(with_types=False)
    maps = joint_maps(real, sample_of(real, typed_cells(150, seed=7)[0]))
    assert (maps["cell_type"].size, maps["marker_genes"].size) == (0, 0)
    assert maps["markers"].shape == (300, 0)
    assert maps["umap"].shape == (300, 2)


def test_tensorflow_stays_out_and_can_still_be_imported(maps):
    assert sys.modules.get("tensorflow", "absent") is not None
