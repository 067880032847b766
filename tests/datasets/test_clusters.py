import random
import subprocess
import sys

import anndata
import numba
import numpy as np
import pytest
import scanpy
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

import datasets
from datasets import Declaration, clusters
from datasets.assemble import Parameters, assemble
from datasets.preprocessing import kept_cells_and_genes
from tests.datasets.dataset_files import make_cells


def silent(what, done, total):
    pass


@pytest.mark.parametrize("n_genes", [60, 1100], ids=["all genes", "highly variable genes"])
def test_clusters_find_well_separated_types_and_repeat(n_genes):
    adata = make_cells(n_cells=150, n_genes=n_genes)
    before = adata.X.copy()
    found, how = clusters.cluster(adata.X, progress=silent)
    assert adjusted_rand_score(adata.obs["cell_type"], found) == 1
    assert how == "Leiden at resolution 0.15 on exact neighbours, seed 0"
    np.testing.assert_array_equal(found, clusters.cluster(adata.X, progress=silent)[0])
    assert (before != adata.X).nnz == 0


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_the_components_are_those_of_the_recipe():
    # With fewer cells than components, all distances must come out, whichever way the components turn.
    counts = make_cells(n_cells=40, n_genes=1100).X
    oracle = anndata.AnnData(counts.copy())
    scanpy.pp.recipe_zheng17(oracle, n_top_genes=1000)
    centred = oracle.X - oracle.X.mean(axis=0)
    points = clusters.principal_components(counts, seed=0)
    assert points.shape == (40, 39)
    np.testing.assert_allclose(points @ points.T, centred @ centred.T, atol=0.05)
    sizes = np.linalg.svd(centred, compute_uv=False)[:39]
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), sizes, rtol=1e-4)


def test_exact_neighbours_come_in_pieces_and_tell_the_share_done(monkeypatch):
    monkeypatch.setattr(clusters, "_CELLS_AT_ONCE", 40)
    points = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    told = []
    neighbours, distances = clusters.exact_neighbours(points, 6, progress=lambda *what: told.append(what))
    full = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.testing.assert_array_equal(neighbours, np.argsort(full, axis=1)[:, :6])
    np.testing.assert_allclose(distances, np.sort(full, axis=1)[:, :6], atol=1e-3)
    assert told == [("finding neighbours", done, 100) for done in (0, 40, 80, 100)]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_kernel_is_scanpys():
    points = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    oracle = anndata.AnnData(np.zeros((120, 1), dtype=np.float32), obsm={"points": points})
    scanpy.pp.neighbors(oracle, n_neighbors=15, use_rep="points", method="gauss", transformer="sklearn")
    pairs, weights = clusters.kernel(*clusters.exact_neighbours(points, 15, progress=silent))
    graph = sparse.coo_matrix((weights, pairs.T), shape=(120, 120)).toarray()
    np.testing.assert_allclose(graph + graph.T, oracle.obsp["connectivities"].toarray(), atol=1e-5)


def test_the_kernel_by_hand_without_a_neighbour_and_among_cells_all_alike():
    # σ² = 4 and 16 for the cells 0 and 1 (one found, one not); 2 and 3 are alike.
    neighbours = np.array([[0, 1, -1], [1, 0, 2], [2, 3, 3], [3, 2, 2]])
    distances = np.array([[0, 2, np.inf], [0, 2, np.sqrt(28)], [0, 0, 0], [0, 0, 0]])
    pairs, weights = clusters.kernel(neighbours, distances)
    np.testing.assert_array_equal(pairs, [[0, 1], [1, 2], [2, 3]])
    np.testing.assert_allclose(weights, [np.sqrt(2 * 2 * 4 / 20) * np.exp(-4 / 20), 0, 1], atol=1e-12)


def test_communities_are_numbered_by_size_and_leave_the_random_numbers_alone():
    cliques = [range(0, 4), range(4, 10)]
    pairs = np.array([(a, b) for clique in cliques for a in clique for b in clique if a < b] + [(0, 4)])
    random.seed(1)
    expected = random.Random(1).random()
    found = clusters.communities(pairs, np.ones(len(pairs)), n_cells=10, seed=0)
    assert random.random() == expected
    np.testing.assert_array_equal(found, ["1"] * 4 + ["0"] * 6)


