"""Who carries a run's Jobs out, where nothing of it is left to do."""

from types import SimpleNamespace

import pytest

from bench.errors import RequestError
from bench.request.spec import RunSpec
from bench.work import hands
from bench.work.hands import HERE
from tests.bench.results.test_damaged_files import job


@pytest.mark.parametrize("is_left", [True, False])
def test_gpus_that_are_not_here_are_asked_for_only_by_what_is_left(is_left, monkeypatch):
    run = SimpleNamespace(
        read_spec=lambda: RunSpec.checked(gpus="0,1", device="cuda"),
        jobs=lambda: [job().model_copy(update={"device": "cuda"})],
        good_record=lambda _job: None if is_left else "a Record",
    )
    asked = []
    monkeypatch.setattr(hands, "run_jobs", lambda *_given, sharing, **_named: asked.append(sharing))
    monkeypatch.setattr("bench.request.sharing.gpus_named", no_gpu)
    if is_left:
        with pytest.raises(RequestError, match="no NVIDIA GPU"):
            HERE.run_jobs(run, None)
    else:
        HERE.run_jobs(run, None)
    assert asked == ([] if is_left else [hands.ALONE])


def no_gpu(_asked):
    raise RequestError("no NVIDIA GPU is to be seen here")
