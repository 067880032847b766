"""A program in R through the external adapter: the example that docs/recipes.md shows, with Debian's R."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from models.base import Budget, SilentMonitor, Unsupported
from models.external import External, read_configuration

pytestmark = pytest.mark.slow
needs_r = pytest.mark.skipif(shutil.which("Rscript") is None, reason="no Rscript: install r-base-core")

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "r"
MEANS, SIZES = np.array([[4.0, 0.5, 12.0, 0.0], [1.0, 6.0, 0.0, 2.0]]), np.array([2.0, 1.0, 5.0, 3.0])
TYPES = ["CD4 T cells", 'NK "bright", é']


def training_cells(n_cells: int = 6000) -> AnnData:
    """Negative-binomial genes of two types, two thirds of the cells of the first."""
    rng = np.random.default_rng(0)
    types = (np.arange(n_cells) % 3 == 0).astype(int)
    rates = MEANS[types] * rng.gamma(SIZES, 1 / SIZES, (n_cells, 4))
    counts = csr_matrix(rng.poisson(rates).astype(np.float32))
    obs = pd.DataFrame({"cell_type": pd.Categorical.from_codes(types, TYPES)})
    obs.index = [f"cell {number}" for number in range(n_cells)]
    adata = AnnData(counts, obs=obs, var=pd.DataFrame(index=["A1", "B 2", "C'3", "NA"]))
    adata.layers["counts"] = counts.copy()
    return adata


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> External:
    folder = tmp_path_factory.mktemp("r program")
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    config = folder / "negative_binomial.toml"
    config.write_text(config.read_text().replace('"python ', f"\"'{sys.executable}' "))
    generator = External(config=str(config))
    generator.fit(training_cells(), seed=2**32 - 1, budget=Budget(1, "steps"), monitor=SilentMonitor())
    return generator


@needs_r
def test_an_r_program_recovers_means_and_variances_of_each_type(program):
    wanted = [TYPES[1], TYPES[0], TYPES[0]] * 2000
    cells = program.sample(6000, cell_types=wanted, seed=2**31 + 5)
    assert list(cells.obs["cell_type"]) == wanted
    assert list(cells.var_names) == list(training_cells(9).var_names)
    drawn = cells.X.toarray()
    for code, name in enumerate(TYPES):
        of_type = drawn[np.array(wanted) == name]
        assert of_type.mean(axis=0) == pytest.approx(MEANS[code], rel=0.1)
        assert of_type.var(axis=0) == pytest.approx(MEANS[code] + MEANS[code] ** 2 / SIZES, rel=0.25)


@needs_r
def test_without_requested_types_an_r_program_draws_its_own(program):
    cells = program.sample(900, seed=0)
    assert (cells.obs["cell_type"] == TYPES[0]).mean() == pytest.approx(2 / 3, abs=0.06)
    again, other = (program.sample(900, seed=seed) for seed in (0, 1))
    assert (cells.X != again.X).nnz == 0
    assert (cells.X != other.X).nnz > 0


@needs_r
def test_an_r_program_is_stored_without_training_cells_and_loaded(program, tmp_path):
    program.save(tmp_path)
    stored = {path.name for path in (tmp_path / "model").iterdir()}
    assert stored - {"sample.log"} == {"genes.txt", "parameters.rds", "fit.log"}
    loaded = External.load(tmp_path)
    assert (loaded.sample(50, seed=4).X != program.sample(50, seed=4).X).nnz == 0
    with pytest.raises(Unsupported):
        loaded.sample(1, cell_types=["B"], seed=0)


@pytest.mark.parametrize("name", ["negative_binomial", "splatter"])
def test_the_examples_are_valid_configurations(name):
    program = read_configuration(EXAMPLES / f"{name}.toml")
    assert (program.name, program.space, program.conditional) == (f"{name}_r", "counts", True)
    assert (EXAMPLES / f"{name}.R").exists() and f"{name}.R" in program.fit and f"{name}.R" in program.sample
