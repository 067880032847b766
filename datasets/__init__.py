"""Sources, download, preprocessing and splits of single-cell data sets.

One call does it all: ``datasets.prepare("pbmc68k_reduced")`` returns where the prepared cells lie,
and ``.read()`` gives them as AnnData under the contract that `datasets.pipeline` describes.

Nothing heavy is imported until one of the names below is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.about import info
    from datasets.cache import cache_folder
    from datasets.declaration import Declaration, SourceFile
    from datasets.errors import DatasetError
    from datasets.labels import rare_type
    from datasets.library import add, fetch
    from datasets.pipeline import Prepared, load, opened, prepare

__all__ = ["DatasetError", "Declaration", "Prepared", "SourceFile"]
__all__ += ["add", "cache_folder", "fetch", "info", "load", "opened", "prepare", "rare_type"]

_HOMES = {
    "about": ["info"],
    "cache": ["cache_folder"],
    "declaration": ["Declaration", "SourceFile"],
    "errors": ["DatasetError"],
    "labels": ["rare_type"],
    "library": ["add", "fetch"],
    "pipeline": ["Prepared", "load", "opened", "prepare"],
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"datasets.{module}"), name)
    raise AttributeError(f"module 'datasets' has no attribute {name!r}")
