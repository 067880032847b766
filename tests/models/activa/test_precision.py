"""bf16 is a precision and not another model: metrics on real cells stay within what a seed changes."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from metrics.augmentation import AugmentationSetting, augmentation_f1
from metrics.correlation_discrepancy import correlation_discrepancy, correlation_matrix
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.library_size import METRIC as LIBRARY_SIZE
from metrics.mmd import mmd
from metrics.rf_auc import rf_auc
from models.activa.sampling import sample_cells
from models.activa.settings import Settings
from models.activa.training import train
from models.base import Budget

N_TRAIN, N_TEST, N_GENES = 1200, 300, 600
N_KEPT = 10
BUDGET = "12epochs"
SEEDS = 3


def kang(folder):
    """Cells of the most expressed genes, the last ones for the test, and their types."""
    file = folder / "kang_ctrl_12261x1287.h5ad"
    if not file.exists():
        pytest.skip(f"../shared/data/{file.name} is not here")
    adata = anndata.read_h5ad(file)
    rows = np.random.default_rng(0).permutation(adata.n_obs)[: N_TRAIN + N_TEST]
    counts = sp.csr_matrix(adata.X[rows])
    genes = np.sort(np.argsort(-np.asarray(counts.sum(axis=0)).ravel())[:N_GENES])
    return counts[:, genes], adata.obs["cell_type"].to_numpy(dtype=str)[rows]


def made_rare(counts, types):
    """The task of finding the most common type after a few of its cells, and its code."""
    names, sizes = np.unique(types, return_counts=True)
    code = sizes.argmax()
    of_type = np.flatnonzero(types[:N_TRAIN] == names[code])
    kept = np.setdiff1d(np.arange(N_TRAIN), of_type[N_KEPT:])
    test = slice(N_TRAIN, None)
    return AugmentationSetting(counts[kept], types[kept], counts[test], types[test], names[code], 0), code


def trained_metrics(counts, types, real, *, precision, seed):
    """The paper's four metrics and the library-size error of as many drawn cells as there are test cells."""
    codes = np.unique(types, return_inverse=True)[1][:N_TRAIN]
    cells = counts[:N_TRAIN].astype(np.float32)
    networks = train(
        sp.diags(20_000 / np.asarray(cells.sum(axis=1)).ravel()) @ cells,
        codes,
        n_cell_types=codes.max() + 1,
        seed=seed,
        budget=Budget.parse(BUDGET),
        settings=Settings(precision=precision),
    )
    sample = sample_cells(networks, N_TEST, seed=seed)
    drawn = SampleEvidence(real, sample.matrix, space="cp20k")
    task, code = made_rare(counts, types)
    correlations = [
        correlation_matrix(cells[:, real.cd_genes].toarray())[0] for cells in (real.test_cells, drawn.cells)
    ]
    return [
        rf_auc(real.test_cells, drawn.cells, n_trees=50, seed=0).mean,
        mmd(real.pca_scores, drawn.pca_scores, bandwidth=real.bandwidth).biased ** 0.5,
        correlation_discrepancy(*correlations),
        augmentation_f1(task, drawn.cells[sample.types == code], n_trees=100).headline,
        LIBRARY_SIZE.compute(real, drawn).headline,
    ]


@pytest.mark.slow
def test_metrics_stay_within_the_spread_of_seeds(shared_data):
    """The mean over seeds differs by less than three standard errors of a difference of such means.

    A forest that tells all cells apart (1.0) has no spread: a thousandth is always allowed.
    """
    counts, types = kang(shared_data)
    real = RealEvidence(
        counts[:N_TRAIN],
        counts[N_TRAIN:],
        train_types=types[:N_TRAIN],
        test_types=types[N_TRAIN:],
        control_pool=None,
        gene_names=np.arange(N_GENES).astype(str),
        seed=0,
    )
    values = {
        precision: np.array(
            [trained_metrics(counts, types, real, precision=precision, seed=seed) for seed in range(SEEDS)]
        )
        for precision in ("fp32", "bf16")
    }
    spread = values["fp32"].std(axis=0, ddof=1)
    difference = values["bf16"].mean(axis=0) - values["fp32"].mean(axis=0)
    assert (np.abs(difference) < 3 * spread * np.sqrt(2 / SEEDS) + 1e-3).all(), values
