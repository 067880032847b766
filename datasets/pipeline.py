"""One call from a name, a file or AnnData to prepared cells in the cache.

The contract that everything downstream sees: X CSR float32 ``cp20k`` (library size 20 000, not logged);
``layers["counts"]`` CSR float32 whole numbers; obs ``cell_type``, ``split`` (categorical; ``train``,
``valid``, ``test``), ``control_pool`` (bool, within the training cells) and ``null_half`` (1 and 2 for two
halves of the pool, 0 elsewhere); obs ``cluster`` (categorical) only where no labels are given or the test
cells are shared out by it; obs ``donor`` (categorical) only where its column is named; unique var_names;
uns["bench"] with name, source, checksum, parameters, versions, labels, clusters (how they were found, None
where there are none), notes, rare_type_markers, declared (name of the project's own source that these cells
are certain to come from, else None).
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets import stored
from datasets.assemble import Parameters, assemble
from datasets.cache import atomic, locked, prepared_path, require_space, sha256_of
from datasets.code import imported_with, meaning_of
from datasets.declaration import Progress, step
from datasets.library import folder_of, silent
from datasets.resolve import Resolved, resolve
from datasets.selection import Selection
from datasets.streamed import is_too_large, prepare_streamed

if TYPE_CHECKING:
    from anndata import AnnData

_HASHED_APART = ("files", "read")
_LIBRARIES = ("anndata", "igraph", "numpy", "pynndescent", "scanpy", "scikit-learn", "scipy")


@dataclass(frozen=True)
class Prepared:
    """A prepared data set in the cache.

    Attributes
    ----------
    name
        Name of the data set in tables.
    key
        Hash of its source, declaration and parameters, and of the code and libraries that prepared it.
    path
        The .h5ad file with the prepared cells.
    notes
        Notes that its user should know, one sentence each.
    """

    name: str
    key: str
    path: Path
    notes: tuple[str, ...]

    def read(self) -> AnnData:
        """Read the cells."""
        return load(self.path)


def prepare(
    source: str | Path | AnnData,
    *,
    registry: Mapping[str, Any] | None = None,
    label_key: str | None = None,
    split_by: str | None = None,
    split_seed: int = 0,
    validation_share: float = 0.0,
    split_from: str | None = None,
    drop_unlabelled: bool = False,
    layer: str | None = None,
    gene_names: str | None = None,
    genome: str | None = None,
    donor_key: str | None = None,
    cache_folder: str | Path | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Fetch, check, preprocess and split a data set, unless the cache has it already.

    Parameters
    ----------
    source
        A registered name, ``synthetic:CELLSxGENES[xTYPES]``, the path of an .h5ad, a 10x .h5 or a 10x mtx
        folder, or AnnData.
    registry
        Declarations by name; by default the entry points of the group ``bench.datasets``.
    label_key
        Column of obs with cell types; by default the declared one, else ``cell_type`` if it exists, else
        clusters are used instead.
    split_by
        Column of obs whose groups are held out whole instead of a stratified test split.
    split_seed
        Seed of the split and the control pool.
    validation_share
        Share of the training cells to set apart for validation, in [0, 1).
    split_from
        Column of obs with ``train``, ``test`` or ``valid`` for each cell: a split that comes with the cells.
    drop_unlabelled
        Whether to leave out cells without a label instead of refusing them.
    layer
        Matrix of counts: a layer's name, ``"raw"`` or ``"X"``; by default ``layers["counts"]`` if it exists,
        else X.
    gene_names
        Column of var whose values name the genes; by default var_names.
    genome
        Genome whose genes are selected; by default all.
    donor_key
        Column of obs that names each cell's donor, kept as ``donor``.
    cache_folder
        Cache folder; `datasets.cache_folder` by default.
    memory
        Bytes of memory that preparing may take: an ``.h5ad`` or Zarr store that needs more is read piece by
        piece, with the same result. By default all cells are read at once.
    progress
        Function called with what is being done, how far it is, and how far it goes.

    Returns
    -------
    Prepared
        Where the cells lie.

    Raises
    ------
    DatasetError
        For every input that cannot be used; nothing is left behind.
    """
    progress = progress or silent
    cache = folder_of(cache_folder)
    wanted = Selection(layer=layer, gene_names=gene_names, genome=genome)
    resolved = resolve(
        source, registry=registry, folder=cache, progress=progress, wanted=wanted, label_key=label_key
    )
    parameters = Parameters(
        label_key=label_key or resolved.declaration.label_key,
        split_by=split_by,
        split_seed=split_seed,
        validation_share=validation_share,
        test_size=resolved.declaration.test_size,
        stratify_by=resolved.declaration.stratify_by,
        split_from=split_from,
        drop_unlabelled=drop_unlabelled,
        donor_key=donor_key,
        **asdict(wanted),
    )
    name, key = resolved.declaration.name, _key(resolved, parameters)
    path = prepared_path(name, key, cache)
    if not is_whole(path):
        with locked(path):
            # Another process may have filled it while this one waited.
            if not is_whole(path):
                _fill(path, resolved, parameters, memory, progress)
    return Prepared(name, key, path, stored_notes(path))


