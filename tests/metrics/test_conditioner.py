"""A conditioner on a rare type: F1 by hand, the networks' shape, what added cells change."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from metrics.augmentation import AugmentationSetting
from metrics.conditioner import METRIC, actinn, conditioner_f1
from metrics.declaration import NotApplicable
from metrics.evidence import SyntheticCells
from metrics.spaces import to_log_cp20k

N_GENES = 30


def counts(rng, n_cells, high):
    rates = np.full((n_cells, N_GENES), 2.0)
    rates[:, high] = 12.0
    return rng.poisson(rates)


def setting(*, kept: int, held_out: int = 20) -> AugmentationSetting:
    rng = np.random.default_rng(0)
    rare, common = slice(0, 5), slice(10, 15)
    return AugmentationSetting(
        train_counts=np.vstack([counts(rng, kept, rare), counts(rng, 600, common)]),
        train_types=["rare"] * kept + ["common"] * 600,
        test_counts=np.vstack([counts(rng, held_out, rare), counts(rng, 80, common)]),
        test_types=["rare"] * held_out + ["common"] * 80,
        cell_type="rare",
        seed=3,
    )


class Calls:
    """A classifier that keeps what it learnt from, and calls every second held-out cell rare."""

    def __init__(self, seed):
        self.seed = seed

    def fit(self, cells, cell_types):
        self.shape, self.types = cells.shape, cell_types

    def predict(self, cells):
        assert cells.shape == (100, N_GENES)
        return np.where(np.arange(100) % 2 == 0, "rare", "common")


def test_f1_by_hand_of_any_classifier():
    made = []

    def classifier(seed):
        made.append(Calls(seed))
        return made[-1]

    added = to_log_cp20k(counts(np.random.default_rng(1), 50, slice(0, 5)), space="counts")
    found = conditioner_f1(setting(kept=12), added, classifier=classifier)
    # Of 20 rare cells 10 are called, and 40 of the 80 others: precision .2, recall .5.
    assert found == pytest.approx(2 * 0.2 * 0.5 / 0.7)
    assert made[0].shape == (12 + 600 + 50, N_GENES)
    assert (made[0].types == "rare").sum() == 62
    conditioner_f1(setting(kept=12), None, classifier=classifier)
    assert made[1].shape == (612, N_GENES)
    assert made[0].seed == made[1].seed


def test_the_networks_have_the_shape_of_actinn():
    network = actinn(0)
    network.set_params(max_iter=1)
    task = setting(kept=12)
    with pytest.warns(ConvergenceWarning):
        network.fit(task.log_train, task.train_types)
    assert [weights.shape for weights in network.coefs_] == [(30, 100), (100, 50), (50, 25), (25, 1)]
    assert (network.alpha, network.learning_rate_init, network.activation) == (0.005, 1e-4, "relu")


def test_added_cells_of_the_type_help_and_the_real_ones_alone_stand_beside():
    task = setting(kept=2)
    cells = counts(np.random.default_rng(2), 400, slice(0, 5))
    score = METRIC.compute(task, SyntheticCells(cells, space="counts"))
    assert score.headline > 0.9
    assert score.values["conditioner_f1_alone"] == conditioner_f1(task, None)
    assert score.values["conditioner_f1_alone"] < 0.2


def test_too_few_held_out_cells_have_no_number():
    with pytest.raises(NotApplicable, match="9 held-out cells of rare"):
        conditioner_f1(setting(kept=12, held_out=9), None)
