"""Maps of real and synthetic cells together, in two dimensions: for eyes, never for numbers.

t-SNE: van der Maaten & Hinton 2008 (Journal of Machine Learning Research 9:2579). UMAP: McInnes, Healy &
Melville 2018 (doi:10.48550/arXiv.1802.03426). Distances between clusters and their sizes mean little in
either; what can be seen is whether cells of both sides lie in the same places.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.arrays import Floats, Ints
from metrics.by_type import order_of_contents
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.seeds import derived_seed

MOST_CELLS = 1000
PERPLEXITY = 30
UMAP_NEIGHBOURS = 15
MARKED_TYPES = 3


def tsne_map(points: Floats, *, seed: int) -> NDArray[np.float32]:
    """Lay cells out by t-SNE, perplexity 30.

    Parameters
    ----------
    points
        n_cells × n_dimensions.
    seed
        Everything random follows from it.

    Returns
    -------
    numpy.ndarray
        n_cells × 2.

    Raises
    ------
    NotApplicable
        With fewer than 91 cells, three times the perplexity and one, or fewer than two dimensions.
    """
    from sklearn.manifold import TSNE

    _check(points)
    found = TSNE(2, perplexity=PERPLEXITY, init="pca", random_state=seed).fit_transform(points)
    return np.asarray(found, dtype=np.float32)


def umap_map(points: Floats, *, seed: int) -> NDArray[np.float32]:
    """Lay cells out by UMAP, 15 neighbours; parameters, result and errors as for `tsne_map`."""
    from sklearn.neighbors import NearestNeighbors

    _check(points)
    with warnings.catch_warnings(), _without_tensorflow():
        # That new cells cannot be added to a map whose neighbours were given is no loss here.
        warnings.simplefilter("ignore")
        from umap import UMAP

        # UMAP's own search takes longer to be compiled than these few cells to be searched exactly.
        search = NearestNeighbors(n_neighbors=UMAP_NEIGHBOURS, algorithm="brute").fit(points)
        distances, neighbours = search.kneighbors(points)
        method = UMAP(
            n_neighbors=UMAP_NEIGHBOURS,
            precomputed_knn=(neighbours, distances.astype(np.float32)),
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(method.fit_transform(points), dtype=np.float32)


def joint_maps(real: RealEvidence, sample: SampleEvidence) -> dict[str, NDArray[Any]]:
    """Lay test cells and synthetic cells out together, and say what a figure colours them by.

    At most 1000 cells a side are drawn, by the seed and whatever their order.

    Parameters
    ----------
    real, sample
        The cells; their principal components are what is laid out.

    Returns
    -------
    dict
        ``tsne`` and ``umap``, n × 2; ``is_synthetic``, n; ``cell_type``, n: as the classifier calls them that
        knows the real training cells; ``marker_genes``, and ``marker_types`` that they mark: the best marker
        of each of the three largest types of the training cells; ``markers``, n × genes: their expression
        in ``space``. Where there are no types, ``cell_type`` is empty and there are no genes.

    Raises
    ------
    NotApplicable
        As for `tsne_map`, or if the synthetic cells hold impossible values.
    """
    rows, made = _drawn(real, sample)
    points = np.concatenate([real.pca_scores[rows], sample.pca_scores[made]])
    markers = top_markers(real)
    genes = list(markers.values())
    shown = [cells[:, genes].toarray() for cells in (real.test_cells[rows], sample.cells[made])]
    return {
        "tsne": tsne_map(points, seed=derived_seed(real.seed, "t-SNE")),
        "umap": umap_map(points, seed=derived_seed(real.seed, "UMAP")),
        "is_synthetic": np.arange(len(points)) >= rows.size,
        "cell_type": np.append(real.test_calls[rows], sample.calls[made]) if markers else np.array([], str),
        "marker_genes": real.gene_names[genes],
        "marker_types": np.array(list(markers), dtype=str),
        "markers": np.concatenate(shown).astype(np.float32),
        "space": np.array(real.protocol.space),
    }


def top_markers(real: RealEvidence) -> dict[str, int]:
    """Return the three largest types of the training cells, each with its best marker that none has yet.

    Parameters
    ----------
    real
        Whose `markers` are asked; without types there are none.

    Returns
    -------
    dict
        Type → position among the protocol's genes, the largest type first; without types that are left no
        gene.
    """
    try:
        ranked = real.markers
    except NotApplicable:
        return {}
    names, sizes = np.unique(np.asarray(real.train_types), return_counts=True)
    chosen: dict[str, int] = {}
    for name in names[np.argsort(-sizes, kind="stable")][:MARKED_TYPES].tolist():
        gene = next((int(gene) for gene in ranked[name].genes if gene not in chosen.values()), None)
        if gene is not None:
            chosen[name] = gene
    return chosen


def _drawn(real: RealEvidence, sample: SampleEvidence) -> tuple[Ints, Ints]:
    rng = np.random.default_rng(derived_seed(real.seed, "cells of maps"))
    test, synthetic = (
        rng.choice(order_of_contents(cells), min(MOST_CELLS, real.n_cells), replace=False)
        for cells in (real.test_cells, sample.cells)
    )
    return test, synthetic


def _check(points: Floats) -> None:
    n_cells, n_dimensions = points.shape
    if n_cells <= 3 * PERPLEXITY:
        raise NotApplicable(f"{n_cells} cells; a map needs more than {3 * PERPLEXITY}")
    if n_dimensions < 2:
        raise NotApplicable(f"{n_dimensions} principal component cannot be laid out in two dimensions")


@contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Keep ``import umap`` from importing TensorFlow: seconds, for a variant that is not used here."""
    if "tensorflow" in sys.modules:
        yield
        return
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["tensorflow"]