def load(path: str | Path) -> AnnData:
    """Read a prepared data set, with uns["bench"] in plain Python values as it was before it was written."""
    import anndata

    return _with_plain_facts(anndata.read_h5ad(path))


@contextmanager
def opened(path: str | Path) -> Iterator[AnnData]:
    """Give a prepared data set whose matrices stay on disk and are read where they are indexed."""
    with stored.opened(Path(path)) as adata:
        yield _with_plain_facts(adata)


def _with_plain_facts(adata: AnnData) -> AnnData:
    adata.uns["bench"] = _plain(adata.uns["bench"])
    return adata


def _fill(
    path: Path, resolved: Resolved, parameters: Parameters, memory: int | None, progress: Progress
) -> None:
    def tell(facts: dict[str, Any]) -> None:
        facts |= {
            "source": resolved.origin,
            "checksum": resolved.checksum,
            "declared": resolved.declared,
            "versions": _versions() | {"python": platform.python_version()},
        }
        facts["notes"] += resolved.notes

    file, declaration = resolved.file, resolved.declaration
    with atomic(path) as temporary:
        if file is not None and memory is not None and is_too_large(file, memory=memory):
            prepare_streamed(file, temporary, declaration, parameters, tell=tell, progress=progress)
        else:
            with step(progress, "reading"):
                raw = resolved.read()
            adata = assemble(raw, declaration, parameters, progress=progress)
            tell(adata.uns["bench"])
            with step(progress, "writing"):
                # A full disk crashes the process inside HDF5, too late for any error: look before it starts.
                require_space(temporary.parent, 16 * adata.X.nnz + 100 * sum(adata.shape) + 1_000_000)
                stored.write_cells(adata, temporary)
            # The checksum needs no memory for them.
            del raw, adata
        checksum = sha256_of(temporary)
    with atomic(_checksum_file(path)) as temporary:
        temporary.write_text(checksum)


def is_whole(path: Path) -> bool:
    """Tell whether a prepared file is there as it was written, by its checksum."""
    try:
        return _checksum_file(path).read_text() == sha256_of(path)
    except (OSError, UnicodeDecodeError):
        return False


def _checksum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _key(resolved: Resolved, parameters: Parameters) -> str:
    digest = hashlib.sha256()
    # What `files` holds is in the checksum, and what `read` does in the code below.
    declaration = resolved.declaration
    declared = {name: value for name, value in vars(declaration).items() if name not in _HASHED_APART}
    reader = _parts(declaration.read)
    names = [getattr(part, "__qualname__", part) for part in reader]
    facts = [declared, names, resolved.checksum, asdict(parameters), _versions()]
    digest.update(json.dumps(facts, sort_keys=True, default=repr).encode())
    files = sorted(Path(__file__).parent.glob("*.py"))
    # A third party's way of reading its files is part of the code as well.
    modules = [sys.modules.get(getattr(part, "__module__", "")) for part in reader if callable(part)]
    theirs = [getattr(module, "__file__", None) for module in modules]
    files += [part for file in theirs if file is not None for part in imported_with(Path(file))]
    digest.update(meaning_of(dict.fromkeys(files)).encode())
    return digest.hexdigest()[:16]


def _parts(value: Any) -> list[Any]:
    """Return a function, or the function of a `functools.partial` and all that is bound to it."""
    if not isinstance(value, partial):
        return [value]
    bound = (value.func, *value.args, *value.keywords, *value.keywords.values())
    return [part for item in bound for part in _parts(item)]


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


def stored_notes(path: Path) -> tuple[str, ...]:
    """Return the notes of a prepared data set, without reading its cells."""
    import h5py

    with h5py.File(path) as file:
        notes = file["uns/bench/notes"]
        return tuple(notes.asstr()[:]) if notes.size else ()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
