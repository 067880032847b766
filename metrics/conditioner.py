"""Does a conditioner find a rare type that it has seen few cells of? F1 on held-out real cells, ideal 1.

Heydari et al. 2022 (doi:10.1093/bioinformatics/btac095), section 5.4 and supplement: the classifier that
guides ACTIVA's generator must know the types, also scarce ones, or it guides astray. Theirs is ACTINN (Ma &
Pellegrini 2020, doi:10.1093/bioinformatics/btz592): hidden layers of 100, 50 and 25, ReLU, Adam at 10⁻⁴,
weight decay 0.005. Here scikit-learn's networks of that shape stand for it, and anything else that fits and
predicts can take their place.

Beside it stands the same classifier with a generator's cells of the type added: what `metrics.augmentation`
asks of a forest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np

from metrics.arrays import Strings
from metrics.augmentation import AugmentationSetting
from metrics.declaration import LEAST_CELLS, Score, require_cells, share_metric
from metrics.seeds import derived_seed
from metrics.spaces import Csr
from metrics.synthetic_cells import SyntheticCells

HIDDEN_LAYERS: Final = (100, 50, 25)
EPOCHS: Final = 50


class Classifier(Protocol):
    """What stands in the conditioner's place."""

    def fit(self, cells: Csr, cell_types: Strings) -> Any:
        """Learn from cells × genes, ``log_cp20k``, and their types."""

    def predict(self, cells: Csr) -> Strings:
        """Return the type of each cell."""


def actinn(seed: int) -> Classifier:
    """Return networks of ACTINN's shape, not trained yet."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        HIDDEN_LAYERS,
        learning_rate_init=1e-4,
        alpha=0.005,
        batch_size=128,
        max_iter=EPOCHS,
        # All epochs, like the paper's: no part of the few cells is held back.
        n_iter_no_change=EPOCHS,
        random_state=seed % 2**32,
    )


def conditioner_f1(
    setting: AugmentationSetting, added: Csr | None, *, classifier: Callable[[int], Classifier] = actinn
) -> float:
    """Train a classifier of all types on the few cells, and score the rare type on the held-out ones.

    Parameters
    ----------
    setting
        The cells and the type of the experiment.
    added
        Cells of the type × genes, ``log_cp20k``; None to add none.
    classifier
        Function that takes a seed and returns the classifier to be trained.

    Returns
    -------
    float
        F1 of the rare type against all others.

    Raises
    ------
    NotApplicable
        If fewer than 10 held-out cells are of the type.
    """
    from scipy.sparse import vstack
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import f1_score

    n_held_out = int(setting.is_type_in_test.sum())
    require_cells("conditioner_f1", n_held_out, LEAST_CELLS, of=f"held-out cells of {setting.cell_type}")
    types = np.asarray(setting.train_types, dtype=str)
    cells = setting.log_train if added is None else vstack([setting.log_train, added], format="csr")
    labels = np.append(types, np.repeat(setting.cell_type, 0 if added is None else added.shape[0]))
    network = classifier(derived_seed(setting.seed, "conditioner"))
    with warnings.catch_warnings():
        # It trains for as many epochs as the paper's, whether they suffice or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(cells, labels)
    called = network.predict(setting.log_test) == setting.cell_type
    return float(f1_score(setting.is_type_in_test, called, zero_division=0))


@lru_cache(maxsize=1)
def _alone(setting: AugmentationSetting) -> float:
    """Return what the conditioner reaches on the real cells alone: once for all generators of a setting."""
    return conditioner_f1(setting, None)


def _compute(setting: AugmentationSetting, sample: SyntheticCells) -> Score:
    alone = _alone(setting)
    values = {"conditioner_f1": conditioner_f1(setting, sample.cells), "conditioner_f1_alone": alone}
    return Score(values=values, notes=list(sample.notes))


METRIC = share_metric(
    name="conditioner_f1",
    description="F1 on held-out cells of a rare type: networks that learn from few real and added cells",
    compute=_compute,
    reference="doi:10.1093/bioinformatics/btac095",
    cost="a retrained generator, and networks trained twice",
    experiment="augmentation",
    needs_types=True,
    protocols=("strict",),
    group="use",
)
