"""ACTIVA as its authors published it: the same model, set as their code and their samples' names say."""

from __future__ import annotations

import inspect
from functools import update_wrapper
from typing import Any, ClassVar, Final

from models.activa.generator import Activa

PUBLISHED: Final = {"objective": "release", "sampling_norm": "batch"}
"""What differs from the defaults of `Activa`, which are the paper's."""


class ActivaPublished(Activa):
    """The model behind ACTIVA's published samples, where `Activa` is the one that the paper describes.

    Its objective is the released code's, which cuts the adversarial term off from the generator; cells are
    drawn with the sampled batch's own BatchNorm statistics, as the authors' tutorial does, so that a cell
    hangs on those drawn with it; profile ``paper`` trains for 600 epochs, as the samples' names say.
    Hyper-parameters, phases and everything else are those of `Activa`, and can be set like them.

    Notes
    -----
    Where it may still differ from what was published: the samples' names also say ``10RecLoss``, so that
    `weight_reconstruction` may not have been 0.05; and the classifier and the warm-up keep their shares of
    the budget (5 and 11 of 600 epochs), where the released script gives them 4 and 9 of however many.
    """

    name: ClassVar[str] = "activa_published"
    default_budgets: ClassVar[dict[str, str]] = Activa.default_budgets | {"paper": "600epochs"}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**PUBLISHED | settings)

    __signature__ = inspect.signature(Activa).replace(
        parameters=[
            parameter.replace(default=PUBLISHED.get(name, parameter.default))
            for name, parameter in inspect.signature(Activa).parameters.items()
        ]
    )


# Whoever reads the hyper-parameters' types from the constructor finds those of `Activa`.
update_wrapper(ActivaPublished.__init__, Activa.__init__)
