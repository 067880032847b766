"""Cells of three types with marker genes, varying depth and genes that vary together."""

import numpy as np

from metrics.evidence import RealEvidence, SampleEvidence

N_GENES = 120
TYPES = np.array(["A", "B", "C"])


def typed_cells(n_cells, *, seed):
    """Return counts and types; each type over-expresses 40 genes, and the first 30 genes share a factor."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(3, n_cells, p=[0.5, 0.3, 0.2])
    rates = np.tile(np.linspace(0.2, 3, N_GENES), (n_cells, 1))
    rates *= np.where(np.arange(N_GENES) // 40 == codes[:, None], 4.0, 1.0)
    rates *= rng.gamma(5.0, 0.2, size=(n_cells, 1))
    rates[:, :30] *= rng.gamma(3.0, 1 / 3, size=(n_cells, 1))
    return rng.poisson(rates), TYPES[codes]


def evidence(*, n_train=300, n_test=150, with_types=True, **options):
    train, train_types = typed_cells(n_train, seed=100)
    test, test_types = typed_cells(n_test, seed=101)
    return RealEvidence(
        train,
        test,
        train_types=train_types if with_types else None,
        test_types=test_types if with_types else None,
        control_pool=None,
        gene_names=[f"gene{i}" for i in range(N_GENES)],
        seed=0,
        **options,
    )


def sample_of(real, counts, types=None, *, space="counts"):
    return SampleEvidence(real, counts, space=space, cell_types=types)


def shuffled(counts, *, seed):
    return np.random.default_rng(seed).permuted(counts, axis=0)


def reordered(sample, *, seed):
    order = np.random.default_rng(seed).permutation(sample.matrix.shape[0])
    types = None if sample.cell_types is None else sample.cell_types[order]
    return SampleEvidence(sample.real, sample.matrix[order], space=sample.space, cell_types=types)
