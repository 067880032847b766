"""Is any cell type lost, or nearly? Share of the type that comes off worst, over its test share, ideal 1.

To count the modes that a classifier finds again is how mode collapse is told of images (Srivastava et al.
2017, doi:10.48550/arXiv.1705.07761). A count is rescued by one cell that is called wrongly, a share is not.
Where the classifier takes types for one another, their shares say little: only types that it recognises are
looked at. Those of rare types vary by chance, and the least of several more so: real cells stay below 1.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Floats
from metrics.declaration import LEAST_CELLS, NotApplicable, Score, share_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.resampling import bootstrap_weights, shifted_percentile_interval
from metrics.seeds import derived_seed
from metrics.train_on_synthetic import f1_by_type

RECOGNISED = 0.8
"""F1 on the training cells from which on the classifier recognises a type."""


def countable_types(real: RealEvidence) -> tuple[list[str], list[str]]:
    """Find the types whose share tells something: recognised, and of at least 10 test cells.

    Parameters
    ----------
    real
        Real cells whose called types are counted.

    Returns
    -------
    names
        The types.
    notes
        A line for each type that is left out.

    Raises
    ------
    NotApplicable
        If there is no classifier.
    """
    classifier = real.type_classifier
    called = classifier.call(real.train_pca_scores)
    f1 = f1_by_type(np.asarray(real.train_types), called, classifier.names)
    names, notes = [], []
    for name, recognised in zip(classifier.names.tolist(), f1, strict=True):
        n_test = int(np.sum(real.test_calls == name))
        if recognised < RECOGNISED:
            notes.append(f"left out {name}: taken for other types (F1 {recognised:.2f})")
        elif n_test < LEAST_CELLS:
            notes.append(f"left out {name}: {n_test} test cells")
        else:
            names.append(name)
    return names, notes


def least_share(in_test: Floats, in_synthetic: Floats) -> Floats:
    """Return the smallest ratio of synthetic to test share over types, at most 1.

    Parameters
    ----------
    in_test, in_synthetic
        … × K shares of cells; rows broadcast. A type without test cells counts as 1.
    """
    ratios = np.ones(np.broadcast_shapes(in_test.shape, in_synthetic.shape))
    np.divide(in_synthetic, in_test, out=ratios, where=in_test > 0)
    return np.asarray(np.minimum(ratios, 1.0).min(axis=-1))


def scarcest_type(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Compare how often the classifier calls each type among synthetic and among test cells.

    Returns
    -------
    Score
        ``scarcest_type``, with an interval over the test cells. Details: the ratio of shares by type, above 1
        where there are too many.

    Raises
    ------
    NotApplicable
        If there is no classifier, or it recognises no type of at least 10 test cells.
    """
    names, notes = countable_types(real)
    if not names:
        raise NotApplicable(f"no type can be counted: {'; '.join(notes)}")
    is_test, is_synthetic = (calls[:, None] == np.array(names) for calls in (real.test_calls, sample.calls))
    in_test, in_synthetic = is_test.mean(axis=0), is_synthetic.mean(axis=0)
    found = float(least_share(in_test, in_synthetic))
    ratios = in_synthetic / in_test

    order = np.argsort(real.test_calls, kind="stable")
    weights = bootstrap_weights(real.n_cells, seed=derived_seed(real.seed, "scarcest_type"))
    resampled = least_share(weights @ is_test[order] / real.n_cells, in_synthetic)
    low, high = shifted_percentile_interval(resampled, observed=found)
    return Score(
        {"scarcest_type": found},
        {"by_type": {name: {"ratio": float(ratio)} for name, ratio in zip(names, ratios, strict=True)}},
        [*sample.notes, *real.pca_notes, *notes],
        interval=(max(0.0, low), min(1.0, high)),
    )


METRIC = share_metric(
    name="scarcest_type",
    description="synthetic over test share of the cell type that comes off worst, called by one classifier",
    compute=scarcest_type,
    reference="doi:10.48550/arXiv.1705.07761",
    cost="one logistic regression of real cells, shared by all models",
    # Genes drawn independently make cells of no type.
    floors=("shuffle",),
    needs_types=True,
    group="coverage",
    default=True,
)
