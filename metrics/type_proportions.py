"""Are all cell types there, in the right shares? Total-variation distance of type proportions, ideal 0.

Test and synthetic cells are both typed by a classifier trained on real cells, never by the generator:
what the classifier gets wrong, it gets wrong on either side.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Floats
from metrics.declaration import LEAST_CELLS, NotApplicable, Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.resampling import bootstrap_weights, shifted_percentile_interval
from metrics.seeds import derived_seed


def total_variation(proportions: Floats, others: Floats) -> Floats | np.float64:
    """Half the summed absolute difference of proportions: the share of cells that would have to change type.

    Parameters
    ----------
    proportions, others
        … × K, each row sums to 1; rows broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from metrics.type_proportions import total_variation
    >>> float(total_variation(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25])))
    0.25
    """
    return np.abs(proportions - others).sum(axis=-1) / 2


def type_proportions(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Compare how often the classifier calls each type among test and among synthetic cells.

    Returns
    -------
    Score
        ``type_tv``; ``lost_types``, how many types it calls among at least 10 of the test cells but never
        among the synthetic ones. Details: both proportions by type, the lost types, and the classifier's
        accuracy on the test cells.

    Raises
    ------
    NotApplicable
        If there is no classifier, or the test cells are all called one type.
    """
    names, codes = np.unique(np.concatenate([real.test_calls, sample.calls]), return_inverse=True)
    in_test = np.bincount(codes[: real.n_cells], minlength=names.size)
    in_synthetic = np.bincount(codes[real.n_cells :], minlength=names.size)
    if np.sum(in_test > 0) < 2:
        raise NotApplicable(f"all test cells are called {names[in_test.argmax()]}")
    found = in_synthetic / in_synthetic.sum()
    is_lost = (in_test >= LEAST_CELLS) & (in_synthetic == 0)
    lost = [f"{names[i]} ({in_test[i]} test cells)" for i in np.flatnonzero(is_lost)]

    ascending = np.sort(codes[: real.n_cells])
    weights = bootstrap_weights(real.n_cells, seed=derived_seed(real.seed, "type_tv"))
    resampled = weights @ np.eye(names.size)[ascending] / real.n_cells
    distance = float(total_variation(in_test / real.n_cells, found))
    low, high = shifted_percentile_interval(total_variation(resampled, found), observed=distance)
    return Score(
        {"type_tv": distance, "lost_types": float(is_lost.sum())},
        {
            "test_proportions": dict(zip(names.tolist(), (in_test / real.n_cells).tolist(), strict=True)),
            "synthetic_proportions": dict(zip(names.tolist(), found.tolist(), strict=True)),
            "lost_types": names[is_lost].tolist(),
            "classifier_accuracy": float(np.mean(real.test_calls == real.test_types)),
        },
        [*sample.notes, *([f"lost types: {', '.join(lost)}"] if lost else [])],
        interval=(max(0.0, low), min(1.0, high)),
    )


METRIC = error_metric(
    name="type_tv",
    description="total-variation distance of the proportions of cell types, called by one classifier",
    compute=type_proportions,
    bounds=(0.0, 1.0),
    reference="doi:10.1186/s13059-023-02904-1",
    cost="one logistic regression of real cells, shared by all models",
    # Genes drawn independently make cells of no type.
    floors=("shuffle",),
    needs_types=True,
    group="coverage",
)
