"""What Jobs ask a cluster for: how it is read, whose it is, and what is refused in one line."""

import re

import pytest

from bench.errors import RequestError
from bench.request.plan import Job
from bench.request.resources import ANYWHERE, Requested, Resources


def parse(text, *, on_slurm=True):
    return Requested.parse(text, on_slurm=on_slurm)


def job(model, *, threads=2, device="cpu"):
    return Job.model_construct(model=model, threads=threads, device=device)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("memory=8GB", Resources(memory="8G")),
        ("memory=500m, hours=0.25", Resources(memory="500M", hours=0.25)),
        ("memory=8GIB", Resources(memory="8Gi")),
        ("cores=4,gpus=0", Resources(cores=4, gpus=0)),
    ],
)
def test_resources_are_read(text, found):
    assert parse(text) == Requested(found)


def test_what_a_model_asks_for_takes_the_place_of_what_all_do():
    asked = parse("activa:memory=16GB,cores=2,memory=8GB,activa:hours=4,my:model:gpus=1")
    general, activa = Resources(cores=2, memory="8G"), Resources(cores=2, memory="16G", hours=4)
    assert asked.of(job("scgan")) == general
    assert asked.of(job("activa")) == activa
    assert asked.of(job("my:model")) == Resources(cores=2, memory="8G", gpus=1)
    jobs = [job("activa"), job("real"), job("activa"), job("null")]
    assert asked.alike(jobs) == {activa: [jobs[0], jobs[2]], general: [jobs[1], jobs[3]]}
    # What comes to the same is one.
    assert list(parse("memory=8GB,activa:memory=8G").alike(jobs)) == [Resources(memory="8G")]


@pytest.mark.parametrize(
    ("memory", "n_bytes"), [(None, None), ("500M", 500 * 10**6), ("16G", 16 * 10**9), ("8Gi", 8 * 2**30)]
)
def test_memory_is_known_in_bytes(memory, n_bytes):
    assert Resources(memory=memory).memory_bytes == n_bytes


@pytest.mark.parametrize(("gpus", "device", "n"), [(None, "cpu", 0), (None, "cuda", 1), (0, "cuda", 0)])
def test_a_job_for_a_gpu_gets_one_unless_told(gpus, device, n):
    assert Resources(gpus=gpus).gpus_of(job("activa", device=device)) == n


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names nothing"),
        ("memory=8", "memory=8: give whole MB, GB or TB"),
        ("memory=1.5GB", "give whole MB, GB or TB"),
        ("activa:memory=8", "--resources activa:memory=8: give whole MB, GB or TB"),
        ("hours=0", "hours=0: give a number above 0"),
        ("hours=soon", "hours=soon"),
        ("cores=0", "cores=0: give a whole number"),
        ("gpus=-1", "gpus=-1: give a whole number"),
        ("cores=1,cores=2", "names cores twice"),
        ("activa:cores=1,cores=2,activa:cores=2", "names activa:cores twice"),
        ("partition=", "give NAME=VALUE or MODEL:NAME=VALUE"),
        (":cores=2", "give NAME=VALUE or MODEL:NAME=VALUE"),
        ("activa:memry=8GB", "names are cores, memory, hours, gpus, partition, account, qos, constraint"),
    ],
)
def test_resources_that_cannot_be_are_refused(text, said):
    with pytest.raises(RequestError, match=re.escape(said)):
        parse(text)


@pytest.mark.parametrize("part", ["hours=2", "activa:partition=short", "account=a", "qos=b", "constraint=c"])
def test_what_slurm_alone_knows_is_refused_by_name(part):
    name = part.partition("=")[0].rpartition(":")[2]
    with pytest.raises(RequestError, match=rf"'{part}': Slurm alone knows {name}: leave it out with Dask"):
        parse(f"memory=8GB,{part}", on_slurm=False)
    with pytest.raises(RequestError, match=f"names are {', '.join(ANYWHERE)}$"):
        parse("memry=8GB", on_slurm=False)
    assert parse("cores=1,memory=1GB,gpus=1", on_slurm=False).general == Resources(1, "1G", gpus=1)


def test_a_model_that_no_job_is_of_is_refused_by_name():
    jobs = [job("scgan"), job("activa"), job("scgan")]
    parse("activa:cores=2,scgan:memory=1GB").require_for(jobs)
    with pytest.raises(
        RequestError, match="--resources actvia:…: no such model in this run, which has activa, scgan"
    ):
        parse("actvia:cores=2").require_for(jobs)


@pytest.mark.parametrize("key", ["cores", "activa:cores"])
def test_fewer_cores_than_threads_are_refused(key):
    with pytest.raises(
        RequestError, match=f"--resources {key}=1: the Jobs of this run have 99 threads: give as many cores"
    ):
        parse(f"{key}=1").require_for([job("activa", threads=99)])
