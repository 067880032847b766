"""The cheats as a cheat would register them: ordinary models that declare nothing."""

from models.cheats.fitted import NearDuplicates, Reconstruction
from models.cheats.flat import EmptyCells, LibrarySizesOnly, MeanCell
from models.cheats.forest_rejection import ForestRejection
from models.cheats.forger import ComponentForger
from models.cheats.real_parts import HalfNoise, PermutedLabels, VariableGenesOnly
from models.controls import Memorise, Poisson


def registered(cheat):
    facts = {"name": f"our_{cheat.name}", "role": "model", "draws_from": "model", "__module__": __name__}
    return type(cheat.__name__, (cheat,), facts)


CHEATS = (
    Memorise,
    Reconstruction,
    MeanCell,
    EmptyCells,
    Poisson,
    PermutedLabels,
    HalfNoise,
    ComponentForger,
    ForestRejection,
    NearDuplicates,
    VariableGenesOnly,
    LibrarySizesOnly,
)
globals().update({cheat.__name__: registered(cheat) for cheat in CHEATS})
NAMES = tuple(cheat.__name__ for cheat in CHEATS)
