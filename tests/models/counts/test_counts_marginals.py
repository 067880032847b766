import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.stats import nbinom

from models.counts.likelihood import Drawn, draw_entries
from models.counts.marginals import EDGES, EXACT_COUNTS, ImposedMarginals

N_CELLS = 4000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def fit(model, real, *, model_groups=None, real_groups=None, n_groups=1, prior_cells=1e-6):
    zeros = np.zeros(len(model), dtype=int), np.zeros(len(real), dtype=int)
    model_groups = zeros[0] if model_groups is None else model_groups
    real_groups = zeros[1] if real_groups is None else real_groups
    drawn = [
        (torch.tensor(block, dtype=torch.float32), torch.tensor(codes))
        for block, codes in zip(np.array_split(model, 3), np.array_split(model_groups, 3), strict=True)
    ]
    return ImposedMarginals.fit(
        drawn, csr_matrix(real.astype(np.float32)), real_groups, n_groups=n_groups, prior_cells=prior_cells
    )


def imposed(marginals, counts, groups=None, seed=0):
    groups = np.zeros(len(counts), dtype=int) if groups is None else groups
    cells = torch.tensor(counts, dtype=torch.float32).view(-1)
    within = torch.rand(cells.shape, generator=generator(seed))
    drawn = Drawn(torch.arange(len(cells)), cells, within)
    return marginals.impose(drawn, torch.tensor(groups)).numpy()


def test_ranges_hold_every_count_once():
    assert EDGES[: EXACT_COUNTS + 1].tolist() == list(range(EXACT_COUNTS + 1))
    assert (np.diff(EDGES) >= 1).all()
    assert EDGES[-1] > 2**24


@pytest.mark.parametrize("mean", [0.05, 1.5, 60.0])
def test_known_quantiles_come_back(mean):
    """Poisson draws of one mean become negative-binomial counts of another, zeros and all."""
    rng = np.random.default_rng(1)
    model, fresh = rng.poisson(2 * mean, (2, N_CELLS, 1))
    target = nbinom(1.3, 1.3 / (1.3 + mean))
    found = imposed(fit(model, target.rvs((N_CELLS, 1), random_state=rng)), fresh)[:, 0]
    assert (found == np.round(found)).all()
    for count in (0, 1, round(mean), round(3 * mean)):
        # Three samples of so many cells lie between the two.
        assert (found <= count).mean() == pytest.approx(target.cdf(count), abs=5 * np.sqrt(0.75 / N_CELLS))
    assert found.mean() == pytest.approx(mean, abs=5 * target.std() * np.sqrt(3 / N_CELLS))


def test_a_gene_without_zeros_and_one_that_is_silent():
    rng = np.random.default_rng(2)
    model = np.column_stack([rng.poisson(3, N_CELLS), rng.poisson(1, N_CELLS)])
    real = np.column_stack([np.full(500, 7), np.zeros(500, dtype=int)])
    found = imposed(fit(model, real), model)
    assert (found[:, 0] == 7).all()
    assert (found[:, 1] == 0).all()


def test_order_is_kept_and_so_is_dependence():
    rng = np.random.default_rng(3)
    shared = rng.gamma(2, 1, (N_CELLS, 1))
    model = rng.poisson(8 * np.hstack([shared, shared]))
    real = rng.negative_binomial(0.5, 0.02, (N_CELLS, 2))
    found = imposed(fit(model, real), model)
    low = np.quantile(model[:, 0], 0.3)
    assert found[model[:, 0] <= low, 0].max() <= found[model[:, 0] > low, 0].min()
    ranks = [np.argsort(np.argsort(part, axis=0), axis=0) for part in (model, found)]
    before, after = (np.corrcoef(part.T)[0, 1] for part in ranks)
    assert after == pytest.approx(before, abs=0.05)


def test_groups_have_marginals_of_their_own_and_small_ones_borrow_the_models():
    rng = np.random.default_rng(4)
    groups = np.repeat([0, 1], [N_CELLS, N_CELLS])
    model = rng.poisson(np.where(groups == 0, 2.0, 20.0))[:, None]
    real = np.append(rng.poisson(5.0, N_CELLS), [0])[:, None]
    marginals = fit(
        model,
        real,
        model_groups=groups,
        real_groups=np.append(np.zeros(N_CELLS, dtype=int), 1),
        n_groups=2,
        prior_cells=9,
    )
    found = imposed(marginals, model, groups)
    assert found[groups == 0].mean() == pytest.approx(5, rel=0.05)
    # One cell of 0 beside nine of the model's: 0.9 · 20.
    assert found[groups == 1].mean() == pytest.approx(18, rel=0.05)
    assert (found[groups == 1] == 0).mean() == pytest.approx(0.1, abs=0.02)


