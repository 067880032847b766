"""Matrix Market files with their genes and barcodes, as Cell Ranger, R, GEO and others leave them behind."""

from __future__ import annotations

import csv
import gzip
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from datasets.errors import DatasetError
from datasets.features import are_types, first_few, plain

if TYPE_CHECKING:
    from anndata import AnnData

_ROLES = {
    "matrix": re.compile(r"(.*?)(matrix)?\.mtx(\.gz)?", re.IGNORECASE),
    "genes": re.compile(r"(.*?)(genes?|features?)\.(tsv|txt|csv)(\.gz)?", re.IGNORECASE),
    "barcodes": re.compile(r"(.*?)(barcodes?)\.(tsv|txt|csv)(\.gz)?", re.IGNORECASE),
}
_USUAL = {"matrix": "matrix.mtx", "genes": "genes.tsv or features.tsv", "barcodes": "barcodes.tsv"}
_NAME_HEADERS = {"gene", "genes", "genename", "genenames", "genesymbol", "genesymbols", "symbol", "name"}
_BARCODE_HEADERS = {"barcode", "barcodes", "cell", "cells", "cellid", "cellbarcode"}
_TYPE_HEADERS = {"featuretype", "featuretypes"}
_GENES_FIRST = re.compile(r"(genes?|features?)[_.-]?(x|by)[_.-]?cells?", re.IGNORECASE)
_CELLS_FIRST = re.compile(r"cells?[_.-]?(x|by)[_.-]?(genes?|features?)", re.IGNORECASE)
_HELD = {"all", "cell", "cells", "count", "counts", "filtered", "gene", "genes", "raw", "umi", "x"}
"""Words in the names of files that tell what they hold, not whose it is."""


@dataclass(frozen=True)
class MtxSet:
    """Three files that belong together.

    Attributes
    ----------
    folder, prefix
        Folder of the files, and the prefix of their names.
    files
        Paths of ``matrix``, ``genes`` and ``barcodes``, as far as they exist.
    """

    folder: PurePath
    prefix: str
    files: dict[str, PurePath]


def holds_mtx(path: Path) -> bool:
    """Tell whether a file is a Matrix Market matrix, a folder or a tar archive holds one."""
    if path.is_file() and not tarfile.is_tarfile(path):
        return unpacked_start(path, 14).lower() == b"%%matrixmarket"
    return any("matrix" in found.files for found in _sets(_names(path)))


def mtx_files(path: Path, *, genome: str | None = None) -> list[Path]:
    """Return what `read_mtx` reads: the three files of a folder, or the archive itself."""
    if _is_archive(path):
        return [path]
    return sorted(Path(name) for name in _chosen(path, genome).files.values())


def read_mtx(path: Path, *, genome: str | None, notes: list[str]) -> AnnData:
    """Read a matrix with the names of its genes and cells.

    The files may be packed or not, have a prefix (``GSM1_matrix.mtx.gz``), a header, one column or more,
    tabs or commas, and the matrix may be genes × cells or cells × genes: the lengths of the lists tell.

    Parameters
    ----------
    path
        A folder, a tar archive, or a matrix whose lists lie beside it.
    genome
        Genome to read, which is the name of its folder, if there are several.
    notes
        List to which notes are added, such as that the matrix was cells × genes, or could be either.

    Returns
    -------
    AnnData
        Cells × genes; var holds ``gene_ids`` and ``feature_types`` where there are columns for them.

    Raises
    ------
    DatasetError
        If there are several such matrices, or the lists do not fit the matrix.
    ValueError
        If one of the files is missing or damaged.
    """
    from anndata import AnnData
    from scipy.io import mmread
    from scipy.sparse import csr_matrix

    chosen = _chosen(path, genome)
    if missing := [usual for role, usual in _USUAL.items() if role not in chosen.files]:
        raise ValueError(f"without {' and '.join(missing)}")
    with _opened(path, chosen) as files:
        genes = _Table.read(files["genes"], name=chosen.files["genes"].name)
        barcodes = _Table.read(files["barcodes"], name=chosen.files["barcodes"].name)
        matrix = mmread(files["matrix"])
    name = chosen.files["matrix"].name
    cells_first = _CELLS_FIRST.search(name) is not None
    upright, genes, barcodes = _fitted(matrix.shape, genes, barcodes, cells_first=cells_first, where=path)
    if not upright:
        notes.append(f"{name} is cells × genes, and is read so")
    elif matrix.shape[0] == matrix.shape[1] and _GENES_FIRST.search(name) is None:
        notes.append(f"{name} has as many rows as columns, and is read as genes × cells")
    adata = AnnData(csr_matrix(matrix.T if upright else matrix))
    adata.obs_names = barcodes.column(_BARCODE_HEADERS, position=0)
    _describe_genes(adata, genes, notes)
    if genome is not None and plain(chosen.folder.name) == plain(genome):
        adata.var["genome"] = genome
    return adata


