"""Tables that fit the terminal, and footnotes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass
class Footnotes:
    """Numbered notes below a table; the same text has one number.

    Attributes
    ----------
    everything
        Whether also that is noted which no reader of a terminal can act on: what metrics remarked, and why
        they do not score a control.
    texts
        The notes so far, in the order of their numbers.
    """

    everything: bool = False
    texts: list[str] = field(default_factory=list)

    def mark(self, texts: Iterable[str]) -> str:
        """Return the superscripts that stand for `texts`."""
        numbers = []
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
            numbers.append(str(self.texts.index(text) + 1).translate(SUPERSCRIPTS))
        return " ".join(numbers)

    def lines(self) -> list[str]:
        """Return the notes in order."""
        return [f"{str(n).translate(SUPERSCRIPTS)} {text}" for n, text in enumerate(self.texts, start=1)]


@dataclass
class Column:
    """A column: its heading and a cell for every row.

    ``narrow_header`` and ``narrow_cells`` are these where room is short; None where that makes no difference.
    """

    header: str
    cells: list[Text]
    left: bool = False
    narrow_header: str | None = None
    narrow_cells: list[Text] | None = None

    @property
    def narrow(self) -> Column:
        """The column where room is short."""
        header = self.header if self.narrow_header is None else self.narrow_header
        return Column(header, self.cells if self.narrow_cells is None else self.narrow_cells, left=self.left)


@dataclass
class FittedTable:
    """A table of one row a generator.

    A terminal shows it as it is where that fits, else in its narrow form, else that in parts, each as wide
    as fits.

    Attributes
    ----------
    name
        Column that identifies a row; it stands in every part.
    values
        The others from left to right.
    sections
        Whether a line follows, row by row.
    """

    name: Column
    values: list[Column]
    sections: list[bool]

    @property
    def columns(self) -> list[Column]:
        """All columns from left to right."""
        return [self.name, *self.values]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def fits(table: Table) -> bool:
            return console.measure(table, options=options.update(width=10_000)).maximum <= options.max_width

        if fits(whole := self._table(self.columns)):
            yield whole
            return
        name, *values = (column.narrow for column in self.columns)
        parts: list[list[Column]] = [[]]
        for column in values:
            if parts[-1] and not fits(self._table([name, *parts[-1], column], gap=1)):
                parts.append([])
            parts[-1].append(column)
        for number, part in enumerate(parts):
            if number:
                yield Text()
            yield self._table([name, *part], gap=1)

    def _table(self, columns: Sequence[Column], *, gap: int = 2) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, padding=(0, gap - 1)
        )
        for column in columns:
            table.add_column(Text(column.header), justify="left" if column.left else "right", overflow="fold")
        for row, end_section in enumerate(self.sections):
            table.add_row(*(column.cells[row] for column in columns), end_section=end_section)
        return table
