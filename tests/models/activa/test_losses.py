import math

import pytest
import torch
from torch.distributions import Normal
from torch.distributions.kl import kl_divergence as torch_kl

from models.activa.losses import conditioning_loss, hinge, kl_divergence, reconstruction_loss
from models.activa.weights import SoftAdapt, Weights
from tests.models.activa.activa_cases import small_settings


def test_kl_is_that_of_torch_distributions():
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn((2, 7, 5), generator=generator, dtype=torch.float64)
    posterior = Normal(mean, (log_variance / 2).exp())
    expected = torch_kl(posterior, Normal(0.0, 1.0)).sum(dim=1).mean()
    assert kl_divergence(mean, log_variance) == pytest.approx(expected.item(), rel=1e-12)


def test_kl_by_hand():
    mean = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    log_variance = torch.tensor([[0.0, math.log(2)], [0.0, 0.0]])
    first = 0.5 * 1 + 0.5 * (2 - 1 - math.log(2))
    assert kl_divergence(mean, log_variance).item() == pytest.approx((first + 0.5 * 4) / 2)


@pytest.mark.parametrize(("kl", "expected"), [(100.0, 10.0), (110.0, 0.0), (130.0, 0.0)])
def test_hinge_by_hand(kl, expected):
    assert hinge(torch.tensor(kl), margin=110.0).item() == expected


def test_reconstruction_is_summed_over_genes_and_averaged_over_cells():
    cells = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    reconstructed = torch.tensor([[0.0, 4.0, 0.0], [1.0, 0.0, 0.0]])
    assert reconstruction_loss(reconstructed - cells).item() == pytest.approx(((1 + 4) + (1 + 9)) / 2)


def test_conditioning_is_summed_over_types_and_cells():
    logits = torch.tensor([[1.0, 0.0], [2.0, 2.0]])
    reconstructed = torch.tensor([[0.0, 0.0], [0.0, 5.0]])
    assert conditioning_loss(logits, reconstructed).item() == (1 + 4 + 9) / 2
    assert conditioning_loss(logits, reconstructed, halved=False).item() == 1 + 4 + 9


def test_soft_adapt_by_hand():
    adapt = SoftAdapt(2, beta=0.1)
    assert adapt.factors(torch.tensor([10.0, 4.0])).tolist() == pytest.approx([1.0, 1.0])
    # Changes −2 and +0.5, divided by 2.5: −0.8 and 0.2.
    exponentials = [math.exp(-0.08), math.exp(0.02)]
    expected = [2 * value / sum(exponentials) for value in exponentials]
    assert adapt.factors(torch.tensor([8.0, 4.5])).tolist() == pytest.approx(expected)
    # Both fell by 1 since then.
    assert adapt.factors(torch.tensor([7.0, 3.5])).tolist() == pytest.approx([1.0, 1.0])


def test_weights_are_the_constants_until_soft_adapt_multiplies_them():
    terms = torch.tensor([120.0, 30.0, 9e6, 400.0])
    fixed = Weights(small_settings(), device=torch.device("cpu"))
    for _ in range(2):
        assert fixed.of("encoder", terms).tolist() == pytest.approx([1, 0.25, 0.05, 0.05])
        assert fixed.of("generator", terms[1:]).tolist() == pytest.approx([0.5, 0.05, 0.05])
    adapted = Weights(small_settings(soft_adapt=True), device=torch.device("cpu"))
    assert adapted.of("encoder", terms).tolist() == pytest.approx([1, 0.25, 0.05, 0.05])
    # Only L_AE moved, and it fell: its share of the softmax is e^−0.1 against 1 for the three others.
    total = 3 + math.exp(-0.1)
    expected = [4 / total, 0.25 * 4 / total, 0.05 * 4 * math.exp(-0.1) / total, 0.05 * 4 / total]
    lower = terms - torch.tensor([0.0, 0.0, 1e6, 0.0])
    assert adapted.of("encoder", lower).tolist() == pytest.approx(expected)
