"""Controls: generators without a model, drawn from the training cells, that give every metric its scale.

A ceiling (`Real`), a null (`Null`), three floors (`Shuffle`, `ShuffleWithinType`, `Poisson`) and
a cheat (`Memorise`). All of them return whole-number counts, train nothing and ignore their
budget; `fit` only remembers cells. `Real`, `Null` and `Memorise` draw from the cells of
``obs["control_pool"]`` alone, so that a PCA fitted on the other training cells has seen no
cell of a control. Time and memory follow the counts that are drawn, never cells × genes.
"""

from models.controls.control import Control
from models.controls.floors import Poisson, Shuffle, ShuffleWithinType
from models.controls.real_cells import Memorise, Null, Real

__all__ = ["Control", "Memorise", "Null", "Poisson", "Real", "Shuffle", "ShuffleWithinType"]
