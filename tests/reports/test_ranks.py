"""Places with intervals: by hand, and how often the true places are within them at three seeds."""

import numpy as np
import pytest

from reports.judge import paired_effect
from reports.ranks import Place, bounds_of, in_words, places, ties_in_words
from tests.reports.run_view import built, make_run_view, score_of
from tests.reports.test_best import finish_scgan


def effects(values, *, aim=0.0):
    """Compare generators by name, each with a value per seed."""
    by_seed = {name: dict(enumerate(of_model)) for name, of_model in values.items()}
    return lambda a, b: paired_effect(by_seed[a], by_seed[b], aim=aim, resolution=1e-9)


def test_places_by_hand():
    values = {
        "a": [0.10, 0.11, 0.12],
        # The same differences in each seed: told apart from everybody but c.
        "b": [0.20, 0.211, 0.221],
        "c": [0.205, 0.205, 0.225],
        "d": [0.90, 0.911, 0.919],
    }
    found = bounds_of(list(values), effects(values))
    assert found["a"] == (1, 1, [])
    assert found["b"] == (2, 3, ["c"])
    assert found["c"] == (2, 3, ["b"])
    assert found["d"] == (4, 4, [])


def test_below_three_seeds_no_place_is_bounded():
    values = {"a": [0.1, 0.2], "b": [0.5, 0.6]}
    assert bounds_of(list(values), effects(values)) == {}
    # Of whom a seed is lost any place is possible; the others keep theirs.
    found = bounds_of("abc", effects(values | {"b": [0.5, 0.6, 0.7], "a": [0.1, 0.2, 0.3], "c": [0.9, 0.9]}))
    assert found == {"a": (1, 2, ["c"]), "b": (2, 3, ["c"]), "c": (1, 3, ["a", "b"])}


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.3])
def test_at_three_seeds_nine_of_ten_tables_hold_every_true_place(spread):
    """Six generators, some equally good; seeds move all alike. Every place of a table must be right."""
    rng = np.random.default_rng(int(spread * 1000))
    means = np.array([0.1, 0.1, 0.1 + spread, 0.1 + spread, 0.1 + 2 * spread, 0.1 + 5 * spread])
    names = list("abcdef")
    held = []
    for _ in range(200):
        drawn = means + rng.normal(0, 0.02, (3, 6)) + rng.normal(0, 0.05, (3, 1)) + 1
        found = bounds_of(names, effects(dict(zip(names, drawn.T, strict=True))))
        # Of equally good ones any order is true: the interval must hold all of it.
        true = [(1 + np.sum(means < mean), np.sum(means <= mean)) for mean in means]
        held.append(
            all(
                found[n][0] <= low and high <= found[n][1] for n, (low, high) in zip(names, true, strict=True)
            )
        )
    assert np.mean(held) >= 0.9


def test_intervals_narrow_where_generators_are_far_apart():
    rng = np.random.default_rng(0)
    drawn = np.arange(4) + rng.normal(0, 0.002, (3, 4))
    found = bounds_of(list("abcd"), effects(dict(zip("abcd", drawn.T, strict=True))))
    assert [found[name][:2] for name in "abcd"] == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_places_of_a_run():
    view = make_run_view()
    finish_scgan(view, [0.80, 0.85, 0.81])
    found = {row.model: row for row in places(built(view)) if row.metric == "mmd"}
    assert found["activa"] == Place("mmd", "activa", 1, 1, 1, [], 2)
    assert found["scgan"] == Place("mmd", "scgan", 2, 2, 2, [], 2)
    # Controls have no place, and cscgan no value.
    assert found.keys() == {"activa", "scgan"}
    assert "mmd: activa is 1st, tied with nobody" in ties_in_words(built(view))
    finish_scgan(view, [0.80, 0.46, 0.81])
    found = {row.model: row for row in places(built(view)) if row.metric == "mmd"}
    assert found["activa"][2:] == (1, 1, 2, ["scgan"], 2)
    assert "mmd: activa is 1st to 2nd, tied with scgan" in ties_in_words(built(view))


def test_one_seed_has_places_without_intervals():
    view = make_run_view(seeds=1)
    found = {row.model: row for row in places(built(view)) if row.metric == "mmd"}
    assert found["activa"][2:] == (1, None, None, None, 2)
    assert in_words(found["scgan"]) == "(2nd)"
    assert "mmd: places by means alone; an interval takes 3 seeds" in ties_in_words(built(view))


def test_who_copies_has_no_place():
    view = make_run_view()
    finish_scgan(view, [0.80, 0.85, 0.81])
    for record in view["records"]:
        if record["job"]["model"] == "activa":
            record["job"]["draws_from"] = "training cells"
    assert [row.metric for row in places(built(view)) if row.model == "activa"] == []
    assert score_of(view, "activa", "mmd")["values"]["mmd"] == 0.40


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(1, 1, "1st"), (2, 5, "2nd to 5th"), (3, 3, "3rd"), (11, 12, "11th to 12th"), (21, 22, "21st to 22nd")],
)
def test_places_in_words(low, high, words):
    assert in_words(Place("mmd", "a", low, low, high, [], 30)) == words
