import dataclasses
from importlib.metadata import version

import pandas as pd
import pytest

from bench.errors import RequestError
from bench.request.choices import choose_metrics, choose_models, metrics_of
from bench.request.plan import DatasetFacts, Experiment, _versions_behind, donor_experiments, make_plan
from bench.request.registry import MODELS, plugins, resolve_model
from bench.request.seeds import derive
from bench.request.spec import RunSpec
from tests.places import THROWAWAY

FILE = THROWAWAY


@pytest.fixture
def facts():
    types = pd.Series(["common"] * 240 + ["rare"] * 60)
    return DatasetFacts(
        "tiny", "d41d8cd98f", types, n_genes=40, n_test=75, n_pool=90, augmentation_type="common"
    )


def plan(facts, *, with_augmentation=False, **request):
    spec = RunSpec.checked(models=(f"{FILE}:Mean",), **request)
    choices = [choice for choice in choose_models(spec) if choice.name == "mean"]
    return make_plan(spec, facts, choices, device="cpu", with_augmentation=with_augmentation, settled={})


def test_baselines_and_controls_run_beside_what_was_asked_for():
    names = [choice.name for choice in choose_models(RunSpec.checked(models=(f"{FILE}:Mean",)))]
    assert names[:4] == ["mean", "poisson_factors", "nb_copula", "knn_poisson"]
    assert names[4:] == ["real", "shuffle", "shuffle_within_type", "poisson", "memorise", "null"]


def test_all_models_are_what_is_installed_and_needs_no_configuration():
    def named(*models, **request):
        return [choice.name for choice in choose_models(RunSpec.checked(models=models, **request))]

    every = named("all")
    roles = [resolve_model(name).generator.role for name in every]
    n_models, n_baselines = roles.count("model"), roles.count("baseline")
    assert set(roles[:n_models]) == {"model"}
    assert set(roles[n_models : n_models + n_baselines]) == {"baseline"}
    assert {"activa", "scgan", "nb_copula", "splatter", "symsim", "spsimseq", "simseq"} <= set(every)
    assert {"polyester", "thinning", "sugar", "real", "null"} <= set(every)
    known = [resolve_model(name).generator for name in plugins(MODELS)]
    assert len(set(every)) == len(every)
    assert set(every) >= {found.name for found in known if found.role in ("model", "baseline")} - {"external"}
    assert "external" not in every
    assert "external" in named("all", settings={"external": {"config": "mine.toml"}})
    with pytest.raises(RequestError, match="--models all,activa: give all alone, or names"):
        named("all", "activa")


def test_all_metrics_are_those_that_exist_under_the_protocols():
    def named(*names, profile="quick", protocol="strict"):
        return {metric.name for metric in choose_metrics(names, profile, [protocol])}

    every = named("all")
    assert named() < every == named(profile="paper")
    assert {"rf_auc", "rf_auc_by_type", "augmentation_f1"} <= every
    assert "augmentation_f1" not in named("all", protocol="strict+observed")
    with pytest.raises(RequestError, match="--metrics all,mmd: give all alone, or names"):
        named("all", "mmd")


def test_one_job_for_each_seed(facts):
    jobs = plan(facts, seeds=(0, 3), sample_seeds=(0, 1))
    assert [(job.seed, job.sample_seeds) for job in jobs] == [(0, (0, 1)), (3, (0, 1))]
    assert len({job.key for job in jobs}) == 2


def test_cells_a_side_are_the_test_split_unless_told(facts):
    assert plan(facts)[0].n_cells == 75
    assert plan(facts, cells=40)[0].n_cells == 40
    with pytest.raises(RequestError, match="--cells 80: the test split of tiny has 75 cells"):
        plan(facts, cells=80)
    few = dataclasses.replace(facts, n_pool=30)
    assert plan(few)[0].n_cells == 30
    with pytest.raises(RequestError, match="--cells 40: the pool of the controls of tiny has 30 cells"):
        plan(few, cells=40)


def test_the_plan_keeps_what_the_split_keeps(facts):
    from datasets.splits import keep_fraction

    # 192 × 5 % is 9.6: nine cells, too few for `quick`, which then takes 10 %.
    few = dataclasses.replace(facts, train_types=pd.Series(["common"] * 192 + ["rare"] * 60))
    (_, job) = plan(few, with_augmentation=True)
    assert (job.experiment.fraction, job.experiment.kept_cells) == (0.1, 19)
    kept = keep_fraction(few.train_types, cell_type="common", fraction=0.1, seed=0)
    assert (few.train_types.iloc[kept] == "common").sum() == 19


