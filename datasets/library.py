"""The source files of registered data sets: fetch them, take them over by hand."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.assemble import differences
from datasets.cache import atomic, file_name, locked, require_space, sha256_of
from datasets.cache import cache_folder as default_folder
from datasets.declaration import Declaration, Progress, SourceFile, registered
from datasets.download import Unreachable, download
from datasets.errors import DatasetError
from datasets.labels import given_labels
from datasets.preprocessing import kept_cells_and_genes
from datasets.readers import require_readable
from datasets.selection import Selection, select

_PACKAGE = "package:"
_FAR = 2
"""A data set that is so many times larger or smaller than expected looks like another."""


@dataclass(frozen=True)
class LocalFile:
    """A source file that lies here, checked.

    Attributes
    ----------
    path
        Path of the file.
    sha256
        Checksum of the file.
    record
        File beside it that holds its checksum; None for a file inside a package.
    origin
        Address that the file came from, or ``"handed over: NAME"``.
    note
        Note about the checksum; empty for a file inside a package, whose version is enough.
    as_declared
        Whether it is certain to be the declared file: its checksum is the pinned one or, where none is, it
        came from the declared address.
    """

    path: Path
    record: Path | None
    sha256: str
    origin: str
    note: str
    as_declared: bool


def fetch(
    name: str,
    *,
    registry: Mapping[str, Any] | None = None,
    cache_folder: str | Path | None = None,
    progress: Progress | None = None,
) -> tuple[LocalFile, ...]:
    """Bring the source files of a registered data set into the cache, unless they are there, and check them.

    Parameters
    ----------
    name
        Registered name of the data set.
    registry
        Declarations by name; by default the entry points of the group ``bench.datasets``.
    cache_folder
        Cache folder; `datasets.cache_folder` by default.
    progress
        Function called with what is being downloaded, and the bytes so far and in all.

    Raises
    ------
    DatasetError
        If the name is unknown, an address cannot be reached, a checksum does not match or the disk is full.
    """
    return fetch_files(registered(name, registry), folder_of(cache_folder), progress or silent)


def fetch_files(declaration: Declaration, folder: Path, progress: Progress) -> tuple[LocalFile, ...]:
    """Like `fetch`, for a declaration at hand."""
    return tuple(_obtain(declaration, file, folder, progress) for file in declaration.files)


def add(
    name: str,
    path: str | Path,
    *,
    registry: Mapping[str, Any] | None = None,
    cache_folder: str | Path | None = None,
) -> LocalFile:
    """Take over a file that the user already has as a source file of a registered data set.

    It must read as the declaration says: whole-number counts, and the declared labels. Its checksum is
    recorded and enforced from then on. One that differs from the published file's is accepted (a second
    source may pack the same cells differently), as are other numbers of cells, genes or types than those
    expected; both are noted here and with every result.

    Parameters
    ----------
    name
        Registered name of the data set.
    path
        Path of the file, which is copied.
    registry, cache_folder
        Declarations by name, and the cache folder; defaults are those of `fetch`.

    Raises
    ------
    DatasetError
        If the name is unknown, the file is missing, truncated, foreign, none that this data set is made of,
        without counts or the declared labels, or the disk is full.
    """
    declaration = registered(name, registry)
    source = Path(path).expanduser()
    if not source.is_file():
        raise DatasetError(f"{source} is not a file: give the file to take over as {name}")
    wanted = _which_file(declaration, source)
    require_readable(source, name=wanted.name)
    folder = folder_of(cache_folder)
    unlike, notes = _held_against(declaration, wanted, source, folder)
    target = _stored_path(declaration, wanted, folder)
    with locked(target):
        with atomic(target) as temporary:
            require_space(temporary.parent, source.stat().st_size)
            shutil.copyfile(source, temporary)
        _record(target, sha256_of(target), f"handed over: {source.name}")
        taken = _checked(declaration, wanted, target)
    return replace(taken, note="; ".join([*unlike, taken.note, *notes]))


def _held_against(
    declaration: Declaration, wanted: SourceFile, source: Path, folder: Path
) -> tuple[list[str], list[str]]:
    """Read a data set with `source` as one of its files; tell what differs from the declaration.

    First what differs so much that it looks like other data.
    """
    paths = []
    for file in declaration.files:
        if file is wanted:
            paths.append(source)
        elif (packaged := _inside_package(declaration, file)) is not None:
            paths.append(packaged.path)
        else:
            paths.append(_stored_path(declaration, file, folder))
    if missing := [path.name for path in paths if not path.exists()]:
        return [], [f"not yet held against the declaration, for want of {', '.join(missing)}"]
    try:
        cells = select(declaration.read(paths), Selection(), label_key=declaration.label_key)
        types = None if declaration.label_key is None else given_labels(cells.obs, declaration.label_key)
    except DatasetError as error:
        raise DatasetError(f"{source.name} is not {declaration.name}: {error}") from error
    kept_cells, kept_genes = kept_cells_and_genes(cells.X)
    found = {"cells": int(kept_cells.sum()), "genes": int(kept_genes.sum())}
    if types is not None:
        found["types"] = len(np.unique(types[kept_cells]))
    expected = dict(declaration.expected)
    if {"train", "test"} <= set(expected):
        expected.setdefault("cells", expected["train"] + expected["test"])
    far = [
        f"{found[what]} {what}, not about {expected[what]}"
        for what in ("cells", "genes")
        if what in expected and not 1 / _FAR <= found[what] / expected[what] <= _FAR
    ]
    unlike = f"{source.name} does not look like {declaration.name}: it has {' and '.join(far)}"
    return [unlike] if far else [], differences(replace(declaration, expected=expected), found)


def folder_of(cache_folder: str | Path | None) -> Path:
    """Return a cache folder that was given in any way, or the default one."""
    return Path(cache_folder).expanduser() if cache_folder else default_folder()


def silent(what: str, done: int, total: int | None) -> None:
    """Show no progress."""


def _obtain(declaration: Declaration, file: SourceFile, folder: Path, progress: Progress) -> LocalFile:
    if (packaged := _inside_package(declaration, file)) is not None:
        return packaged
    target = _stored_path(declaration, file, folder)
    if file.address is None and not target.exists():
        raise DatasetError(
            f"{declaration.name}: no direct address of its file is known: get it from "
            f"{declaration.second_source}, and hand it over with: bench data add {declaration.name} FILE "
            f"(cache folder: {folder})"
        )
    with locked(target):
        if file.address is not None and not target.exists():
            _download(declaration, file, file.address, target, progress)
        return _checked(declaration, file, target)


def _inside_package(declaration: Declaration, file: SourceFile) -> LocalFile | None:
    """Find a file that comes with an installed package; None for those that do not."""
    address = file.address
    if address is None or not address.startswith(_PACKAGE):
        return None
    package, _, inner = address.removeprefix(_PACKAGE).partition("/")
    # Finding a top-level package does not import it: scanpy alone would take two seconds.
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    path = Path(folders[0], inner) if folders else None
    if path is None or not path.is_file():
        raise DatasetError(
            f"{declaration.name}: the installed {package} does not hold {inner}: install it anew"
        )
    return LocalFile(path, None, sha256_of(path), address, note="", as_declared=True)


def _download(
    declaration: Declaration, file: SourceFile, address: str, target: Path, progress: Progress
) -> None:
    partial = target.with_name(f"{target.name}.part")
    folder = target.parents[2]
    try:
        download(address, partial, progress=progress)
    except Unreachable as error:
        other = f" ({declaration.second_source})" if declaration.second_source else ""
        raise DatasetError(
            f"{declaration.name}: {address} cannot be reached ({error}): get the file elsewhere{other} "
            f"and hand it over with: bench data add {declaration.name} FILE (cache folder: {folder})"
        ) from error
    try:
        found = _accepted(declaration, file, address, partial, target)
    except DatasetError:
        partial.unlink()
        raise
    _record(target, found, address)
    partial.replace(target)


def _accepted(declaration: Declaration, file: SourceFile, address: str, partial: Path, target: Path) -> str:
    """Return the checksum of a download that is what it should be."""
    found, recorded = sha256_of(partial), _recorded(target)
    # What was handed over says nothing about what lies at the address.
    known = recorded["sha256"] if recorded and recorded["origin"] == address else None
    wanted = file.sha256 or known
    if wanted and found != wanted:
        source = "pinned" if file.sha256 else "recorded at the first download"
        remedy = "try again" if file.sha256 else f"delete {_record_path(target)} to take the new one"
        raise DatasetError(
            f"{declaration.name}: the checksum of {address} is {found}, not the {wanted} {source}: "
            f"{remedy}, or hand over a file you trust with: bench data add {declaration.name} FILE"
        )
    try:
        require_readable(partial, name=file.name)
    except DatasetError as error:
        raise DatasetError(
            f"{declaration.name}: {address} sent something else than {file.name}, or half of it: try again, "
            f"or get the file by other means and hand it over with: bench data add {declaration.name} FILE"
        ) from error
    return found


def _checked(declaration: Declaration, file: SourceFile, target: Path) -> LocalFile:
    """Hash a stored file and hold it against what is known of it."""
    found = sha256_of(target)
    if (recorded := _recorded(target)) is None:
        # Somebody put the file where it belongs without `bench data add`.
        require_readable(target, name=file.name)
        recorded = _record(target, found, f"handed over: {target.name}")
    if found != recorded["sha256"]:
        raise DatasetError(
            f"{declaration.name}: the checksum of {target} is {found}, not the {recorded['sha256']} "
            f"recorded when it came: delete it and {_record_path(target)}, and fetch or hand it over again"
        )
    if file.sha256 is None:
        note = f"{target.name}: no checksum is pinned; the one recorded when it came is enforced: {found}"
    elif found == file.sha256:
        note = f"{target.name}: the checksum is the pinned one"
    else:
        note = f"{target.name}: {recorded['origin']}; its checksum is not that of the published file"
    as_declared = found == file.sha256 if file.sha256 else recorded["origin"] == file.address
    return LocalFile(target, _record_path(target), found, recorded["origin"], note, as_declared)


def _which_file(declaration: Declaration, source: Path) -> SourceFile:
    """Tell which of its source files a data set gets handed over: by name, else by suffix."""
    takes = [f for f in declaration.files if f.address is None or not f.address.startswith(_PACKAGE)]
    same_name = [file for file in takes if file.name == source.name]
    same_suffix = [file for file in takes if Path(file.name).suffix == source.suffix]
    for candidates in (same_name, takes, same_suffix):
        if len(candidates) == 1:
            return candidates[0]
    if not takes:
        raise DatasetError(f"{declaration.name} takes no file: it comes with an installed package")
    names = " and ".join(file.name for file in takes)
    raise DatasetError(
        f"{source.name} is none of the files of {declaration.name}: name it like one of {names}"
    )


def _stored_path(declaration: Declaration, file: SourceFile, folder: Path) -> Path:
    return folder / "sources" / file_name(declaration.name) / file.name


def _record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _recorded(target: Path) -> dict[str, str] | None:
    path = _record_path(target)
    if not path.exists():
        return None
    try:
        recorded = json.loads(path.read_text())
        return {"sha256": str(recorded["sha256"]), "origin": str(recorded["origin"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is damaged: delete it and {target}, and fetch or hand it over again"
        ) from error


def _record(target: Path, sha256: str, origin: str) -> dict[str, str]:
    recorded = {"sha256": sha256, "origin": origin}
    with atomic(_record_path(target)) as temporary:
        temporary.write_text(json.dumps(recorded))
    return recorded


def file_info(declaration: Declaration, file: SourceFile, folder: Path) -> dict[str, Any]:
    """Tell about a source file: its address and checksum, and where it lies if it is here."""
    target = _stored_path(declaration, file, folder)
    recorded = _recorded(target)
    checksum = "pinned" if file.sha256 else "recorded" if recorded else "unknown until the first download"
    return {
        "name": file.name,
        "address": file.address,
        "sha256": file.sha256 or (recorded and recorded["sha256"]),
        "checksum": checksum,
        "path": str(target) if target.exists() else None,
    }
