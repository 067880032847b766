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

__all__ = [
    "DatasetError",
    "Declaration",
    "Prepared",
    "SourceFile",
    "add",
    "cache_folder",
    "fetch",
    "info",
    "load",
    "opened",
    "prepare",
    "rare_type",
]

_HOME = {
    "DatasetError": "errors",
    "Declaration": "declaration",
    "Prepared": "pipeline",
    "SourceFile": "declaration",
    "add": "library",
    "cache_folder": "cache",
    "fetch": "library",
    "info": "about",
    "load": "pipeline",
    "opened": "pipeline",
    "prepare": "pipeline",
    "rare_type": "labels",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'datasets' has no attribute {name!r}")
    return getattr(import_module(f"datasets.{_HOME[name]}"), name)
