"""How Jobs share a machine: threads, GPUs, and what is refused in one line."""

import pytest

from bench.errors import RequestError
from bench.hardware import environment
from bench.hardware.environment import gpus_named, worker_environment
from bench.request import sharing as module
from bench.request.sharing import Sharing
from bench.request.spec import RunSpec

SEEN = ["GPU-a", "GPU-b", "GPU-c"]


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(module, "usable_cores", lambda: 8)
    monkeypatch.setattr(environment, "gpu_uuids", lambda _environment: SEEN)


def of(device="cpu", **request):
    return Sharing.of(RunSpec.checked(**request), device=device)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, ()),
        ("all", ("GPU-a", "GPU-b", "GPU-c")),
        ("2", ("GPU-a", "GPU-b")),
        ("0,2", ("GPU-a", "GPU-c")),
        ("2, 1", ("GPU-c", "GPU-b")),
    ],
)
def test_gpus_are_named_by_number_list_or_all(text, found):
    assert gpus_named(text) == found


@pytest.mark.parametrize("text", ["0", "-1", "1,1", "two", "0,", ""])
def test_what_names_no_gpus_is_refused(text):
    with pytest.raises(RequestError, match=r"give how many \(2\), which \(0,1\), or all"):
        gpus_named(text)


@pytest.mark.parametrize("text", ["4", "1,3"])
def test_more_gpus_than_there_are_are_refused(text):
    with pytest.raises(RequestError, match=f"--gpus {text}: there are 3 GPUs to be seen here, 0 to 2"):
        gpus_named(text)


@pytest.mark.parametrize(("seen", "words"), [([], "no NVIDIA GPU"), (["GPU-a"], "there is 1 GPU")])
def test_two_gpus_are_refused_where_there_are_fewer(monkeypatch, seen, words):
    monkeypatch.setattr(environment, "gpu_uuids", lambda _environment: seen)
    with pytest.raises(RequestError, match=f"--gpus 2: {words}"):
        gpus_named("2")


def test_a_job_sees_its_gpu_alone():
    assert worker_environment("cuda", 2, "GPU-b")["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    assert worker_environment("cpu", 2, "GPU-b")["CUDA_VISIBLE_DEVICES"] == ""


def test_cores_are_shared_out_among_jobs_that_go_on_at_once():
    assert of().at_once == 1
    assert of().threads() == 8
    assert of(jobs=3).threads() == 2
    assert of(jobs=3).at_once == 3
    assert of(device="cuda", gpus="2").threads() == 4
    assert of(device="cuda", gpus="all") == Sharing(gpus=tuple(SEEN))
    # Where another machine will carry Jobs out.
    assert of().threads(asked=64) == 64


@pytest.mark.parametrize(
    ("request_", "device", "words"),
    [
        ({"jobs": 2}, "cuda", "--jobs 2: Jobs would share a GPU; give --gpus"),
        ({"jobs": 2, "gpus": "2"}, "cuda", "--gpus 2 says how many go on at once"),
        ({"gpus": "2"}, "cpu", "--gpus 2: these Jobs are for the CPU"),
    ],
)
def test_what_cannot_be_shared_is_refused(request_, device, words):
    with pytest.raises(RequestError, match=words):
        of(device=device, **request_)


@pytest.mark.parametrize(("jobs", "asked", "most"), [(9, None, 8), (3, 4, 2), (2, 8, 1)])
def test_a_job_without_a_core_of_its_own_is_refused(jobs, asked, most):
    with pytest.raises(RequestError, match=f"--jobs {jobs}: there are 8 cores.*at most {most} at once"):
        of(jobs=jobs).threads(asked)


def test_no_jobs_are_refused():
    with pytest.raises(RequestError, match=r"--jobs 0: .*greater than or equal to 1"):
        of(jobs=0)


def test_a_budget_in_seconds_is_refused_where_it_would_be_worth_less():
    budgets = {"activa": "40epochs", "nb_copula": None, "scgan": "15min"}
    with pytest.raises(RequestError, match=r"--jobs 2: scgan has a budget of 15min.*--budget scgan=40epochs"):
        of(jobs=2).require_budgets(budgets)
    of().require_budgets(budgets)
    # There each has its GPU to itself.
    of(device="cuda", gpus="2").require_budgets(budgets)
    of(jobs=2).require_budgets(budgets | {"scgan": "20steps"})
