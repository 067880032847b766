"""Made-up cells of many sizes: what lies in the file, and a Job carried out on it."""

import argparse

import anndata
import numpy as np
import pytest

from benchmarks import large_data


@pytest.fixture
def blocks(monkeypatch):
    monkeypatch.setattr(large_data, "BLOCK", 200)
    return large_data.made_up(60, 12)


def test_cells_lie_in_the_file_as_they_were_made(blocks, tmp_path):
    large_data.write(tmp_path / "2000.h5ad", blocks, 2000)
    found = anndata.read_h5ad(tmp_path / "2000.h5ad")
    expected = np.concatenate([blocks[number % large_data.N_BLOCKS][0].toarray() for number in range(10)])
    np.testing.assert_array_equal(found.X.toarray(), expected)
    types = np.concatenate([blocks[number % large_data.N_BLOCKS][1] for number in range(10)])
    assert found.obs["cell_type"].cat.codes.tolist() == types.tolist()
    assert found.X.getnnz(axis=1).mean() == pytest.approx(12, rel=0.1)


@pytest.mark.slow
def test_what_a_size_takes(blocks, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    large_data.write(tmp_path / "2000.h5ad", blocks, 2000)
    options = argparse.Namespace(models="activa_counts", budget="3steps", memory="10kB")
    row = large_data.carry_out(tmp_path / "2000.h5ad", tmp_path, options)
    assert row["prepare"]["seconds"] > 0 and row["prepare"]["peak_bytes"] > 2**26
    job = row["jobs"]["activa_counts"]
    assert (job["status"], job["steps"]["networks"]) == ("ok", 3)
    assert job["memory"]["peak_rss_bytes"] > 2**26
