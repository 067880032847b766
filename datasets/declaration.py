"""What a data set is, in words: a new one is a `Declaration` of some ten lines and an entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets.errors import DatasetError
from datasets.readers import read_cells

if TYPE_CHECKING:
    from anndata import AnnData

ENTRY_POINTS = "bench.datasets"

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how far it is, and how far it goes (None where unknown)."""


@contextmanager
def step(progress: Progress, what: str) -> Iterator[None]:
    """Tell that a step of unknown length begins, and that it is over."""
    progress(what, 0, None)
    yield
    progress(what, 1, 1)


@dataclass(frozen=True)
class SourceFile:
    """A file that a data set is made of.

    Attributes
    ----------
    name
        Its name in the cache folder. Its ending says what is checked before the file is accepted: ``.tsv``
        must be a table; ``.h5``, ``.h5ad``, ``.tar.gz`` or none must be what `datasets.readers` reads.
    address
        Where it comes from: ``http(s)://…``, ``package:scanpy/datasets/FILE`` for a file inside an
        installed package, or None where no direct address is known and the file must be handed over.
    sha256
        Its checksum, where one is known; else the one seen first is recorded and enforced.
    """

    name: str
    address: str | None = None
    sha256: str | None = None


def _read_first(paths: Sequence[Path]) -> AnnData:
    return read_cells(paths[0])


@dataclass(frozen=True)
class Declaration:
    """A data set: where it comes from, how it is read and split, what it should look like.

    Attributes
    ----------
    name, description, reference, licence
        For people; `reference` is a DOI or an accession.
    files
        What `read` needs, in the order in which it gets the paths.
    read
        Paths → AnnData with whole-number counts in X or ``layers["counts"]``; what there is to tell
        about the reading in ``uns["reading_notes"]``, a list of sentences.
    label_key
        The obs column with given cell types, None where there is none (clusters then stand in).
    label_source
        Where those labels come from, in words.
    test_size
        How many test cells (int), or which share of all cells (float).
    stratify_by
        Whether the test cells are shared out by ``cell_type`` or by ``cluster`` (which is then computed).
    expected
        Numbers after preprocessing as published, by name: ``cells``, ``genes``, ``train``, ``test``,
        ``clusters`` (counted where they are computed), ``types``. A difference is noted, never hidden.
    rare_type_markers
        Genes by which `datasets.rare_type` finds the type of the augmentation experiment.
    second_source
        Where the data can also be had, in words.
    notes
        What everybody who uses these cells should know.
    """

    name: str
    description: str
    reference: str
    licence: str = "not stated"
    files: tuple[SourceFile, ...] = ()
    read: Callable[[Sequence[Path]], AnnData] = _read_first
    label_key: str | None = None
    label_source: str = ""
    test_size: int | float = 0.1
    stratify_by: Literal["cell_type", "cluster"] = "cell_type"
    expected: Mapping[str, int] = field(default_factory=dict)
    rare_type_markers: tuple[str, ...] = ()
    second_source: str = ""
    notes: tuple[str, ...] = ()


def find_declaration(name: str, registry: Mapping[str, Any] | None = None) -> Declaration | None:
    """Return the data set registered as `name`, or None.

    Parameters
    ----------
    name
        Registered name of the data set.
    registry
        Names → declarations; by default the entry points of the group ``bench.datasets``.
    """
    if registry is not None:
        return registry.get(name)
    points = entry_points(group=ENTRY_POINTS, name=name)
    return next((point.load() for point in points), None)


def registered(name: str, registry: Mapping[str, Any] | None = None) -> Declaration:
    """Like `find_declaration`, but a name that is not registered is an error.

    Raises
    ------
    DatasetError
        Naming those that are.
    """
    if (declaration := find_declaration(name, registry)) is None:
        raise DatasetError(f"unknown data set {name!r}: choose from {', '.join(registered_names(registry))}")
    return declaration


def registered_names(registry: Mapping[str, Any] | None = None) -> list[str]:
    """Return all registered names, sorted, without importing what they name."""
    if registry is not None:
        return sorted(registry)
    return sorted({point.name for point in entry_points(group=ENTRY_POINTS)})