def test_a_type_too_small_for_the_experiment_has_none(facts):
    few = dataclasses.replace(facts, train_types=pd.Series(["common"] * 90 + ["rare"] * 60))
    assert len(plan(few, with_augmentation=True, profile="quick")) == 1


def test_quick_keeps_the_smallest_fraction_that_leaves_ten_cells(facts):
    # 240 cells of the type: 10 % are 24, 5 % are 12, 1 % are 2.
    (_, job) = plan(facts, with_augmentation=True, profile="quick")
    assert job.experiment == Experiment(
        kind="augmentation",
        cell_type="common",
        fraction=0.05,
        subsample_seed=0,
        kept_cells=12,
        added_cells=300,
    )
    assert (job.n_cells, job.timing_cells) == (300, 0)


def test_paper_runs_every_fraction_with_five_seeds(facts):
    jobs = plan(facts, with_augmentation=True, profile="paper")
    experiments = [job.experiment for job in jobs if job.experiment.kind == "augmentation"]
    assert [(e.fraction, e.subsample_seed) for e in experiments] == [
        (fraction, seed) for fraction in (0.1, 0.05, 0.01, 0.005) for seed in range(5)
    ]


def test_the_key_follows_whatever_may_change_the_outcome(facts):
    base = plan(facts)[0]
    changed = [
        plan(facts, budget={"mean": "7steps"})[0],
        plan(facts, settings={"mean": {"scale": 2.0}})[0],
        plan(facts, seeds=(1,))[0],
        plan(facts, sample_seeds=(1,))[0],
        plan(facts, cells=20)[0],
        base.model_copy(update={"source_hash": "0"}),
        base.model_copy(update={"threads": base.threads + 1}),
    ]
    assert len({base.key, *(job.key for job in changed)}) == len(changed) + 1
    assert plan(facts, timeout=5.0)[0].key == base.key


def test_budgets_come_from_the_request_or_the_profile(facts):
    assert plan(facts)[0].budget == "5 steps"
    assert plan(facts, profile="paper")[0].budget == "50 steps"
    assert plan(facts, budget={"*": "2epochs"})[0].budget == "2 epochs"
    assert plan(facts, budget={"*": "2epochs", "mean": "15min"})[0].budget == "900s"


def test_settings_of_a_model_that_does_not_run_are_refused(facts):
    with pytest.raises(RequestError, match="--set scgan: no such model in this run"):
        plan(facts, settings={"scgan": {"critic_steps": 5}})
    with pytest.raises(RequestError, match="--budget scgan: no such model in this run"):
        plan(facts, budget={"scgan": "5steps"})


