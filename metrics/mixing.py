"""Do synthetic cells mix with test cells in every neighbourhood? LISI of real against synthetic, ideal 2.

Korsunsky et al. 2019 (doi:10.1038/s41592-019-0619-0): the inverse Simpson index of the labels around a
cell, whose 90 nearest others weigh exp(−β·distance), with β such that the weights have perplexity 30. 1
where all neighbours that weigh are of one side, 2 where both sides weigh the same. The distance is not
squared: so does the authors' implementation, whatever "Gaussian" in the paper says. Under the protocol
``groundgan2024`` they are 89, on a two-dimensional t-SNE with scikit-learn's defaults, and the mean over
cells is taken (miLISI), as in the public code of Zinati et al. 2024 (doi:10.1038/s41467-024-48516-6). No
interval: test cells are neighbours of one another, and one that a bootstrap draws twice would be its own.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Bools, Floats
from metrics.by_type import Rows, order_of_contents, score_with_types
from metrics.declaration import Metric, NotApplicable, Score
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.seeds import derived_seed

PERPLEXITY = 30
NEIGHBOURS = 3 * PERPLEXITY
MAP_NEIGHBOURS = NEIGHBOURS - 1
HALVINGS = 60


def _weights(excess: Floats, beta: Floats) -> Floats:
    weights = np.exp(-beta[:, None] * excess)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def neighbour_weights(distances: Floats, *, perplexity: float) -> Floats:
    """Weigh neighbours by exp(−β·distance), β found by bisection for each cell.

    Parameters
    ----------
    distances
        n_cells × n_neighbours.
    perplexity
        exp of the entropy that the weights of each cell shall have, below n_neighbours. Where more
        neighbours than that are equally near, they share the weight.

    Returns
    -------
    numpy.ndarray
        n_cells × n_neighbours, rows sum to 1.
    """
    # Neither a common offset nor the unit of a cell's distances matters to its weights.
    excess = distances - distances.min(axis=1, keepdims=True)
    scale = excess.mean(axis=1, keepdims=True)
    excess = np.divide(excess, scale, out=np.zeros_like(excess), where=scale > 0)
    low, high = np.full(len(distances), -10.0), np.full(len(distances), 20.0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        weights = _weights(excess, np.exp(middle))
        logarithms = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
        too_flat = -np.sum(weights * logarithms, axis=1) > np.log(perplexity)
        low, high = np.where(too_flat, middle, low), np.where(too_flat, high, middle)
    return _weights(excess, np.exp((low + high) / 2))


def _check_number(points: Floats, n_neighbours: int) -> None:
    if len(points) <= n_neighbours:
        raise NotApplicable(f"{len(points)} cells; LISI looks at the {n_neighbours} nearest others of a cell")


def lisi(points: Floats, is_synthetic: Bools, *, n_neighbours: int = NEIGHBOURS) -> Floats:
    """Local inverse Simpson index of each cell.

    Parameters
    ----------
    points
        n_cells × n_dimensions, real and synthetic cells.
    is_synthetic
        Whether each cell is synthetic.
    n_neighbours
        Number of neighbours of each cell, itself excluded.

    Returns
    -------
    numpy.ndarray
        n_cells values from 1 to 2.

    Raises
    ------
    NotApplicable
        With no more cells than neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    _check_number(points, n_neighbours)
    search = NearestNeighbors(n_neighbors=n_neighbours, algorithm="brute").fit(points)
    distances, neighbours = search.kneighbors()
    weights = neighbour_weights(distances, perplexity=PERPLEXITY)
    share = np.sum(weights * is_synthetic[neighbours], axis=1)
    return np.asarray(1 / (share**2 + (1 - share) ** 2), dtype=np.float64)


def _embedded(points: Floats, *, order: Rows, seed: int) -> Floats:
    """Lay points out in two dimensions, taken in an order: a t-SNE hangs on it."""
    from sklearn.manifold import TSNE

    _check_number(points, MAP_NEIGHBOURS)
    found = np.empty((len(points), 2))
    found[order] = TSNE(2, random_state=seed).fit_transform(points[order])
    return found


def mixing(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Average the LISI of test and synthetic cells: where the protocol says, and as it says.

    The median, on the principal components; or the mean (miLISI), on a two-dimensional t-SNE of test and
    synthetic cells together. By type: neighbours are sought among all cells, the average is over those
    called the type.

    Raises
    ------
    NotApplicable
        Under a protocol that has no such metric.
    """
    if real.protocol.mixing is None:
        raise NotApplicable(f"protocol {real.protocol.name} does not look at mixing")
    on_map = real.protocol.mixing == "tsne"
    points = np.concatenate([real.pca_scores, sample.pca_scores])
    if on_map:
        order = np.append(order_of_contents(real.test_cells), real.n_cells + order_of_contents(sample.cells))
        points = _embedded(points, order=order, seed=derived_seed(real.seed, "mixing"))
    n_neighbours = MAP_NEIGHBOURS if on_map else NEIGHBOURS
    each = lisi(points, np.arange(len(points)) >= real.n_cells, n_neighbours=n_neighbours)
    average = np.mean if on_map else np.median

    def measure(test: Rows, synthetic: Rows) -> dict[str, float]:
        return {"mixing": float(average(np.append(each[test], each[real.n_cells + synthetic])))}

    return score_with_types(real, sample, measure, worst=1.0, notes=real.pca_notes)


METRIC = Metric(
    name="mixing",
    description="LISI: how many of the two sides, real and synthetic, are met around a cell",
    compute=mixing,
    better="higher",
    ideal=2.0,
    bounds=(1.0, 2.0),
    reference="doi:10.1038/s41592-019-0619-0",
    cost="90 nearest neighbours of all cells; under groundgan2024 a t-SNE",
    floors=("shuffle",),
    group="coverage",
    # Both sides together hold a cell and its neighbours.
    least_cells=NEIGHBOURS // 2 + 1,
    protocols=("strict", "groundgan2024"),
)
