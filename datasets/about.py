"""What is known of a data set, and what a run would be told of it: ``bench data info``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import synthetic
from datasets.cache import prepared_copies
from datasets.counts import matrices, whole_matrices
from datasets.declaration import find_declaration
from datasets.errors import DatasetError
from datasets.library import file_info, folder_of, silent
from datasets.pipeline import opened, prepare, stored_notes
from datasets.resolve import resolve
from datasets.selection import Selection

if TYPE_CHECKING:
    from anndata import AnnData


def info(
    source: str | Path | AnnData,
    *,
    registry: Mapping[str, Any] | None = None,
    cache_folder: str | Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Tell about a data set, in values that JSON can hold, and what a run would be told of it.

    Parameters
    ----------
    source
        Anything that `datasets.prepare` takes.
    registry, cache_folder
        Declarations by name, and the cache folder; defaults are those of `fetch`.
    **options
        Options of `datasets.prepare`, such as ``label_key`` and ``layer``.

    Returns
    -------
    dict
        For a registered name without options: its description, its source files (with address, checksum and
        where they lie), its prepared copies and their notes. For anything else: name, cells, genes, obs and
        var columns, which matrices hold whole numbers; what preparing it comes to and the notes, or under
        ``refused`` why it cannot be prepared.

    Raises
    ------
    DatasetError
        If the source is unknown or cannot be read at all.
    """
    cache = folder_of(cache_folder)
    if isinstance(source, str) and not options:
        if (declaration := find_declaration(source, registry)) is not None:
            copies = prepared_copies(source, cache)
            notes = [*declaration.notes, *(note for path in copies for note in stored_notes(path))]
            return {
                "name": declaration.name,
                "description": declaration.description,
                "reference": declaration.reference,
                "licence": declaration.licence,
                "labels": declaration.label_source,
                "expected": dict(declaration.expected),
                "second_source": declaration.second_source,
                "cache_folder": str(cache),
                "files": [file_info(declaration, file, cache) for file in declaration.files],
                "prepared": [str(path) for path in copies],
                "notes": list(dict.fromkeys(notes)),
            }
        if source.startswith(synthetic.PREFIX):
            drawn = synthetic.declared(source)
            return {"name": source, "source": source} | dict(drawn.expected) | {"notes": list(drawn.notes)}
    return _read_info(source, registry, cache, options)


def _read_info(
    source: str | Path | AnnData, registry: Mapping[str, Any] | None, cache: Path, options: dict[str, Any]
) -> dict[str, Any]:
    """Tell what a file or AnnData holds, and what preparing it comes to."""
    facts: dict[str, Any] = {}
    adata: Any = source
    if isinstance(source, str | Path):
        wanted = Selection(genome=options.get("genome"))
        resolved = resolve(source, registry=registry, folder=cache, progress=silent, wanted=wanted)
        facts = {"name": resolved.declaration.name, "source": resolved.origin, "checksum": resolved.checksum}
        adata = resolved.read_all()
    whole = whole_matrices(adata)
    facts |= {
        "cells": adata.n_obs,
        "genes": adata.n_vars,
        "columns": [str(column) for column in adata.obs.columns],
        "gene_columns": [str(column) for column in adata.var.columns],
        "matrices": {name: "whole numbers" if name in whole else "other values" for name in matrices(adata)},
    }
    try:
        prepared = prepare(source, registry=registry, cache_folder=cache, **options)
    except DatasetError as error:
        return facts | {"refused": str(error)}
    with opened(prepared.path) as cells:
        split = cells.obs["split"].value_counts()
        comes_to = {"cells": cells.n_obs, "genes": cells.n_vars, "types": cells.obs["cell_type"].nunique()}
        comes_to |= {part: int(split[part]) for part in ("train", "valid", "test")}
    return facts | {"prepared": comes_to, "notes": list(prepared.notes)}
