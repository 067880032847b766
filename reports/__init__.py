"""Records in; tables and figures out.

Everything here reads one plain dictionary, the *run view*, and changes nothing:

``run``
    ``folder``, ``dataset`` (``name``, ``source``, ``checksum``, ``declared``, ``notes``, …), ``train_shape``
    (cells, genes), ``n_test``, ``n_cells`` (a side), ``dataset_key`` (of the prepared cells), ``profile``,
    ``protocols``, ``protocol``, ``space`` (optional), ``hardware``, ``versions``, ``bench_version``,
    ``git_commit``.
``records``
    One dictionary per Job, in the order of the plan: what it measured, or why it failed; a planned Job that
    has not run yet has the status ``not run``.
``scores``
    Job key → list of scores (``metric``, ``sample_seed``, ``protocol``, ``n_cells``, ``values``, ``details``,
    ``notes``, ``error``, ``failed``: it broke, as against one that does not apply).
``augmentation_baselines``
    What the cheap augmenters reached in the augmentation experiment.
``metrics``
    Declarations of the metrics: ``name``, ``better``, ``ideal``, ``floors``, ….
"""

from collections.abc import Mapping
from typing import Any

RunView = Mapping[str, Any]
"""The dictionary described above."""
