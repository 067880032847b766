from bench.request.choices import choose_models
from bench.request.groups import expanded
from bench.request.spec import RunSpec
from models.cheats import SUITE


def test_a_group_stands_for_its_models_and_each_comes_once():
    assert expanded(["activa", "mean_cell", "cheats", "scgan", "memorise"]) == [
        "activa",
        "mean_cell",
        *(name for name in SUITE if name != "mean_cell"),
        "scgan",
    ]
    assert expanded([]) == []


def test_the_cheats_run_beside_the_controls_that_are_none_of_them():
    choices = choose_models(RunSpec.checked(models=("cheats",)))
    names = [choice.name for choice in choices]
    assert names[:12] == list(SUITE)
    assert sorted(names) == sorted(set(names))
    assert {"real", "null", "shuffle", "shuffle_within_type", "nb_copula"} < set(names)
    roles = {choice.name: choice.generator.role for choice in choices}
    assert {name for name in SUITE if roles[name] != "cheat"} == {"poisson"}
