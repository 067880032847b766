import numpy as np
import pytest
import scipy.sparse as sp
import torch

from models.activa.sparsify import CsrBuilder, cut_off_negative, sparsify
from tests.models.activa.activa_cases import DEVICES

SHAPES = [(7, 11), (150, 50), (130, 97), (64, 4), (1, 1), (0, 11), (5, 1), (129, 18)]


def block_of(shape, density, dtype, *, seed=0):
    rng = np.random.default_rng(seed)
    dense = rng.gamma(0.5, 100.0, size=shape) * (rng.random(shape) < density)
    if len(dense) > 3:
        dense[3] = 0
    return torch.from_numpy(dense.astype(np.float32)).to(dtype)


def assert_same(ours, theirs):
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
    assert ours.shape == theirs.shape and ours.has_canonical_format


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("density", [0.0, 0.06, 0.3, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_block_is_made_sparse_as_scipy_does_it(device, dtype, density, shape):
    block = block_of(shape, density, dtype)
    assert_same(sparsify(block.to(device)).to_csr(shape[1]), sp.csr_matrix(block.float().numpy()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_negative_values_are_cut_off_as_relu_does_it(dtype):
    values = torch.tensor([[-1.5, -0.0, 0.0, 1e-30, -1e-30, 3.0, float("inf"), -float("inf")]], dtype=dtype)
    expected = values.relu()
    kept = cut_off_negative(values)
    assert kept is values and torch.equal(values, expected)
    assert sparsify(values).columns.tolist() == [3, 5, 6]


@pytest.mark.parametrize("densities", [(0.1, 0.1, 0.1), (0.01, 0.9, 0.5), (0.0, 0.0, 0.2), (0.9, 0.01, 0.0)])
def test_blocks_are_put_together_whatever_the_first_made_one_expect(densities):
    blocks = [block_of((40, 13), density, torch.float32, seed=n) for n, density in enumerate(densities)]
    builder = CsrBuilder(120, 13)
    for block in blocks:
        builder.append(sparsify(block))
    matrix = builder.matrix()
    assert_same(matrix, sp.csr_matrix(torch.cat(blocks).numpy()))
    assert matrix.data.base is None or matrix.data.base.nbytes == matrix.data.nbytes
