"""Can a classifier of cell types learn from synthetic cells? Macro-F1 on real test cells.

Train on synthetic, test on real: Esteban et al. 2017 (doi:10.48550/arXiv.1706.02633). The classifier is
of the kind that calls types for the other metrics: logistic regression on principal components.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Floats, Strings
from metrics.declaration import LEAST_CELLS, NotApplicable, Score, share_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.resampling import bootstrap_weights, shifted_percentile_interval
from metrics.seeds import derived_seed
from metrics.type_classifier import TypeClassifier


def f1_by_type(truth: Strings, called: Strings, names: Strings, weights: Floats | None = None) -> Floats:
    """Compute F1 of each type against the rest: 2 TP / (2 TP + FP + FN), 0 without any.

    Parameters
    ----------
    truth, called
        Label of each of n cells.
    names
        Names of the K cell types.
    weights
        … × n, how often each cell counts; None: once.

    Returns
    -------
    ndarray
        … × K.
    """
    is_type, is_called = (labels[:, None] == names for labels in (truth, called))
    each = np.ones(truth.size) if weights is None else weights
    right = each @ (is_type & is_called)
    total = each @ is_type + each @ is_called
    return np.divide(2 * right, total, out=np.zeros_like(total), where=total > 0)


def learn_and_call(points: Floats, types: Strings, test_points: Floats) -> Strings:
    """Train the classifier on some cells and call the types of others; one type alone is called always.

    Parameters
    ----------
    points, types
        Cells × components to learn from, and their labels.
    test_points
        Cells × components to call.
    """
    if np.unique(types).size == 1:
        return np.full(len(test_points), types[0])
    return TypeClassifier.fit(points, types).call(test_points)


def labels_to_learn(sample: SampleEvidence, train_types: Strings) -> tuple[Strings, str]:
    """Return the labels of the synthetic cells, and a note that says whose they are.

    Parameters
    ----------
    sample
        Synthetic cells; their own cell types are taken if any of these is a type of real cells.
    train_types
        Label of each training cell.
    """
    if sample.cell_types is None:
        reason = "synthetic cells carry no types"
    elif not np.isin(sample.cell_types, train_types).any():
        reason = "no type of the synthetic cells is a real one"
    else:
        return sample.cell_types, "synthetic cells labelled by their generator"
    return sample.calls, f"{reason}: labelled by the classifier of real cells"


def train_on_synthetic(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Train a classifier on synthetic cells and score it on the test cells, beside one trained on real cells.

    Returns
    -------
    Score
        ``tstr_f1``, mean F1 over the types with at least 10 test cells; ``trtr_f1``, the same trained on as
        many real training cells, none of which a control may draw: for the control ``null`` such cells stand
        as test cells; ``tstr_ratio`` of both. Interval over the test cells.

    Raises
    ------
    NotApplicable
        With fewer than two types of 10 test cells.
    """
    if real.train_types is None or real.test_types is None:
        raise NotApplicable("the real cells carry no cell types")
    all_names, n_test = np.unique(real.test_types, return_counts=True)
    names = all_names[n_test >= LEAST_CELLS]
    if names.size < 2:
        raise NotApplicable(f"{names.size} types of {LEAST_CELLS} test cells; telling apart needs two")
    labels, note = labels_to_learn(sample, real.train_types)
    called = learn_and_call(sample.pca_scores, labels, real.pca_scores)
    f1 = f1_by_type(real.test_types, called, names)

    rng = np.random.default_rng(derived_seed(real.seed, "train on real"))
    candidates = np.flatnonzero(~real.control_pool)
    rows = rng.choice(candidates, min(real.n_cells, candidates.size), replace=False)
    reference = learn_and_call(real.train_pca_scores[rows], real.train_types[rows], real.pca_scores)
    real_f1 = f1_by_type(real.test_types, reference, names)

    order = np.lexsort((called, real.test_types))
    weights = bootstrap_weights(real.n_cells, seed=derived_seed(real.seed, "tstr_f1"))
    resampled = f1_by_type(real.test_types[order], called[order], names, weights).mean(axis=1)
    score, best = float(f1.mean()), float(real_f1.mean())
    left_out = [
        f"left out {name}: fewer than {LEAST_CELLS} test cells" for name in np.setdiff1d(all_names, names)
    ]
    return Score(
        {"tstr_f1": score, "trtr_f1": best, "tstr_ratio": score / best if best else 0.0},
        {
            "by_type": {
                name: {"tstr_f1": float(synthetic), "trtr_f1": float(real)}
                for name, synthetic, real in zip(names.tolist(), f1, real_f1, strict=True)
            }
        },
        [*sample.notes, *real.pca_notes, note, *left_out],
        interval=shifted_percentile_interval(resampled, observed=score),
    )


METRIC = share_metric(
    name="tstr_f1",
    description="macro-F1 on test cells of a classifier of cell types that was trained on synthetic cells",
    compute=train_on_synthetic,
    reference="doi:10.48550/arXiv.1706.02633",
    cost="two logistic regressions on 50 components",
    # Genes drawn independently teach nothing about types.
    floors=("shuffle",),
    needs_types=True,
    group="use",
)