def _describe_genes(adata: AnnData, genes: _Table, notes: list[str]) -> None:
    """Set the names, ids and types of genes, from whichever columns hold them."""
    types = genes.types()
    columns = [number for number in range(genes.width) if number != types] or [0]
    if genes.width and len(columns) == 1:
        beside = "" if types is None else " beside that of the types"
        notes.append(f"{genes.name} has one column{beside}, which gives the names of the genes")
    names = genes.column(_NAME_HEADERS, position=columns[:2][-1])
    ids = genes.column({"geneid", "geneids", "ensemblid", "id"}, position=columns[0])
    adata.var_names = [name or identifier for name, identifier in zip(names, ids, strict=True)]
    if len(columns) > 1:
        adata.var["gene_ids"] = ids
    if types is not None:
        adata.var["feature_types"] = genes.column(set(), position=types)


@dataclass(frozen=True)
class _Table:
    """Rows of fields; whether the first is a header is told by how many there should be."""

    name: str
    rows: list[list[str]]
    header: list[str] | None = None

    @classmethod
    def read(cls, content: IO[bytes], *, name: str) -> _Table:
        lines = [line.rstrip("\r") for line in content.read().decode("utf-8-sig").split("\n")]
        lines = [line for line in lines if line.strip()]
        if any("\t" in line for line in lines[:2]):
            rows = [line.split("\t") for line in lines]
        elif ".csv" in name.lower() or _like_csv(lines):
            rows = list(csv.reader(lines))
        else:
            rows = [[line] for line in lines]
        return cls(name, rows)

    @property
    def width(self) -> int:
        return len(self.rows[0]) if self.rows else 0

    def with_header(self) -> _Table:
        """Take the first row for a header; R leaves out the name of the row names."""
        header, rows = self.rows[0], self.rows[1:]
        header = ["", *header] if rows and len(header) == len(rows[0]) - 1 else header
        return _Table(self.name, rows, [plain(name) for name in header])

    def without_numbers(self) -> _Table:
        """Leave out a first column that only numbers the rows, and quotation marks around all of a column."""
        first = [row[0] for row in self.rows]
        if self.width > 1 and any(
            _unquoted(first) == [str(number + start) for number in range(len(first))] for start in (0, 1)
        ):
            header = None if self.header is None else self.header[1:]
            return _Table(self.name, [row[1:] for row in self.rows], header)
        return self

    def types(self) -> int | None:
        """Return which column tells the types of features: by its header, its values, or its usual place."""
        if self.width < 2:
            return None
        named = [number for number, name in enumerate(self.header or ()) if name in _TYPE_HEADERS]
        whole = range(min(map(len, self.rows), default=0))
        found = [n for n in whole if are_types(_unquoted(sorted({row[n].strip() for row in self.rows})))]
        return next(iter([*named, *found, *([2] if self.width > 2 else [])]), None)

    def column(self, headers: set[str], *, position: int) -> list[str]:
        """Return the column that the header calls one of `headers`, else that at `position`."""
        named = [number for number, name in enumerate(self.header or ()) if name in headers]
        position = named[0] if named else position
        if short := [number for number, row in enumerate(self.rows) if len(row) <= position]:
            raise ValueError(f"row {short[0] + 1} of {self.name} has no column {position + 1}")
        return _unquoted([row[position].strip() for row in self.rows])


