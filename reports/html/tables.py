"""Tables for the page: what stands in a terminal's table, line by line, with the style of each piece."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.text import Text

from reports.fitted_table import FittedTable

Line = list[tuple[str, str]]
"""Pieces of text, each with its classes."""


class Cell(NamedTuple):
    """A cell: its lines, and whether it is aligned to the left."""

    lines: list[Line]
    left: bool


class PageTable(NamedTuple):
    """A table of the page.

    Attributes
    ----------
    caption
        Unique on the page; also the label of the box that scrolls.
    header, rows
        Headings (lines of plain text) with their alignment; cells, the first of a row being its heading.
    ends
        Whether a line follows, row by row.
    remarks
        Lines below the table.
    """

    caption: str
    header: list[tuple[list[str], bool]]
    rows: list[list[Cell]]
    ends: list[bool]
    remarks: Sequence[str] = ()


def page_table(caption: str, table: FittedTable, remarks: Sequence[str] = ()) -> PageTable:
    """Return a table of the terminal as one of the page."""
    cells = [[Cell(_lines(cell), column.left) for cell in column.cells] for column in table.columns]
    header = [(column.header.split("\n"), column.left) for column in table.columns]
    rows = [list(row) for row in zip(*cells, strict=True)]
    return PageTable(caption, header, rows, table.sections, remarks)


def plain_table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> PageTable:
    """Return a table of plain words; the columns named in `right` hold numbers."""
    sides = [name not in right for name in header]
    cells = [[Cell([[(word, "")]], left) for word, left in zip(row, sides, strict=True)] for row in rows]
    headings = [([name], left) for name, left in zip(header, sides, strict=True)]
    return PageTable(caption, headings, cells, [False] * len(rows))


def _lines(cell: Text) -> list[Line]:
    return [_pieces(line) for line in cell.split("\n", allow_blank=True)]


def _pieces(line: Text) -> Line:
    """Cut a line where its style changes."""
    edges = sorted({0, len(line), *(edge for span in line.spans for edge in (span.start, span.end))})
    pieces = []
    for start, end in pairwise(edges):
        styles = [str(line.style), *(str(s.style) for s in line.spans if s.start <= start < s.end)]
        # A hyphen is narrower than a digit; a minus sign is not.
        text = line.plain[start:end]
        pieces.append((f"−{text[1:]}" if text.startswith("-") else text, _classes(styles)))
    return pieces


def _classes(styles: Sequence[str]) -> str:
    words = " ".join(styles).split()
    if "not" in words:
        words = [word for word in words if word not in ("not", "bold")]
    return " ".join(dict.fromkeys(words))
