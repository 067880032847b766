"""Tables that fit the terminal, and footnotes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass
class Footnotes:
    """Numbered notes below a table; the same text has one number."""

    texts: list[str] = field(default_factory=list)

    def mark(self, texts: Iterable[str]) -> str:
        """Return the superscripts that stand for `texts`."""
        numbers = []
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
            numbers.append(str(self.texts.index(text) + 1).translate(SUPERSCRIPTS))
        return " ".join(numbers)

    def lines(self) -> Iterator[Text]:
        """Yield the notes in order."""
        for number, text in enumerate(self.texts, start=1):
            yield Text(f"{number}".translate(SUPERSCRIPTS) + f" {text}", style="dim")


@dataclass
class Column:
    """A column of the main table: its heading and a cell for every row.

    ``whole`` is the heading where it need not be narrow; empty where that is no other.
    """

    header: str
    cells: list[Text]
    left: bool = False
    whole: str = ""

    @property
    def header_lines(self) -> list[str]:
        """The heading line by line, no word broken."""
        return (self.whole or self.header).split("\n")


@dataclass
class FittedTable:
    """A table of one row a generator: in one piece where it fits the terminal, else in parts that do.

    Attributes
    ----------
    name
        Column that identifies a row; it stands in every part.
    lead, quality, tail
        Columns from left to right. Where they do not fit, `lead` and `tail` stay together, and `quality`
        is spread over as many parts as it takes.
    sections
        Whether a line follows, row by row.
    """

    name: Column
    lead: list[Column]
    quality: list[Column]
    tail: list[Column]
    sections: list[bool]

    @property
    def columns(self) -> list[Column]:
        """All columns from left to right."""
        return [self.name, *self.lead, *self.quality, *self.tail]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole = self._table(self.columns)

        def fits(table: Table) -> bool:
            return console.measure(table, options=options.update(width=10_000)).maximum <= options.max_width

        if fits(whole):
            yield whole
            return
        if self.lead or self.tail:
            yield self._table([self.name, *self.lead, *self.tail])
            yield Text()
        parts: list[list[Column]] = [[]]
        for column in self.quality:
            if parts[-1] and not fits(self._table([self.name, *parts[-1], column])):
                parts.append([])
            parts[-1].append(column)
        for number, part in enumerate(filter(None, parts)):
            if number:
                yield Text()
            yield self._table([self.name, *part])

    def _table(self, columns: Sequence[Column]) -> Table:
        table = bare_table()
        for column in columns:
            table.add_column(column.header, justify="left" if column.left else "right", overflow="fold")
        for row, end_section in enumerate(self.sections):
            table.add_row(*(column.cells[row] for column in columns), end_section=end_section)
        return table


def bare_table() -> Table:
    """Return a table with a line under its heading and no frame."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
