"""How far must cells be moved to become the test cells? Sliced Wasserstein-1 distance, ideal 0.

Bonneel et al. 2015 (doi:10.1007/s10851-014-0506-3): the Wasserstein-1 distance of the cells' projections
on a line, averaged over lines in all directions; here 256 of them, the same for every model. So few leave up
to 3 % of Monte-Carlo error; compare no closer than that with numbers over other directions.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Floats
from metrics.by_type import Rows, score_with_types
from metrics.declaration import Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.seeds import derived_seed

DIRECTIONS = 256


def directions(n_dimensions: int, *, seed: int) -> Floats:
    """Draw unit vectors, uniform over the sphere.

    Parameters
    ----------
    n_dimensions
        Number of dimensions of the space.
    seed
        Everything random follows from it.

    Returns
    -------
    numpy.ndarray
        n_dimensions × 256.
    """
    drawn = np.random.default_rng(seed).normal(size=(n_dimensions, DIRECTIONS))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=0))


def sliced_wasserstein(left: Floats, right: Floats, *, along: Floats) -> float:
    """Average the Wasserstein-1 distance of projections.

    Parameters
    ----------
    left, right
        n × n_components and m × n_components.
    along
        n_components × n_directions, unit vectors.

    Returns
    -------
    float
        In units of the components; two samples of one distribution are a little apart, the more the
        fewer cells they have.

    Examples
    --------
    Moved by 3 along the first axis and not along the second:

    >>> import numpy as np
    >>> from metrics.sliced_wasserstein import sliced_wasserstein
    >>> cells = np.array([[0.0, 0.0], [1.0, 5.0]])
    >>> sliced_wasserstein(cells, cells + [3, 0], along=np.eye(2))
    1.5
    """
    from scipy.stats import wasserstein_distance

    pairs = zip((left @ along).T, (right @ along).T, strict=True)
    return float(np.mean([wasserstein_distance(*pair) for pair in pairs]))


def _compute(real: RealEvidence, sample: SampleEvidence) -> Score:
    along = directions(real.pca_scores.shape[1], seed=derived_seed(real.seed, "sliced_wasserstein"))

    def measure(test: Rows, synthetic: Rows) -> dict[str, float]:
        distance = sliced_wasserstein(real.pca_scores[test], sample.pca_scores[synthetic], along=along)
        return {"sliced_wasserstein": distance}

    return score_with_types(real, sample, measure, against_all=True, notes=real.pca_notes)


METRIC = error_metric(
    name="sliced_wasserstein",
    description="Wasserstein-1 distance on the principal components, averaged over 256 directions (± 3 %)",
    compute=_compute,
    reference="doi:10.1007/s10851-014-0506-3",
    cost="256 sorted projections",
    floors=("shuffle",),
    group="coverage",
)
