"""Generated cells on disk: written piece by piece, so that memory never holds more than a piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.results.disk import try_space
from datasets.cache import sha256_of

if TYPE_CHECKING:
    from anndata import AnnData


SMALL = 1 << 16
"""Bytes of what stands beside the cells themselves."""


def write_cells(path: Path, pieces: Iterable[AnnData], *, facts: dict[str, Any]) -> dict[str, Any]:
    """Write pieces of generated cells into one CSR ``.h5ad``; the file appears only when it is whole.

    Parameters
    ----------
    path
        File to write.
    pieces
        AnnData objects with the same genes; X CSR float32.
    facts
        Facts to write under ``uns["bench"]``: model, space, seed…

    Returns
    -------
    dict
        ``n_cells``, ``density`` (share of non-zero values) and ``sampling``: None, or the ``draws`` and the
        ``acceptance_rate`` of each type that the generator told under ``uns["sampling"]``, over all pieces.
    """
    import anndata
    import h5py

    temporary = path.with_name(f".{path.name}.part")
    n_cells, n_values, labels, first, told = 0, 0, [], None, []
    try:
        with h5py.File(temporary, "w") as file:
            group = file.create_group("X")
            growing = {"maxshape": (None,), "chunks": (1 << 18,), "compression": "lzf"}
            data = group.create_dataset("data", (0,), "f4", **growing)
            indices = group.create_dataset("indices", (0,), "i4", **growing)
            pointers = [np.zeros(1, dtype=np.int64)]
            for piece in pieces:
                first = piece if first is None else first
                matrix = piece.X
                # A full disk would end the process inside HDF5, too late for any error.
                try_space(path.parent, 8 * matrix.nnz + 200 * sum(piece.shape) + SMALL)
                for dataset, values in ((data, matrix.data), (indices, matrix.indices)):
                    dataset.resize((n_values + matrix.nnz,))
                    dataset[n_values:] = values
                pointers.append(matrix.indptr[1:].astype(np.int64) + n_values)
                n_cells, n_values = n_cells + piece.n_obs, n_values + matrix.nnz
                told += [piece.uns["sampling"]] if "accepted" in piece.uns.get("sampling", {}) else []
                if "cell_type" in piece.obs:
                    labels.append(np.asarray(piece.obs["cell_type"], dtype=str))
            if first is None:
                raise ValueError("no cells to write")
            group.create_dataset("indptr", data=np.concatenate(pointers))
            group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
            group.attrs["shape"] = (n_cells, first.n_vars)
            obs = pd.DataFrame(index=pd.Index([str(cell) for cell in range(n_cells)], name="cell"))
            if labels:
                obs["cell_type"] = pd.Categorical(np.concatenate(labels))
            for name, value in {"obs": obs, "var": first.var, "uns": {"bench": facts}}.items():
                anndata.io.write_elem(file, name, value)
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return {
        "n_cells": n_cells,
        "density": n_values / (n_cells * first.n_vars),
        "sampling": _whole_sampling(told) if told else None,
    }


def is_sound(path: Path, checksum: str | None) -> bool:
    """Tell whether a file of cells is as it was written; without a checksum, whether it opens as one."""
    import h5py

    try:
        if checksum is not None:
            return sha256_of(path) == checksum
        with h5py.File(path) as file:
            return "X" in file and "obs" in file
    except OSError:
        return False


def _whole_sampling(told: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up what a generator told of the draws of each piece.

    A piece tells ``draws`` and, for each of its ``cell_types``, how many draws were ``accepted``.
    """
    accepted: Counter[str] = Counter()
    for part in told:
        accepted.update(dict(zip(part["cell_types"], map(int, part["accepted"]), strict=True)))
    draws = sum(int(part["draws"]) for part in told)
    return {"draws": draws, "acceptance_rate": {name: count / draws for name, count in accepted.items()}}