def _like_csv(lines: list[str]) -> bool:
    commas = {line.count(",") for line in lines}
    return len(commas) == 1 and min(commas) > 0


def _unquoted(values: list[str]) -> list[str]:
    if all(len(value) > 1 and value[0] == value[-1] == '"' for value in values):
        return [value[1:-1] for value in values]
    return values


def _fitted(
    shape: Sequence[int], genes: _Table, barcodes: _Table, *, cells_first: bool, where: Path
) -> tuple[bool, _Table, _Table]:
    """Tell whether the matrix is genes × cells, and return the lists without their headers."""
    for headers in ((False,), (False, True)):
        sides = (not cells_first, cells_first)
        for upright, gene_header, barcode_header in product(sides, headers, headers):
            sizes = len(genes.rows) - gene_header, len(barcodes.rows) - barcode_header
            if sizes == tuple(shape if upright else reversed(shape)):
                genes = genes.with_header() if gene_header else genes
                barcodes = barcodes.with_header() if barcode_header else barcodes
                return upright, genes.without_numbers(), barcodes.without_numbers()
    raise DatasetError(
        f"{where}: the matrix is {shape[0]} × {shape[1]}, but {genes.name} has {len(genes.rows)} rows and "
        f"{barcodes.name} {len(barcodes.rows)}: give the files that belong together"
    )


def _is_archive(path: Path) -> bool:
    return path.is_file() and tarfile.is_tarfile(path)