def test_branches_of_the_seed_tree_differ():
    seeds = {
        derive(0, "fit"),
        derive(0, "sample", 0),
        derive(0, "sample", 1),
        derive(1, "fit"),
        derive(0, "timing"),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive(0, "fit") == derive(0, "fit")


def test_the_key_holds_the_versions_of_the_libraries_that_compute(facts, monkeypatch):
    (job,) = plan(facts)
    assert job.versions == {"numpy": version("numpy"), "scipy": version("scipy")}
    monkeypatch.setattr(
        "bench.request.plan.library_versions", lambda: {"numpy": "9.9", "scipy": version("scipy")}
    )
    assert plan(facts)[0].key != job.key


def test_the_framework_of_a_plug_in_counts_whatever_it_is():
    assert _versions_behind("pytorch")["torch"] == version("torch")
    assert _versions_behind("rich")["rich"] == version("rich")
    assert _versions_behind("no such framework") == _versions_behind("numpy")


@pytest.mark.parametrize("name", ["mine", "real"])
def test_a_program_that_is_driven_goes_by_its_own_name(facts, tmp_path, name):
    config = tmp_path / "program.toml"
    config.write_text(f'[program]\nname = "{name}"\nspace = "counts"\nfit = "true"\nsample = "true"\n')
    spec = RunSpec.checked(models=("external",), settings={"external": {"config": str(config)}})
    choices = [choice for choice in choose_models(spec) if choice.name in ("external", "real")]
    if name == "real":
        with pytest.raises(RequestError, match="'external' calls itself 'real', as another generator"):
            make_plan(spec, facts, choices, device="cpu", with_augmentation=False, settled={})
        return
    jobs = make_plan(spec, facts, choices, device="cpu", with_augmentation=False, settled={})
    assert [(job.model, job.reference) for job in jobs] == [("mine", "external"), ("real", "real")]


def test_a_plan_says_who_is_made_of_training_cells_without_another_key(facts):
    spec = RunSpec.checked(models=(f"{FILE}:Mean",))
    jobs = make_plan(spec, facts, choose_models(spec), device="cpu", with_augmentation=False, settled={})
    assert {job.model for job in jobs if job.draws_from != "model"} == {"knn_poisson"}
    assert jobs[0].key == jobs[0].model_copy(update={"draws_from": "training cells"}).key


def with_donors(facts, sizes):
    donors = [name for name, size in sizes.items() for _ in range(size)]
    return dataclasses.replace(facts, pool_donors=donors)


def test_donors_are_parted_into_trained_left_out_and_known_five_times(facts):
    kang = with_donors(facts, {f"d{number}": 300 + number for number in range(8)})
    found = donor_experiments(kang)
    assert [one.subsample_seed for one in found] == [0, 1, 2, 3, 4]
    for one in found:
        groups = (one.trained_donors, one.left_out_donors, one.reference_donors)
        assert [len(group) for group in groups] == [3, 3, 2]
        assert sorted(name for group in groups for name in group) == [f"d{number}" for number in range(8)]
    assert len({one.trained_donors for one in found}) > 1
    # As many as the poorest of the splits has, and the same number in all.
    fewest = min(sum(300 + int(name[1:]) for name in one.trained_donors) for one in found)
    assert {one.added_cells for one in found} == {fewest}


def test_donors_come_with_generators_that_learn_from_cells_and_not_with_real_ones(facts):
    spec = RunSpec.checked(models=(f"{FILE}:Mean",), donor_key="donor")
    choices = [
        choice for choice in choose_models(spec) if choice.name in ("mean", "real", "null", "memorise")
    ]
    jobs = make_plan(
        spec,
        with_donors(facts, {f"d{number}": 100 for number in range(6)}),
        choices,
        device="cpu",
        with_augmentation=False,
        with_donors=True,
        settled={},
    )
    kinds = [(job.model, job.experiment.kind) for job in jobs]
    assert kinds.count(("mean", "donors")) == kinds.count(("memorise", "donors")) == 5
    assert ("real", "donors") not in kinds
    assert ("null", "donors") not in kinds
    attack = next(job for job in jobs if job.experiment.kind == "donors")
    assert (attack.title, attack.timing_cells, attack.n_cells) == ("mean · donors, split 0", 0, 200)


def test_too_few_donors_are_refused(facts):
    with pytest.raises(RequestError, match="tiny has 4 donors, 5 are needed"):
        donor_experiments(with_donors(facts, dict.fromkeys("abcd", 50)))


def test_experiments_without_donors_are_written_as_before_there_were_any():
    assert Experiment().model_dump() == {
        "kind": "main",
        "cell_type": None,
        "fraction": None,
        "subsample_seed": None,
        "kept_cells": None,
        "added_cells": None,
    }
    donors = Experiment(kind="donors", trained_donors=("a",), left_out_donors=("b",), reference_donors=("c",))
    assert Experiment(**donors.model_dump(mode="json")) == donors


def test_attacks_on_donors_are_asked_for_by_their_column():
    def names(**request):
        return [metric.name for metric in metrics_of(RunSpec.checked(**request))]

    assert "donor_attack" not in names()
    assert "donor_attack" not in names(metrics="all")
    assert names(donor_key="donor")[-1] == "donor_attack"
    assert names(donor_key="donor", metrics=("mmd",)) == ["mmd", "donor_attack"]
    assert names(donor_key="donor", metrics=("donor_attack",)) == ["donor_attack"]
    with pytest.raises(RequestError, match="donor_attack: name the column of donors with --donor-key"):
        names(metrics=("donor_attack",))
    with pytest.raises(RequestError, match="--donor-key donor: no attack is defined under cfgen2026"):
        names(donor_key="donor", metrics=("mmd",), protocol=("cfgen2026",))
