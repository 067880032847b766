"""Clusters of cells, where there are no labels or the test cells are shared out by clusters."""

from __future__ import annotations

import random
import warnings
from typing import TYPE_CHECKING

import numpy as np

from datasets.declaration import Progress, step

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

N_VARIABLE_GENES = 1000
N_COMPONENTS = 50
N_NEIGHBOURS = 15
"""The cell itself is one of them."""

RESOLUTION = 0.15

EXACT_UP_TO = 50_000
"""An exact search takes 12 s of a core for so many cells; compiling the approximate one takes 30 s."""

_CELLS_AT_ONCE = 2000


def cluster(counts: csr_matrix, *, seed: int = 0, progress: Progress) -> tuple[np.ndarray, str]:
    """Cluster cells as Zheng 2017 and Marouf 2020 do, as far as today's software allows.

    ``recipe_zheng17`` (1000 highly variable genes; all of them where there are no more), 50 principal
    components (arpack), 15 nearest neighbours (exact up to `EXACT_UP_TO` cells, by NN-descent above, so that
    time and memory go on growing linearly), communities at resolution 0.15.

    Two deviations, both for want of maintained software: Leiden through igraph stands in for Louvain; and
    neighbours are weighted by a Gaussian kernel instead of UMAP's, whose import brings TensorFlow along (7 s
    and 0.6 GB). On the three data sets that this was tried on, clusters at this resolution agree with the
    given labels as well as with UMAP's weights (adjusted Rand index within 0.03).

    Parameters
    ----------
    counts
        Counts, n_cells × n_genes, without empty cells or genes.
    seed
        Seed of the clustering; it gives the same clusters on the same machine, on any number of cores.
    progress
        Function called as each step begins and ends, and with the share done of an exact search.

    Returns
    -------
    clusters : np.ndarray
        n_cells strings ``"0"``, ``"1"``…, largest cluster first.
    how : str
        How they were found, in words.
    """
    with step(progress, "finding principal components"):
        points = principal_components(counts, seed=seed)
    n_neighbours = min(N_NEIGHBOURS, len(points))
    if exact := len(points) <= EXACT_UP_TO:
        found = exact_neighbours(points, n_neighbours, progress=progress)
    else:
        with step(progress, "finding neighbours"):
            found = approximate_neighbours(points, n_neighbours, seed=seed)
    with step(progress, "clustering"):
        labels = communities(*kernel(*found), n_cells=len(points), seed=seed)
    search = "exact" if exact else "approximate"
    return labels, f"Leiden at resolution {RESOLUTION} on {search} neighbours, seed {seed}"


def principal_components(counts: csr_matrix, *, seed: int) -> np.ndarray:
    """Return the cells' n_cells × (at most) 50 principal components of scaled log values of variable genes.

    Sparse all the way: genes are centred inside the decomposition.
    """
    import scanpy
    from anndata import AnnData

    adata = AnnData(counts.copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        scanpy.pp.normalize_total(adata)
        if adata.n_vars > N_VARIABLE_GENES:
            chosen = scanpy.pp.filter_genes_dispersion(
                adata.X, flavor="cell_ranger", n_top_genes=N_VARIABLE_GENES, log=False
            )
            adata = adata[:, chosen.gene_subset].copy()
            scanpy.pp.normalize_total(adata)
        scanpy.pp.log1p(adata)
        scanpy.pp.scale(adata, zero_center=False)
        n_components = min(N_COMPONENTS, min(adata.shape) - 1)
        scanpy.pp.pca(adata, n_comps=n_components, svd_solver="arpack", random_state=seed)
    return np.asarray(adata.obsm["X_pca"], dtype=np.float32)


def exact_neighbours(
    points: np.ndarray, n_neighbours: int, *, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return each point's nearest ones, itself first, and how far they are.

    Parameters
    ----------
    points
        Coordinates of the points, n_cells × n_components.
    n_neighbours
        Number of neighbours, the point itself included.
    progress
        Function called with the number of points done and in all.

    Returns
    -------
    neighbours, distances : np.ndarray
        n_cells × n_neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=n_neighbours, algorithm="brute").fit(points)
    pieces = []
    for start in range(0, len(points), _CELLS_AT_ONCE):
        progress("finding neighbours", start, len(points))
        pieces.append(search.kneighbors(points[start : start + _CELLS_AT_ONCE]))
    progress("finding neighbours", len(points), len(points))
    distances, neighbours = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return neighbours, distances


def approximate_neighbours(
    points: np.ndarray, n_neighbours: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Like `exact_neighbours`, by NN-descent (Dong 2011, doi:10.1145/1963405.1963487) from random trees.

    In one thread: with more, what is found would hang on their number. A neighbour that was not found is -1.
    """
    from pynndescent import NNDescent

    return NNDescent(points, n_neighbors=n_neighbours, random_state=seed, n_jobs=1).neighbor_graph


def kernel(neighbours: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight the pairs of neighbours by the locally scaled Gaussian kernel of Haghverdi 2016.

    A cell's σ² is the median of its squared distances; w = √(2σᵢσⱼ / (σᵢ² + σⱼ²)) exp(-d² / (σᵢ² + σⱼ²))
    (doi:10.1038/nmeth.3971, as scanpy's ``method="gauss"``).

    Parameters
    ----------
    neighbours, distances
        Indices and distances, n_cells × n_neighbours, each cell itself first; index -1 where none was found.

    Returns
    -------
    pairs : np.ndarray
        n_pairs × 2, each pair of neighbours once.
    weights : np.ndarray
        n_pairs.
    """
    others, squared = neighbours[:, 1:].astype(np.int64), distances[:, 1:].astype(np.float64) ** 2
    # Cells that are all alike have no distance to scale by.
    scales = np.fmax(np.nanmedian(np.where(others < 0, np.nan, squared), axis=1), np.finfo(np.float64).tiny)
    cells = np.repeat(np.arange(len(others)), others.shape[1])
    others, squared = others.ravel(), squared.ravel()
    first, second = np.minimum(cells, others), np.maximum(cells, others)
    _, once = np.unique(first * len(neighbours) + second, return_index=True)
    once = once[(first[once] >= 0) & (first[once] < second[once])]
    first, second, squared = first[once], second[once], squared[once]
    total = scales[first] + scales[second]
    weights = np.sqrt(2 * np.sqrt(scales[first]) * np.sqrt(scales[second]) / total) * np.exp(-squared / total)
    return np.column_stack([first, second]), weights


def communities(pairs: np.ndarray, weights: np.ndarray, *, n_cells: int, seed: int) -> np.ndarray:
    """Return Leiden's communities (modularity, resolution 0.15) as n_cells strings, ``"0"`` the largest."""
    import igraph

    graph = igraph.Graph(n_cells, pairs)
    igraph.set_random_number_generator(random.Random(seed))
    try:
        found = graph.community_leiden(
            "modularity", weights=weights.tolist(), resolution=RESOLUTION, n_iterations=-1
        )
    finally:
        igraph.set_random_number_generator(random)
    sizes = np.bincount(found.membership)
    rank = np.empty(len(sizes), dtype=int)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return rank[found.membership].astype(str)
