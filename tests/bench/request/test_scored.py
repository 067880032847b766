import numpy as np
import pandas as pd
import pytest

from bench.request import scored
from bench.request.scored import scored_rows, told_of_scored


@pytest.fixture
def obs():
    """Sixty cells to train on, thirty test cells, ten for validation."""
    return pd.DataFrame({"split": np.repeat(["train", "test", "valid"], [60, 30, 10])})


def test_scores_look_at_all_cells_of_a_small_data_set(obs):
    np.testing.assert_array_equal(scored_rows(obs), np.arange(100) < 90)
    assert told_of_scored(obs) == []


def test_scores_look_at_the_same_sample_of_a_large_one_each_time_and_say_so(obs, monkeypatch):
    monkeypatch.setattr(scored, "MOST_SCORED", {"train": 20, "test": 30})
    rows = scored_rows(obs)
    assert obs["split"][rows].value_counts().to_dict() == {"train": 20, "test": 30}
    np.testing.assert_array_equal(rows, scored_rows(obs))
    # From all over, not the first ones.
    assert np.flatnonzero(rows[:60]).max() > 40
    assert told_of_scored(obs) == ["scores look at 20 of the 60 train cells, drawn at random"]
    monkeypatch.setattr(scored, "MOST_SCORED", {"train": 20, "test": 3})
    assert told_of_scored(obs) == [
        "scores look at 20 of the 60 train cells and 3 of the 30 test cells, drawn at random"
    ]
