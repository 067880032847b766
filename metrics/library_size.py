"""How far synthetic cells are from the library size that their space promises.

Cells in ``cp20k`` and ``log_cp20k`` sum to 20 000 once the logarithm is undone, as after the layer
of library-size normalisation of Marouf et al. 2020 (doi:10.1038/s41467-019-14018-z). Other metrics
rescale synthetic cells, so the error is a number of its own. No control is a floor: all of them make counts,
which promise no library size. No interval: no test cell enters the number.
"""

from __future__ import annotations

from metrics.declaration import NotApplicable, Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence


def _compute(real: RealEvidence, sample: SampleEvidence) -> Score:
    error = sample.library_size_error
    if error is None:
        raise NotApplicable("counts promise no library size")
    return Score(
        values={"library_size_error": error, "empty_cells": sample.n_empty_cells / sample.matrix.shape[0]},
        notes=sample.notes,
    )


METRIC = error_metric(
    name="library_size_error",
    description="median over cells of abs(library size / 20 000 − 1), before cells are rescaled",
    compute=_compute,
    reference="doi:10.1038/s41467-019-14018-z",
    cost="one sum of each cell",
    group="marginals",
    # A sum of each synthetic cell, compared with nothing that has to be estimated.
    least_cells=1,
)
