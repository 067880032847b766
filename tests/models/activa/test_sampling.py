from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from models.activa import decoding, sampling
from models.activa.sampling import Sampler, sample_cells, sample_types
from models.base import SamplingExhausted
from tests.models.activa.activa_cases import DEVICES, N_GENES, small_networks, small_settings

NAMES = ["alpha", "beta", "gamma"]


def trained_like(**changes):
    """Networks whose statistics are far from any batch's, and whose conditioner calls all three types."""
    networks = small_networks(small_settings(**changes)).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for norm in (layer for layer in networks.decoder.hidden if isinstance(layer, torch.nn.BatchNorm1d)):
            norm.running_mean += torch.rand(norm.running_mean.shape, generator=generator)
        drawn = networks.decoder(torch.randn(4000, 4, generator=generator))
        logits = networks.conditioner(drawn)
        networks.conditioner[-1].bias -= logits.median(dim=0).values + torch.tensor([0.0, 0.0, 0.02])
    return networks


def by_hand(networks, seed, n_draws):
    """The same draws in plain PyTorch, at once."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        blocks = []
        for start in range(0, n_draws, decoding.DRAW_SIZE):
            size = min(decoding.DRAW_SIZE, n_draws - start)
            blocks.append(networks.decoder(torch.randn(size, 4, generator=generator)))
        cells = torch.cat(blocks)
        confidence, calls = torch.softmax(networks.conditioner(cells), dim=1).max(dim=1)
    return cells.numpy(), calls.numpy(), confidence.numpy()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(decoding, "DRAW_SIZE", 64)


def test_holistic_draws_are_decoded_prior_with_the_conditioners_calls():
    networks = trained_like()
    drawn = sample_cells(networks, 150, seed=4)
    cells, calls, _ = by_hand(networks, 4, 150)
    np.testing.assert_allclose(drawn.matrix.toarray(), cells, rtol=1e-5)
    np.testing.assert_array_equal(drawn.types, calls)
    assert drawn.matrix.format == "csr" and drawn.matrix.dtype == np.float32
    assert (drawn.draws, drawn.accepted, drawn.acceptance_rate) == (150, {}, {})


@pytest.mark.parametrize("device", DEVICES)
def test_same_seed_same_cells(device):
    networks = trained_like().to(device)
    first, again, other = (sample_cells(networks, 70, seed=seed).matrix for seed in (1, 1, 2))
    assert (first != again).nnz == 0
    assert (first != other).nnz > 0


def test_types_on_demand_come_in_the_order_asked_for_with_their_rates():
    networks = trained_like()
    wanted = np.array([2, 0, 0, 2, 1, 0, 2, 1] * 5)
    drawn = sample_types(networks, wanted, names=NAMES, seed=4)
    cells, calls, _ = by_hand(networks, 4, drawn.draws)
    np.testing.assert_array_equal(drawn.types, wanted)
    for code in range(3):
        expected = cells[calls == code][: (wanted == code).sum()]
        np.testing.assert_allclose(drawn.matrix.toarray()[wanted == code], expected, rtol=1e-5)
        assert drawn.accepted[code] == (calls == code).sum()
        assert drawn.acceptance_rate[code] == pytest.approx((calls == code).mean())
    assert drawn.draws % 64 == 0


def test_only_types_asked_for_are_returned_and_rated():
    drawn = sample_types(trained_like(), np.array([1] * 9), names=NAMES, seed=0)
    assert drawn.matrix.shape == (9, N_GENES)
    assert list(drawn.acceptance_rate) == [1]


def test_confidence_threshold_turns_doubtful_cells_away():
    confidence = by_hand(trained_like(), 4, 2000)[2]
    threshold = float(np.quantile(confidence, 0.8))
    networks = trained_like(confidence_threshold=threshold)
    wanted = np.array([0] * 3)
    drawn = sample_types(networks, wanted, names=NAMES, seed=4)
    cells, calls, confidence = by_hand(networks, 4, drawn.draws)
    accepted = (calls == 0) & (confidence >= threshold)
    assert 0 < accepted.sum() < (calls == 0).sum()
    np.testing.assert_allclose(drawn.matrix.toarray(), cells[accepted][:3], rtol=1e-5)
    assert drawn.acceptance_rate[0] == pytest.approx(accepted.mean())


def test_a_type_that_never_comes_ends_with_its_name_rate_and_draws(monkeypatch):
    monkeypatch.setattr(sampling, "LEAST_BOUND", 100)
    networks = trained_like(max_draws_per_cell=60)
    with torch.no_grad():
        networks.conditioner[-1].bias[1] -= 1e9
    message = (
        r"^activa: cell type 'beta' was 0 of 180 draws \(0\.000%\) and 2 cells of it were asked for; "
        r"train longer, lower confidence_threshold or raise max_draws_per_cell$"
    )
    with pytest.raises(SamplingExhausted, match=message):
        sample_types(networks, np.array([0, 1, 1]), names=NAMES, seed=0)
    with pytest.raises(SamplingExhausted, match="of 100 draws"):
        sample_types(networks, np.array([1]), names=NAMES, seed=0)


def test_the_three_norms_differ_and_none_changes_the_model():
    drawn = {}
    for norm in ("prior", "eval", "batch"):
        networks = trained_like(sampling_norm=norm)
        before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
        drawn[norm] = sample_cells(networks, 64, seed=3).matrix.toarray()
        for name, tensor in networks.state_dict().items():
            assert torch.equal(tensor, before[name])
    # Training re-estimates the statistics for "prior"; the same statistics give the same cells.
    np.testing.assert_array_equal(drawn["prior"], drawn["eval"])
    assert np.abs(drawn["batch"] - drawn["eval"]).max() > 1e-3

    networks = trained_like().train()
    with torch.no_grad():
        expected = networks.decoder(torch.randn(64, 4, generator=torch.Generator().manual_seed(3)))
    np.testing.assert_allclose(drawn["batch"], expected.numpy(), rtol=1e-4, atol=1e-5)


def test_batch_statistics_do_not_depend_on_how_many_cells_are_asked_for():
    networks = trained_like(sampling_norm="batch")
    many, one = (sample_cells(networks, n_cells, seed=3).matrix.toarray() for n_cells in (40, 1))
    np.testing.assert_allclose(one, many[:1], rtol=1e-6)


def test_batch_statistics_need_no_copy_of_the_decoder(monkeypatch):
    networks = trained_like(sampling_norm="batch")
    monkeypatch.setattr(
        type(networks.decoder), "__deepcopy__", lambda *_: pytest.fail("copied"), raising=False
    )
    sample_cells(networks, 150, seed=0)


def made_sparse(monkeypatch):
    """Numbers of rows of the blocks that are made sparse from now on."""
    n_rows, whole = [], decoding.sparsify
    monkeypatch.setattr(decoding, "sparsify", lambda block: n_rows.append(len(block)) or whole(block))
    return n_rows


def test_blocks_are_bounded(monkeypatch):
    n_rows = made_sparse(monkeypatch)
    sample_cells(trained_like(), 150, seed=0)
    assert sorted(n_rows) == [22, 64, 64]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_only_accepted_cells_are_made_sparse(monkeypatch, precision):
    networks = trained_like(precision=precision)
    n_rows = made_sparse(monkeypatch)
    drawn = sample_types(networks, np.full(40, 2), names=NAMES, seed=4)
    ahead = decoding.DRAW_SIZE * (torch.get_num_threads() + 1)
    calls = by_hand(networks, 4, drawn.draws + ahead)[1]
    assert drawn.accepted[2] <= sum(n_rows) <= 1.02 * (calls == 2).sum() < 0.5 * drawn.draws


def test_in_fp32_nothing_is_decoded_in_vain(monkeypatch):
    networks, sizes, decode = trained_like(), [], decoding.BlockDecoder._decode
    monkeypatch.setattr(
        decoding.BlockDecoder, "_decode", lambda self, *given: sizes.append(given[1]) or decode(self, *given)
    )
    drawn = sample_types(networks, np.full(40, 2), names=NAMES, seed=4)
    assert drawn.draws == sum(sizes) and drawn.accepted[2] - np.sum(drawn.types == 2) < 64


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("norm", ["eval", "batch"])
def test_bf16_cells_are_fp32_cells_to_three_digits(device, norm):
    networks = {
        precision: trained_like(precision=precision, sampling_norm=norm).to(device)
        for precision in ("fp32", "bf16")
    }
    drawn = {name: sample_cells(of, 150, seed=4) for name, of in networks.items()}
    exact, rounded = (drawn[name].matrix.toarray() for name in ("fp32", "bf16"))
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.02 * exact.max()
    assert (drawn["fp32"].types == drawn["bf16"].types).mean() > 0.95


def test_the_conditioner_is_given_the_cells_that_are_returned():
    _, calls, confidence = by_hand(trained_like(), 4, 2000)
    threshold = min(float(np.median(confidence[calls == code])) for code in range(3))
    networks = trained_like(precision="bf16", confidence_threshold=threshold)
    cells = sample_types(networks, np.array([0, 1, 2] * 9), names=NAMES, seed=4)
    with torch.no_grad():
        again = networks.conditioner(torch.from_numpy(cells.matrix.toarray())).softmax(dim=1)
    assert (again.gather(1, torch.from_numpy(cells.types)[:, None]) > threshold - 0.01).all()


def test_another_conditioner_calls_the_cells_it_is_given_in_fp32():
    networks = trained_like(precision="bf16")
    seen = []

    class First(torch.nn.Module):
        def forward(self, cells):
            seen.append(cells.dtype)
            return torch.nn.functional.one_hot(torch.zeros(len(cells), dtype=torch.long), 3).float()

    networks.conditioner = First()
    assert (sample_cells(networks, 70, seed=0).types == 0).all()
    assert set(seen) == {torch.float32}


def test_a_sampler_casts_once_and_draws_as_if_new(monkeypatch):
    networks = trained_like(precision="bf16")
    sampler = Sampler(networks)
    monkeypatch.setattr(decoding.BlockDecoder, "_cast", lambda *_: pytest.fail("cast again"))
    first, second, again = (sampler.cells(100, seed=seed).matrix for seed in (1, 2, 1))
    assert (first != second).nnz > 0
    assert (first != again).nnz == 0


@pytest.mark.parametrize("n_cells", [10, 500])
def test_threads_are_as_many_afterwards_as_before(n_cells):
    before = torch.get_num_threads()
    sample_cells(trained_like(), n_cells, seed=0)
    with ThreadPoolExecutor(1) as pool:
        assert (torch.get_num_threads(), pool.submit(torch.get_num_threads).result()) == (before, before)


def test_cells_do_not_depend_on_how_many_are_in_work():
    threads, networks = torch.get_num_threads(), trained_like()
    drawn = []
    try:
        for n_threads in (1, 4):
            torch.set_num_threads(n_threads)
            drawn.append(sample_types(networks, np.array([0, 2] * 60), names=NAMES, seed=4))
    finally:
        torch.set_num_threads(threads)
    assert drawn[0].draws == drawn[1].draws and drawn[0].accepted == drawn[1].accepted
    np.testing.assert_allclose(drawn[0].matrix.toarray(), drawn[1].matrix.toarray(), rtol=1e-5, atol=1e-7)


def test_what_goes_wrong_in_a_block_is_raised(monkeypatch):
    monkeypatch.setattr(decoding, "sparsify", lambda block: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample_cells(trained_like(), 150, seed=0)