def test_many_cells_have_their_neighbours_approximated(monkeypatch):
    adata = make_cells(n_cells=150)
    monkeypatch.setattr(clusters, "EXACT_UP_TO", 149)
    calls = []

    def search(points, n_neighbours, *, seed):
        calls.append(seed)
        return clusters.exact_neighbours(points, n_neighbours, progress=silent)

    monkeypatch.setattr(clusters, "approximate_neighbours", search)
    found, how = clusters.cluster(adata.X, seed=7, progress=silent)
    assert how == "Leiden at resolution 0.15 on approximate neighbours, seed 7"
    assert calls == [7]
    assert adjusted_rand_score(adata.obs["cell_type"], found) == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)  # compiling the search takes half a minute of a core
def test_approximate_neighbours_of_10_000_real_cells_agree_with_exact_ones(shared_data):
    counts = anndata.read_h5ad(shared_data / "kang_ctrl_12261x1287.h5ad").X[:10_000]
    cells, genes = kept_cells_and_genes(counts)
    points = clusters.principal_components(counts[cells][:, genes], seed=0)
    exact = clusters.exact_neighbours(points, 15, progress=silent)
    found = clusters.approximate_neighbours(points, 15, seed=0)
    assert (found[0] >= 0).all()
    shared = (found[0][:, 1:, None] == exact[0][:, None, 1:]).any(axis=2)
    assert shared.mean() >= 0.9  # 0.943 when this was written
    named = [clusters.communities(*clusters.kernel(*each), n_cells=10_000, seed=0) for each in (exact, found)]
    assert adjusted_rand_score(*named) >= 0.95
    cores = numba.get_num_threads()
    numba.set_num_threads(1)
    again = clusters.approximate_neighbours(points, 15, seed=0)
    numba.set_num_threads(cores)
    np.testing.assert_array_equal(found[0], again[0])


def test_clusters_are_made_only_where_they_are_asked_for(monkeypatch):
    def assembled(raw, **facts):
        mine = Declaration(name="mine", description="", reference="", **facts)
        parameters = Parameters(None, None, 0, 0.0, mine.test_size, mine.stratify_by)
        return assemble(raw, mine, parameters, progress=silent)

    raw = make_cells()
    adata = assembled(raw, stratify_by="cluster")
    assert adata.obs["cluster"].nunique() == 3
    assert list(adata.obs["cell_type"]) == list(raw.obs["cell_type"])
    unlabelled = raw.copy()
    del unlabelled.obs["cell_type"]
    stands_in = assembled(unlabelled)
    assert list(stands_in.obs["cluster"]) == list(stands_in.obs["cell_type"])
    monkeypatch.setattr(clusters, "cluster", None)
    assert "cluster" not in assembled(raw).obs
    # A number of clusters that was published is no reason to look for them.
    adata = assembled(raw, expected={"clusters": 4, "types": 4})
    assert "cluster" not in adata.obs
    told = [note for note in adata.uns["bench"]["notes"] if "expected" in note]
    assert told == ["mine has 3 types after preprocessing, where 4 are expected"]


LABELLED = ["reading", "filtering", "splitting", "normalising", "writing"]
CLUSTERING = ["finding principal components", "finding neighbours", "clustering"]


@pytest.mark.parametrize("column", ["cell_type", "true_type"])
def test_every_step_is_told_as_it_begins_and_ends(column, cache):
    told = []
    raw = make_cells()
    raw.obs[column] = raw.obs.pop("cell_type")
    datasets.prepare(raw, cache_folder=cache, progress=lambda *what: told.append(what))
    expected = LABELLED if column == "cell_type" else [*LABELLED[:2], *CLUSTERING, *LABELLED[2:]]
    assert list(dict.fromkeys(what for what, _, _ in told)) == expected
    last = {what: (done, total) for what, done, total in told}
    assert all(done == total for done, total in last.values())


def test_labelled_cells_are_prepared_without_the_libraries_of_clustering(cache, tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    code = (
        "import sys, datasets; from pathlib import Path; "
        "datasets.prepare(sys.argv[1], cache_folder=Path(sys.argv[2])); "
        "sys.exit(any(name in sys.modules for name in ('scanpy', 'igraph', 'pynndescent', 'numba')))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "cells.h5ad"), str(cache)]
    assert subprocess.run(command, check=False).returncode == 0


def test_the_approximate_search_brings_no_tensorflow():
    code = "import sys, pynndescent; sys.exit('tensorflow' in sys.modules or 'umap' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
