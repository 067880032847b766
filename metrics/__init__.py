"""Scores of synthetic cells: pure functions from arrays to numbers, one idea per file.

In a notebook, `prepare` puts synthetic cells beside real ones and `score` computes a metric of `available`;
what metrics share (components, neighbours, a classifier) is computed once for all of them:

>>> import metrics
>>> real, sample = metrics.prepare(train, test, synthetic)      # doctest: +SKIP
>>> metrics.score("mmd", real, sample).headline                 # doctest: +SKIP
>>> metrics.score("rf_auc", real, sample).interval              # doctest: +SKIP

The definitions themselves are functions of arrays in the metrics' own modules, such as `metrics.mmd.mmd`,
`metrics.rf_auc.rf_auc` or `metrics.correlation_discrepancy.correlation_discrepancy`.

`metrics.evidence` prepares real and synthetic cells once for all metrics; each metric's module
holds a pure function and a `Metric` declaration of what the number means.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "prepare": "metrics.public",
    "score": "metrics.public",
    "available": "metrics.public",
    "Score": "metrics.declaration",
    "NotApplicable": "metrics.declaration",
}

__all__ = ["NotApplicable", "Score", "available", "prepare", "score"]


def __getattr__(name: str) -> Any:
    # Lazy, and no import statement: a metric's content key covers this file and what it imports.
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'metrics' has no attribute {name!r}")
