"""Maps are stored once for each generator, and anew when what they follow from changes."""

import shutil

import numpy as np
import pytest

from bench.results.files import write_json
from bench.scoring.embeddings import store_embeddings
from bench.scoring.scorer import Scorer
from metrics.declaration import NotApplicable
from tests.bench.work.test_executor import carry_out, make_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sampled_run(tmp_path_factory, prepared):
    run, spec = make_run(tmp_path_factory.mktemp("runs"), prepared, ["Mean"], sample_seeds=(0, 5))
    carry_out(run, spec)
    (job,) = run.jobs()
    # The same cells as if a floor had made them, and as a later seed's: neither gets a map.
    others = [job.model_copy(update=facts) for facts in ({"role": "floor", "model": "other"}, {"seed": 1})]
    for other in others:
        shutil.copytree(run.job_folder(job).path, run.job_folder(other).path)
    write_json(run.plan, [each.model_dump(mode="json") for each in (job, *others)])
    return run


@pytest.fixture
def run(sampled_run, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    for file in stored(sampled_run).values():
        file.unlink()
    return sampled_run


@pytest.fixture
def computed(monkeypatch):
    """What was laid out, without laying it out."""
    pairs = []

    def fake(real, sample):
        pairs.append((real, sample))
        return {"umap": np.full((2, 2), len(pairs)), "cell_type": np.array(["A", "B"])}

    monkeypatch.setattr("metrics.embedding.joint_maps", fake)
    return pairs


def stored(run):
    return {
        (job.model, job.seed): file
        for job in run.jobs()
        for file in sorted(run.job_folder(job).path.glob("embedding-*"))
    }


def test_a_map_is_stored_of_the_first_sample_of_a_model(run, computed):
    store_embeddings(run, Scorer(run))
    ((real, sample),) = computed
    assert (real.protocol.name, sample.real) == ("strict", real)
    ((of, file),) = stored(run).items()
    assert (of, file.name) == (("mean", 0), "embedding-0.npz")
    with np.load(file, allow_pickle=False) as maps:
        assert maps["umap"].tolist() == [[1, 1], [1, 1]]
        assert maps["cell_type"].tolist() == ["A", "B"]


def test_a_map_is_computed_again_only_if_it_is_broken_or_out_of_date(run, computed, monkeypatch):
    store_embeddings(run, Scorer(run))
    store_embeddings(run, Scorer(run))
    assert len(computed) == 1
    stored(run)["mean", 0].write_bytes(b"half a file")
    store_embeddings(run, Scorer(run))
    assert len(computed) == 2
    monkeypatch.setattr("bench.scoring.embeddings.metrics_code", lambda *modules: "changed")
    store_embeddings(run, Scorer(run))
    assert len(computed) == 3


@pytest.mark.parametrize("kind", [NotApplicable, ValueError, TypeError, FloatingPointError, RuntimeError])
def test_cells_that_make_no_map_cost_only_the_map(run, monkeypatch, capsys, kind):
    def refuse(real, sample):
        raise kind("60 cells; a map needs more than 90")

    monkeypatch.setattr("metrics.embedding.joint_maps", refuse)
    store_embeddings(run, Scorer(run))
    assert stored(run) == {}
    assert "mean · seed 0 no map: 60 cells" in capsys.readouterr().out


def test_shares_together_make_each_map_once(run, monkeypatch, computed):
    samples = [(job, 0) for job in run.jobs()] * 5
    monkeypatch.setattr("bench.scoring.embeddings._first_samples", lambda run: samples[:5])
    monkeypatch.setattr("bench.scoring.embeddings._stored_key", lambda file: None)
    made = []
    for share in range(2):
        before = len(computed)
        store_embeddings(run, Scorer(run), share=share, n_shares=2)
        made.append(len(computed) - before)
    assert made == [3, 2]
