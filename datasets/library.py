"""The source files of registered data sets: fetch them, take them over by hand, tell about them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.cache import atomic, cache_folder, full_disk_told, locked, require_space, sha256_of
from datasets.declaration import Declaration, Progress, SourceFile, registered
from datasets.download import Unreachable, download
from datasets.errors import DatasetError
from datasets.readers import kind_of

if TYPE_CHECKING:
    from anndata import AnnData

_PACKAGE = "package:"


@dataclass(frozen=True)
class LocalFile:
    """A source file that lies here, checked.

    Attributes
    ----------
    path
        Where.
    sha256
        What it is.
    origin
        The address it came from, or ``"handed over: NAME"``.
    note
        What to tell about its checksum.
    """

    path: Path
    sha256: str
    origin: str
    note: str


def fetch(
    name: str,
    *,
    registry: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> tuple[LocalFile, ...]:
    """Bring the source files of a registered data set into the cache, unless they are there, and check them.

    Parameters
    ----------
    name
        A registered name.
    registry
        Names → declarations; by default the entry points of the group ``bench.datasets``.
    folder
        The cache folder; `datasets.cache_folder` by default.
    progress
        Told what is being downloaded, the bytes so far and in all.

    Raises
    ------
    DatasetError
        If the name is unknown, an address cannot be reached, a checksum does not match or the disk is full.
    """
    return fetch_files(registered(name, registry), folder or cache_folder(), progress or _silent)


def fetch_files(declaration: Declaration, folder: Path, progress: Progress) -> tuple[LocalFile, ...]:
    """Like `fetch`, for a declaration at hand."""
    return tuple(_obtain(declaration, file, folder, progress) for file in declaration.files)


def add(
    name: str, path: str | Path, *, registry: Mapping[str, Any] | None = None, folder: Path | None = None
) -> LocalFile:
    """Take over a file that the user already has as a source file of a registered data set.

    Its checksum is recorded and enforced from then on. One that differs from the published file's is
    accepted (a second source may pack the same cells differently) and noted with every result.

    Parameters
    ----------
    name
        A registered name.
    path
        The file; it is copied.
    registry, folder
        As for `fetch`.

    Raises
    ------
    DatasetError
        If the name is unknown, the file is missing, truncated, foreign, or none that this data set is made
        of, or the disk is full.
    """
    declaration = registered(name, registry)
    source = Path(path).expanduser()
    if not source.is_file():
        raise DatasetError(f"{source} is not a file: give the file to take over as {name}")
    wanted = _which_file(declaration, source)
    if Path(wanted.name).suffix in ("", ".h5", ".h5ad", ".gz"):
        kind_of(source)
    target = _stored_path(declaration, wanted, folder or cache_folder())
    with locked(target):
        with atomic(target) as temporary:
            require_space(temporary.parent, source.stat().st_size)
            shutil.copyfile(source, temporary)
        _record(target, sha256_of(target), f"handed over: {source.name}")
    return _checked(declaration, wanted, target)


def info(
    source: str | Path | AnnData, *, registry: Mapping[str, Any] | None = None, folder: Path | None = None
) -> dict[str, Any]:
    """Tell about a data set, in values that JSON can hold.

    Parameters
    ----------
    source
        Anything that `datasets.prepare` takes.
    registry, folder
        As for `fetch`.

    Returns
    -------
    dict
        For a registered name: its description, its source files (with address, checksum and where they
        lie) and its prepared copies. For anything else: name, cells, genes, obs columns.
    """
    from datasets.resolve import resolve

    cache = folder or cache_folder()
    if isinstance(source, str) and (declaration := _registered_or_none(source, registry)) is not None:
        return {
            "name": source,
            "description": declaration.description,
            "reference": declaration.reference,
            "licence": declaration.licence,
            "labels": declaration.label_source,
            "expected": dict(declaration.expected),
            "second_source": declaration.second_source,
            "cache_folder": str(cache),
            "files": [_file_info(declaration, file, cache) for file in declaration.files],
            "prepared": [str(path) for path in sorted((cache / "prepared").glob(f"{source}-*.h5ad"))],
        }
    resolved = resolve(source, registry=registry, folder=cache, progress=_silent)
    adata = resolved.read()
    return {
        "name": resolved.declaration.name,
        "source": resolved.origin,
        "cells": adata.n_obs,
        "genes": adata.n_vars,
        "columns": [str(column) for column in adata.obs.columns],
        "checksum": resolved.checksum,
    }
