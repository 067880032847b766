"""``bench test MODEL``: what `models.base.Generator` promises, held against a generator on tiny cells.

A run enforces what it sees when it writes a sample (`bench.work.contract`). Here everything else is asked
for, too, before anybody waits for a run: that seeds reproduce, that a stored model draws the same cells in
another process, that errors are of the right kind, that cells are the model's own.
"""

from __future__ import annotations

from bench.promises.asking import broken_promises, check_promises
from bench.promises.findings import Finding

__all__ = ["Finding", "broken_promises", "check_promises"]