def unpacked_start(path: Path, n_bytes: int) -> bytes:
    """Return the first bytes of a file, or of what gzip packed in it."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        return file.read(n_bytes)


def _names(path: Path) -> list[PurePath]:
    """Return the files of a folder and of the folders in it, or of an archive."""
    if not path.is_dir():
        with tarfile.open(path) as archive:
            return [PurePath(member.name) for member in archive if member.isfile()]
    names: list[PurePath] = [file for file in path.iterdir() if file.is_file()]
    if not any(_ROLES["matrix"].fullmatch(name.name) for name in names):
        names = [file for file in path.glob("*/*") if file.is_file()]
    return names


def _newer_last(name: PurePath) -> tuple[bool, PurePath]:
    """Order files: of one that lies there packed and not, or has both names for genes, the last counts."""
    return "feature" in name.name.lower(), name


def _sets(names: Iterable[PurePath]) -> list[MtxSet]:
    """Return the sets of files that belong together by folder and prefix; whole ones, if there are any."""
    by_prefix: dict[tuple[PurePath, str], dict[str, PurePath]] = defaultdict(dict)
    by_folder: dict[PurePath, dict[str, list[PurePath]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(names, key=_newer_last):
        for role in _ROLES:
            if (prefix := _prefix(name, role)) is not None:
                by_prefix[name.parent, prefix][role] = name
                by_folder[name.parent][role].append(name)
    sets = [MtxSet(folder, prefix, files) for (folder, prefix), files in by_prefix.items()]
    if whole := [found for found in sets if len(found.files) == len(_ROLES)]:
        return whole
    alone = [
        MtxSet(folder, "", {role: files[0] for role, files in roles.items()})
        for folder, roles in by_folder.items()
        if len(roles) == len(_ROLES) and all(len(files) == 1 for files in roles.values())
    ]
    return alone or [found for found in sets if "matrix" in found.files]


def _chosen(path: Path, genome: str | None) -> MtxSet:
    chosen = _of_matrix(path) if path.is_file() and not tarfile.is_tarfile(path) else _of_folder(path, genome)
    _require_one_prefix(path, chosen)
    return chosen


def _of_folder(path: Path, genome: str | None) -> MtxSet:
    """Return the one set that a folder or an archive holds."""
    sets = _sets(_names(path))
    of_genome = [found for found in sets if genome is not None and found.folder.name == genome]
    if len(sets) > 1 and len(of_genome) == 1:
        return of_genome[0]
    if len(sets) != 1:
        names = first_few([f"{found.folder.name}/{found.prefix}".strip("/") for found in sets])
        remedy = "give one of their .mtx files" if path.is_dir() else "unpack it and give one of them"
        if len({found.folder.name for found in sets}) == len(sets) > 1:
            remedy += f", or one of the folders' names, such as --genome {sets[0].folder.name}"
        raise DatasetError(f"{path} holds {len(sets)} matrices ({names}): {remedy}")
    return sets[0]


def _of_matrix(path: Path) -> MtxSet:
    """Return a matrix and the lists that belong to it: its own, else those with the nearest prefix."""
    beside = sorted(path.parent.iterdir(), key=_newer_last)
    own = [found for found in _sets(beside) if found.files.get("matrix") == path]
    if own and len(own[0].files) == len(_ROLES):
        return own[0]
    files: dict[str, PurePath] = {"matrix": path}
    for role in ("genes", "barcodes"):
        lists = [(prefix, name) for name in beside if (prefix := _prefix(name, role)) is not None]
        fitting = [(len(prefix), name) for prefix, name in lists if _begins_with(path.name, prefix)]
        if fitting:
            files[role] = sorted(fitting, key=lambda found: found[0])[-1][1]
    return MtxSet(path.parent, _prefix(path, "matrix") or "", files)


def _require_one_prefix(path: Path, chosen: MtxSet) -> None:
    """Raise a `DatasetError` if the names of files that were taken together name different samples."""
    samples = [(name.name, sample) for role, name in chosen.files.items() if (sample := _sample(name, role))]
    for (name, sample), (other_name, other) in combinations(samples, 2):
        # What stands before .mtx alone may be any name of a matrix, but not another number.
        any_name = ".mtx" in name.lower() and "matrix" not in name.lower()
        if any_name and re.sub(r"\d+", "", sample) != re.sub(r"\d+", "", other):
            continue
        if not (_begins_with(sample, other) or _begins_with(other, sample)):
            raise DatasetError(
                f"{path}: {name} and {other_name} have the prefixes {sample!r} and {other!r}, and do not "
                f"belong together: give the files of one sample"
            )


def _sample(name: PurePath, role: str) -> str:
    """Return what a file's prefix says beside what the file holds."""
    parts = re.split(r"[._-]+", _prefix(name, role) or "")
    return "_".join(part for part in parts if part.lower() not in _HELD)


def _prefix(name: PurePath, role: str) -> str | None:
    match = _ROLES[role].fullmatch(name.name)
    return None if match is None or name.name.startswith(".") else match[1].rstrip("._-")


def _begins_with(name: str, prefix: str) -> bool:
    """Tell whether a name begins with a prefix, and that ends where a word does."""
    rest = name.removeprefix(prefix)
    return name.startswith(prefix) and (not prefix or not rest or rest[0] in "._-")


@contextmanager
def _opened(path: Path, chosen: MtxSet) -> Iterator[dict[str, Any]]:
    """Open the files of a set, unpacked: role → content."""
    files = chosen.files.items()
    with ExitStack() as stack:
        if _is_archive(path):
            archive = stack.enter_context(tarfile.open(path))
            members = {PurePath(member.name): member for member in archive}
            contents: dict[str, Any] = {role: archive.extractfile(members[name]) for role, name in files}
        else:
            contents = {role: stack.enter_context(Path(name).open("rb")) for role, name in files}
        yield {
            role: gzip.GzipFile(fileobj=content) if chosen.files[role].suffix == ".gz" else content
            for role, content in contents.items()
        }
