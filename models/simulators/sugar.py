"""Points that even out the density of the data, pulled to its manifold: SUGAR (Lindenbaum 2018)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, diags_array, vstack

from models.base import GeneratorError, Monitor, SamplingExhausted
from models.baselines import shared
from models.baselines.shared import Baseline, Parameters, library_sizes, reciprocal
from models.controls.control import Drawn, Integers, Labels, RememberedCells
from models.simulators.shared import Floats

LIBRARY_SIZE = 20_000
N_COMPONENTS = 50
MOST_REFERENCES = 5_000
MOST_ROUNDS = 100


class Sugar(Baseline):
    """Noise around training cells, more of it where they are sparse, averaged over the manifold.

    On the first 50 principal components of log_cp20k, with d(i) the degree of cell i in a Gaussian kernel
    whose σ is the median distance to the k-th neighbour: (1) around cell i lie √det(I + Σᵢ/2σ²) (max d −
    d(i)) / (d(i) + 1) new points on average, the source's lower bound (proposition 4.1) without the 1 that it
    takes off; (2) they are normal around it with the covariance Σᵢ of its k nearest neighbours; (3) a point y
    becomes the mean Σ p(y, y′) y′ over a reference set of such points, at most 5 000, where p is proportional
    to Σᵣ K(y, xᵣ) K(xᵣ, y′) / d(r), the measure-based diffusion for t = 1. A reference set, where the source
    diffuses all new points over one another, lets cells be drawn one piece after the other. K reaches the k
    nearest training cells, with each one's distance to its k-th neighbour as σ: among 50 components a
    Gaussian kernel alone reaches half a type, and the mean is the type's. The source's scaling of features to
    the range of the data is left out.

    Back among the genes, negative values become 0. A cell's type is that for which the sum of K(y, xᵣ) / d(r)
    over its training cells is largest. Without requested types the cells even out the density, which is what
    the method is for: types do not come in the training proportions. A requested type is drawn around its own
    cells, until enough points are of it. Each cell starts from a training cell: it declares `draws_from`.

    Lindenbaum et al., NeurIPS 31 (2018), 1400, algorithm 1.

    Parameters
    ----------
    n_neighbours
        k, itself not counted.

    Raises
    ------
    GeneratorError
        If `n_neighbours` is below 1.
    """

    name = "sugar"
    framework = "scikit-learn"
    libraries = ("sklearn.decomposition", "sklearn.neighbors")
    space = "log_cp20k"
    paper = "arXiv:1802.04927"
    draws_from = "training cells"

    def __init__(self, *, n_neighbours: int = 5) -> None:
        if n_neighbours < 1:
            raise GeneratorError(f"n_neighbours is {n_neighbours}; give at least 1")
        self.n_neighbours = n_neighbours

    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        rng = np.random.default_rng(seed)
        with monitor.phase("pca"):
            known = components(cells.counts, seed=seed)
        points = known["points"]
        with monitor.phase("density"):
            known |= neighbourhoods(points, self.n_neighbours)
            width = float(np.median(known["widths"]))
            kernels = (
                np.exp(-squared_distances(block, points) / (2 * width**2)) for block in _blocks(points)
            )
            known["degrees"] = np.concatenate([kernel.sum(axis=1) for kernel in kernels])
            known["expected"] = points_around(points, known, width)
        with monitor.phase("diffusion"):
            drawn = _around(known, np.arange(len(points)), min(len(points), MOST_REFERENCES), rng)
            known |= diffusion(drawn, known)
        return known

    def _draw(self, n_cells: int, cell_types: Labels | None, rng: np.random.Generator) -> Drawn:
        if cell_types is not None:
            return super()._draw(n_cells, cell_types, rng)
        every = np.arange(len(self.cells.cell_types))
        sizes = [min(shared.BLOCK, n_cells - start) for start in range(0, n_cells, shared.BLOCK)]
        parts = [self._drawn_around(every, size, rng) for size in sizes]
        return vstack([cells for cells, _ in parts], format="csr"), np.concatenate(
            [types for _, types in parts]
        )

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        rows, kept, missing = self.cells.rows_by_type[cell_type], [], n_cells
        for _ in range(MOST_ROUNDS):
            cells, types = self._drawn_around(rows, shared.BLOCK, rng)
            kept.append(cells[np.flatnonzero(types == cell_type)[:missing]])
            missing -= kept[-1].shape[0]
            if not missing:
                return vstack(kept, format="csr")
        raise SamplingExhausted(
            f"{self.name}: {missing} of {n_cells} cells of type {cell_type!r} missing after "
            f"{MOST_ROUNDS * shared.BLOCK} draws: nearly all of them fell among other types"
        )

    def _drawn_around(
        self, rows: np.ndarray, n_cells: int, rng: np.random.Generator
    ) -> tuple[csr_matrix, Labels]:
        """Draw cells around some training cells; return them with the types that they fall among."""
        known, names = self._parameters, list(self.cells.rows_by_type)
        points, near, weights = pulled(_around(known, rows, n_cells, rng), known)
        types = np.searchsorted(names, self.cells.cell_types)
        by_type = np.zeros((n_cells, len(names)))
        np.add.at(by_type, (np.arange(n_cells)[:, None], types[near]), weights / known["degrees"][near])
        logged = points.astype(np.float32) @ known["loadings"] + known["means"]
        cells = csr_matrix(np.clip(logged, 0, np.log1p(LIBRARY_SIZE)))
        return cells, np.array(names)[by_type.argmax(axis=1)]


def components(counts: csr_matrix, *, seed: int) -> Parameters:
    """Return the first principal components of log_cp20k.

    Returns
    -------
    dict
        ``points``, n_cells × n_components; ``loadings``, n_components × n_genes, and ``means``, n_genes,
        which lead back.
    """
    from sklearn.decomposition import PCA

    logged = csr_matrix(diags_array(LIBRARY_SIZE * reciprocal(library_sizes(counts))) @ counts)
    logged.data = np.log1p(logged.data)
    n_components = min(N_COMPONENTS, min(counts.shape) - 1)
    means = np.asarray(logged.mean(axis=0), dtype=np.float32).ravel()
    if n_components < 1:
        loadings = np.zeros((1, counts.shape[1]), dtype=np.float32)
        return {"points": np.zeros((counts.shape[0], 1)), "loadings": loadings, "means": means}
    pca = PCA(n_components, svd_solver="arpack", random_state=seed % 2**32)
    points = np.asarray(pca.fit_transform(logged), dtype=np.float64)
    return {"points": points, "loadings": pca.components_.astype(np.float32), "means": means}


def neighbourhoods(points: Floats, n_neighbours: int) -> Parameters:
    """Return each point's nearest neighbours (``neighbours``) and the distance of the last (``widths``).

    Fewer than `n_neighbours` where there are no more points; a single point is its own neighbour.
    """
    from sklearn.neighbors import NearestNeighbors

    found = min(n_neighbours + 1, len(points))
    distances, neighbours = NearestNeighbors(n_neighbors=found).fit(points).kneighbors(points)
    # Cells that are there several times have no distance; a thousandth of the cells' spread will do.
    least = max(1e-3 * float(points.std()), np.finfo(np.float64).eps)
    return {
        "neighbours": neighbours[:, -max(1, found - 1) :],
        "widths": np.maximum(distances[:, -1], least),
    }


def squared_distances(block: Floats, points: Floats) -> Floats:
    """Return |y − x|², n_block × n_points."""
    squares = np.square(block).sum(axis=1)[:, None] + np.square(points).sum(axis=1) - 2 * (block @ points.T)
    return np.maximum(squares, 0)


def points_around(points: Floats, known: Parameters, width: float) -> Floats:
    """Return how many new points each point asks for: √det(I + Σᵢ/2σ²) (max d − d(i)) / (d(i) + 1).

    Where all are alike, all ask for one.
    """
    offsets = points[known["neighbours"]] - points[known["neighbours"]].mean(axis=1, keepdims=True)
    n_neighbours = offsets.shape[1]
    # det(I + DᵀD/c) over components is det(I + DDᵀ/c) over neighbours, which are fewer.
    inner = offsets @ offsets.transpose(0, 2, 1) / (2 * width**2 * n_neighbours)
    volumes = np.sqrt(np.linalg.det(np.eye(n_neighbours) + inner))
    degrees = known["degrees"]
    expected = volumes * (degrees.max() - degrees) / (degrees + 1)
    return expected if expected.any() else np.ones_like(expected)


def _around(known: Parameters, rows: np.ndarray, n_points: int, rng: np.random.Generator) -> Floats:
    """Draw points around those of some rows, normal with the covariance of their neighbours."""
    expected = known["expected"][rows]
    shares = expected / expected.sum() if expected.any() else None
    chosen = rng.choice(rows, n_points, p=shares)
    near = known["points"][known["neighbours"][chosen]]
    offsets = near - near.mean(axis=1, keepdims=True)
    noise = rng.standard_normal(offsets.shape[:2]) / np.sqrt(offsets.shape[1])
    return known["points"][chosen] + np.einsum("nk,nkd->nd", noise, offsets)


def diffusion(references: Floats, known: Parameters) -> Parameters:
    """Return what the diffusion of any point over the references needs.

    Returns
    -------
    dict
        ``towards``, n_points × n_components, Σ K(xᵣ, y′) y′ / d(r); ``mass``, n_points, Σ K(xᵣ, y′) / d(r).
    """
    towards, mass = np.zeros_like(known["points"]), np.zeros(len(known["points"]))
    for block in _blocks(references):
        near, weights = nearest(block, known)
        np.add.at(towards, near, weights[:, :, None] * block[:, None])
        np.add.at(mass, near, weights)
    return {"towards": towards / known["degrees"][:, None], "mass": mass / known["degrees"]}


def nearest(block: Floats, known: Parameters) -> tuple[Integers, Floats]:
    """Return the k training cells that each point is nearest to and their K(y, xᵣ), n_block × k each."""
    points, k = known["points"], known["neighbours"].shape[1]
    near = np.argpartition(squared_distances(block, points), k - 1, axis=1)[:, :k]
    exact = np.square(block[:, None] - points[near]).sum(axis=2)
    return near, np.exp(-exact / (2 * known["widths"][near] ** 2))


def pulled(block: Floats, known: Parameters) -> tuple[Floats, Integers, Floats]:
    """Return points after one step of the diffusion, and what `nearest` says of them.

    A point so far off that its kernel is 0, or whose neighbours no reference is near to, stays where it is.
    """
    near, weights = nearest(block, known)
    mass = (weights * known["mass"][near]).sum(axis=1)
    means = np.einsum("nk,nkd->nd", weights, known["towards"][near]) * reciprocal(mass)[:, None]
    return np.where(mass[:, None] > 0, means, block), near, weights


def _blocks(points: Floats) -> list[Floats]:
    return [points[start : start + shared.BLOCK] for start in range(0, len(points), shared.BLOCK)]
