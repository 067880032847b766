import inspect

import pytest

import datasets
from bench.commands.options import READING
from bench.errors import RequestError
from bench.request.spec import (
    RunSpec,
    parse_budgets,
    parse_bytes,
    parse_duration,
    parse_seeds,
    parse_settings,
    read_config,
)
from models.base import Budget


def test_budgets_for_one_and_for_all():
    assert parse_budgets("activa=40epochs, scgan=2000steps") == {"activa": "40epochs", "scgan": "2000steps"}
    assert parse_budgets("15min") == {"*": "15min"}


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("200steps", 200, "steps"),
        ("40 epochs", 40, "epochs"),
        ("15min", 900, "seconds"),
        ("1.5h", 5400, "seconds"),
    ],
)
def test_budget_amounts_and_units(text, amount, unit):
    assert Budget.parse(text) == Budget(amount, unit)
    assert Budget.parse(str(Budget.parse(text))) == Budget(amount, unit)


@pytest.mark.parametrize("text", ["", "12", "epochs", "-3steps", "0steps", "10 minutes"])
def test_what_is_no_budget(text):
    with pytest.raises(ValueError, match="is not like 200steps"):
        Budget.parse(text)


def test_steps_of_a_budget():
    assert Budget(3, "epochs").total_steps(7) == 21
    assert Budget(3, "steps").total_steps(7) == 3
    assert Budget(3, "seconds").total_steps(7) is None


def test_settings_by_model():
    parsed = parse_settings(["activa.objective=release", "activa.latent_dim=64", "scgan.critic_steps=5"])
    assert parsed == {
        "activa": {"objective": "release", "latent_dim": "64"},
        "scgan": {"critic_steps": "5"},
    }


def test_every_way_of_reading_data_is_an_option_of_a_run():
    options = set(inspect.signature(datasets.prepare).parameters)
    apart = {"source", "registry", "validation_share", "cache_folder", "memory", "progress"}
    spec = RunSpec.checked(layer="raw", gene_names="symbol", genome="mm10", split_from="part")
    assert set(spec.data_options) == set(READING) == options - apart
    assert spec.data_options["layer"] == "raw" and spec.data_options["drop_unlabelled"] is False


def test_every_metric_is_one_word_or_a_list_of_it(tmp_path):
    (tmp_path / "study.toml").write_text('metrics = "all"\n')
    for options in ({"metrics": "all"}, {"metrics": ("all",)}, read_config(tmp_path / "study.toml")):
        assert RunSpec.checked(**options).metrics == ("all",)
    with pytest.raises(RequestError, match="--metrics 'mmd': Input should be a valid tuple"):
        RunSpec.checked(metrics="mmd")


def test_seeds_and_durations():
    assert parse_seeds("seeds", "0,2,5-7") == [0, 2, 5, 6, 7]
    assert [parse_duration("timeout", text) for text in ("90", "90s", "15min", "2h")] == [90, 90, 900, 7200]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse_settings(["objective=release"]), "--set 'objective=release' is not MODEL.NAME=VALUE"),
        (lambda: parse_seeds("seeds", "1,x"), "--seeds '1,x': give whole numbers"),
        (lambda: parse_duration("metric-timeout", "soon"), "--metric-timeout 'soon' is not like"),
        (lambda: parse_duration("timeout", "5epochs"), "--timeout '5epochs' is not like"),
        (
            lambda: RunSpec.checked(profile="fast"),
            "--profile 'fast': Input should be 'smoke', 'quick' or 'paper'",
        ),
        (lambda: RunSpec.checked(budget={"*": "long"}), "--budget .*'long' is not like 200steps"),
        (lambda: RunSpec.checked(seeds=(1, 1)), "--seeds .*names something twice"),
        (lambda: RunSpec.checked(seeds=(-1,)), "--seeds .*from 0 on"),
        (lambda: RunSpec.checked(cells=3), "--cells 3: "),
        (lambda: RunSpec.checked(colour="red"), "unknown option 'colour': choose from models, dataset"),
        (lambda: parse_budgets("activa=10s,activa=20s"), "names 'activa' twice"),
        (lambda: parse_budgets(" , "), "names nothing"),
    ],
)
def test_wrong_requests_name_option_value_and_remedy(call, message):
    with pytest.raises(RequestError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_config_file_holds_a_whole_request(tmp_path):
    file = tmp_path / "run.toml"
    text = 'models = ["activa"]\nseeds = [0, 1]\nbudget = "15min"\n[settings.activa]\nobjective = "release"\n'
    file.write_text(text)
    spec = RunSpec.checked(**read_config(file))
    assert spec.models == ("activa",)
    assert spec.seeds == (0, 1)
    assert spec.settings == {"activa": {"objective": "release"}}
    assert spec.budget == {"*": "15min"}


def test_a_config_file_that_is_none(tmp_path):
    (tmp_path / "broken.toml").write_text("models = [")
    with pytest.raises(RequestError, match="is not TOML"):
        read_config(tmp_path / "broken.toml")
    with pytest.raises(RequestError, match="no such file"):
        read_config(tmp_path / "absent.toml")


def test_a_wrong_name_in_a_list_is_shown_as_it_was_typed():
    with pytest.raises(RequestError, match=r"^--protocol 'strict,strikt': protocol 'strikt' is unknown"):
        RunSpec.checked(protocol=("strict", "strikt"))


@pytest.mark.parametrize(
    ("budget", "shown"), [("0s", "--budget '0s': budget"), ("activa=0s", "--budget 'activa=0s': budget")]
)
def test_a_wrong_budget_is_shown_as_it_was_typed(budget, shown):
    with pytest.raises(RequestError, match=f"^{shown}"):
        RunSpec.checked(budget=budget)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("4GB", 4 * 10**9), ("1.5gib", 3 * 2**29), ("500 MB", 5 * 10**8), ("10kB", 10_000), ("1000000", 10**6)],
)
def test_a_size_is_read_however_it_is_spelt(text, n_bytes):
    assert parse_bytes("memory", text) == n_bytes == RunSpec.checked(memory=text).memory
    assert RunSpec.checked(memory=n_bytes).memory == n_bytes


@pytest.mark.parametrize("text", ["0GB", "", "four", "-1GB", "4PB", "4G B x"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(RequestError, match=f"--memory {text!r} is no size above 0, such as 4GB"):
        RunSpec.checked(memory=text)
