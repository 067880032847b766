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
        Name of the file in the cache folder. Its ending decides what is checked before it is accepted:
        ``.tsv`` must be a table; ``.h5``, ``.h5ad``, ``.tar.gz`` or none must be what `datasets.readers`
        reads.
    address
        Address of the file: ``http(s)://…``, ``package:scanpy/datasets/FILE`` for a file inside an installed
        package, or None if no direct address is known and the file must be handed over.
    sha256
        Checksum of the file; if it is None, the one seen first is recorded and enforced.
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
        Name, description, reference (a DOI or an accession) and licence of the data set.
    files
        Source files, in the order in which `read` gets their paths.
    read
        Function from paths to AnnData with whole-number counts in X or ``layers["counts"]``, and with notes
        about the reading in ``uns["reading_notes"]``, a list of sentences.
    label_key
        Column of obs with given cell types; None if there is none (clusters are then used instead).
    label_source
        Origin of these labels, in words.
    test_size
        Number of test cells (int), or their share of all cells (float).
    stratify_by
        Whether the test cells are shared out by ``cell_type`` or by ``cluster`` (which is then computed).
    expected
        Published numbers after preprocessing, by name: ``cells``, ``genes``, ``train``, ``test``,
        ``clusters`` (counted where they are computed), ``types``. A difference is noted, never hidden.
    rare_type_markers
        Genes by which `datasets.rare_type` finds the type of the augmentation experiment.
    second_source
        Another source of the data, in words.
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
        Declarations by name; by default the entry points of the group ``bench.datasets``.
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