def test_a_count_that_the_model_never_drew_gets_the_highest_rank():
    rng = np.random.default_rng(5)
    marginals = fit(rng.poisson(1.0, (N_CELLS, 1)), rng.integers(0, 10, (N_CELLS, 1)))
    assert imposed(marginals, np.array([[5000]])) == 9


def test_stored_tensors_impose_the_same_and_seeds_decide():
    rng = np.random.default_rng(6)
    model, real = rng.poisson(1.0, (300, 5)), rng.poisson(3.0, (300, 5))
    marginals = fit(model, real)
    again = ImposedMarginals(**marginals.tensors())
    first = imposed(marginals, model)
    assert np.array_equal(first, imposed(again, model))
    assert not np.array_equal(first, imposed(marginals, model, seed=1))


@pytest.mark.parametrize("mean", [0.4, 3.0, 40.0])
def test_zeros_that_stay_need_not_be_told(mean):
    """The same cells as if each entry was told; most zeros of a model with too many or too few stay."""
    rng = np.random.default_rng(7)
    log_mean = torch.full((N_CELLS, 3), mean).log()
    log_dispersion, groups = torch.full((N_CELLS, 3), 0.7).log(), torch.zeros(N_CELLS, dtype=int)
    model = draw_entries(log_mean, log_dispersion, generator=generator(1), stays_zero=torch.tensor(0.0))
    real = rng.negative_binomial(0.7, 0.7 / (0.7 + mean * np.array([0.3, 1.0, 3.0])), (N_CELLS, 3))
    marginals = fit(model.counts.view(-1, 3).numpy(), real)
    every, some = (
        draw_entries(log_mean, log_dispersion, generator=generator(2), stays_zero=place)
        for place in (torch.tensor(0.0), marginals.stays_zero(groups))
    )
    assert len(every.places) == 3 * N_CELLS
    small = mean < 7
    assert len(some.places) < 0.9 * len(every.places) if small else len(some.places) == len(every.places)
    found = marginals.impose(some, groups)
    # Large counts are drawn after the uniform numbers, in the order of their places: the same in both.
    assert torch.equal(found, marginals.impose(every, groups))
    for gene in range(3):
        counts = np.arange(60)
        there, here = ((part[:, gene, None] <= counts).mean(axis=0) for part in (real, found.numpy()))
        # Three samples of so many cells lie between the two.
        assert here == pytest.approx(there, abs=5 * np.sqrt(0.75 / N_CELLS))


def test_ranks_are_uniform_where_ranges_of_counts_begin():
    """Counts of 24 and 25 share a range: a map of a distribution to itself leaves all of them as they are."""
    rng = np.random.default_rng(8)
    model, fresh = rng.poisson(24, (40_000, 1)), rng.poisson(24, (40_000, 1))
    found = imposed(fit(model, model), fresh)[:, 0]
    for count in range(20, 29):
        share = (fresh[:, 0] == count).mean()
        # Counts of one range come in equal parts: those around 24 differ by a twentieth at most.
        assert (found == count).mean() == pytest.approx(share, abs=5 * np.sqrt(2 * share / 40_000) + 0.004)


def test_a_gene_without_zeros_keeps_its_counts_in_the_last_of_many_groups():
    """Sums over all groups and genes lose a share of zeros that is next to nothing, and no count with it."""
    rng = np.random.default_rng(9)
    n_groups, n_genes = 20, 2000
    groups = np.repeat(np.arange(n_groups), 100)
    counts = rng.poisson(0.2, (len(groups), n_genes))
    counts[:, 0] = 1 + rng.poisson(6, len(groups))
    marginals = fit(counts, counts, model_groups=groups, real_groups=groups, n_groups=n_groups)
    stays = marginals.stays_zero(torch.tensor(groups))
    assert ((stays >= 0) & (stays <= 1)).all()
    log_mean = torch.full((len(groups), n_genes), 0.2).log()
    log_mean[:, 0] = np.log(6.5)
    drawn = draw_entries(log_mean, torch.full((1, n_genes), 8.0), generator=generator(3), stays_zero=stays)
    found = marginals.impose(drawn, torch.tensor(groups)).numpy()
    assert found[groups == 0, 0].mean() == pytest.approx(7, abs=1)
    assert found[groups == n_groups - 1, 0].mean() == pytest.approx(7, abs=1)
