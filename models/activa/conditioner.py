"""The classifier that conditions ACTIVA, and the door for another one."""

from __future__ import annotations

import importlib
from typing import Final, Protocol

from torch import Tensor, nn

from models.activa.settings import Objective

DECAY_EVERY: Final = 1000
DECAY: Final = 0.95


class Conditioner(Protocol):
    """What a classifier must be to take ACTINN's place (paper, section 3.3).

    A `torch.nn.Module` class that is built from the number of genes and of cell types, and whose
    `forward` is differentiable with respect to the cells. ACTIVA trains it with cross-entropy on the
    training cells, then freezes it in eval mode. Parameters that need no gradient keep their values; if
    none needs one, there is no pre-training.

    On a GPU the training step is recorded only with `ACTINN`, of whose `forward` it is known that it reads no
    value from the device; with any other conditioner the step is launched kernel by kernel.

    What it draws from PyTorch's global generators (initial weights, dropout) follows from the training's
    seed, step by step; its random numbers must come from nowhere else.
    """

    def __init__(self, n_genes: int, n_cell_types: int) -> None: ...

    def forward(self, cells: Tensor) -> Tensor:
        """Return logits, n_cells × n_cell_types, of cells (n_cells × n_genes, ``cp20k``)."""


class ACTINN(nn.Sequential):
    """ACTINN (Ma & Pellegrini 2020, doi:10.1093/bioinformatics/btz592): n_genes → 100 → 50 → 25 → logits.

    Parameters
    ----------
    n_genes, n_cell_types
        Widths of input and output.
    xavier
        Xavier-uniform weights and biases of 0.01, as in the authors' stand-alone ACTINN; otherwise
        PyTorch's own initialisation, as in the ACTIVA release.
    """

    def __init__(self, n_genes: int, n_cell_types: int, *, xavier: bool = True) -> None:
        linears = [nn.Linear(*widths) for widths in ((n_genes, 100), (100, 50), (50, 25), (25, n_cell_types))]
        super().__init__(*(layer for linear in linears[:-1] for layer in (linear, nn.ReLU())), linears[-1])
        if xavier:
            for linear in linears:
                nn.init.xavier_uniform_(linear.weight)
                nn.init.constant_(linear.bias, 0.01)


def build_conditioner(name: str, n_genes: int, n_cell_types: int, *, objective: Objective) -> nn.Module:
    """Build the conditioner called `name`: ``"actinn"`` or ``"package.module:Class"``.

    Raises
    ------
    ValueError
        If there is no such class, or it is not a `torch.nn.Module`.
    """
    if name == "actinn":
        return ACTINN(n_genes, n_cell_types, xavier=objective == "paper")
    module_name, _, class_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"activa: conditioner={name!r} cannot be imported ({error}); "
            "give actinn or the path of an importable class, package.module:Class"
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"activa: conditioner={name!r} is not a torch.nn.Module class; derive it from one")
    return found(n_genes, n_cell_types)


def classifier_learning_rate(start: float, step: int) -> float:
    """Learning rate of the conditioner's `step`-th step, counted from 0: × 0.95 every 1000."""
    return start * DECAY ** (step // DECAY_EVERY)
