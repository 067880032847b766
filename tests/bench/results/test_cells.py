import anndata
import numpy as np
import pytest
from scipy import sparse

from bench.results.cells import write_cells


def piece(n_cells, *, seed, types=None):
    values = sparse.random(n_cells, 12, density=0.3, format="csr", dtype=np.float32, random_state=seed)
    cells = anndata.AnnData(values)
    cells.var_names = [f"gene{number}" for number in range(12)]
    if types:
        cells.obs["cell_type"] = types
    return cells


def test_pieces_come_back_as_one(tmp_path):
    pieces = [piece(5, seed=1, types=list("aabba")), piece(3, seed=2, types=list("bca"))]
    pieces[0].uns["sampling"] = {"draws": 30, "cell_types": ["a", "b"], "accepted": [3, 2]}
    pieces[1].uns["sampling"] = {"draws": 10, "cell_types": ["a", "c"], "accepted": [1, 1]}
    written = write_cells(tmp_path / "cells.h5ad", iter(pieces), facts={"space": "counts", "model": "tiny"})
    cells = anndata.read_h5ad(tmp_path / "cells.h5ad")
    expected = sparse.vstack([part.X for part in pieces]).toarray()
    np.testing.assert_array_equal(cells.X.toarray(), expected)
    assert list(cells.obs["cell_type"]) == list("aabbabca")
    assert list(cells.var_names) == list(pieces[0].var_names)
    assert cells.uns["bench"]["space"] == "counts"
    assert written["n_cells"] == 8
    assert written["density"] == pytest.approx((expected != 0).mean())
    assert written["sampling"] == {"draws": 40, "acceptance_rate": {"a": 0.1, "b": 0.05, "c": 0.025}}


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def pieces():
        yield piece(5, seed=1)
        raise RuntimeError("the generator gave up")

    with pytest.raises(RuntimeError, match="gave up"):
        write_cells(tmp_path / "cells.h5ad", pieces(), facts={})
    assert list(tmp_path.iterdir()) == []
