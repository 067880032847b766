"""What all figures share: colours that everybody can tell apart, panels, legends, files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any
from uuid import uuid4

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from reports.table import results
from reports.view import RunView
from reports.words import count, short

# Okabe & Ito (2008): told apart with every common colour vision.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#767676"
LINE_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
REAL_COLOUR, SYNTHETIC_COLOUR = BLACK, ORANGE
FONT = "DejaVu Sans"
OTHER_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Arial Unicode MS",
    "Noto Sans",
    "Noto Emoji",
    "Segoe UI Emoji",
)
STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.07,
    "figure.titlesize": 11,
    "font.size": 9,
    "legend.frameon": False,
    # Same input, same file: no random element ids.
    "svg.hashsalt": "bench",
    # What stands in figures are names, also those with a dollar.
    "text.parse_math": False,
    # The usual fonts of other scripts, where they are installed; matplotlib draws a box for what none has.
    "font.family": [FONT, *(name for name in OTHER_SCRIPTS if name in fontManager.get_font_names())],
}
PIXELS_PER_INCH = 150
REMARK_WIDTH = 26
MARGIN = 0.1
"""Inches between a title and the edge of its figure."""
CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def grid(n_panels: int, *, columns: int, height: float, width: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels of that size in inches, row by row."""
    columns = min(columns, n_panels)
    rows = -(-n_panels // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.7), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in panels[n_panels:]:
        empty.remove()
    return figure, panels[:n_panels]


def spans(groups: Iterable[str]) -> Iterator[tuple[str, float, float]]:
    """Yield each run of equal names with the edge where it begins and its middle, on an axis of integers."""
    start = 0
    for group, members in groupby(groups):
        n_members = len(list(members))
        yield group, start - 0.5, start + (n_members - 1) / 2
        start += n_members


def legend_below(figure: Figure, panels: Sequence[Axes], *, columns: int = 4) -> None:
    """Draw one legend for all panels, each label once."""
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns)


def heading(view: RunView, what_to_look_for: str, n_cells: int | None = None) -> str:
    """Return a figure's title: what to look for, then which data, protocol and number of cells."""
    data = short(view.run.dataset.name, most=60)
    facts = [data, f"{view.run.profile} budgets", f"protocol {view.protocol}"]
    if n_cells is not None:
        facts.append(f"n = {count(n_cells)} real and {count(n_cells)} synthetic cells")
    return "\n".join([what_to_look_for, " · ".join(facts)])


def seeds_in_words(view: RunView) -> str:
    """Return how many training seeds the results rest on."""
    n_seeds = results(view).n_seeds
    return f"{n_seeds} seed{'s' * (n_seeds != 1)}"


def remark(axes: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    wrapped = fill(text, width=REMARK_WIDTH)
    axes.text(0.5, 0.5, wrapped, color=GREY, fontsize=8, ha="center", va="center", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is either the old one or the new one, whole."""
    temporary = path.with_name(f".{uuid4().hex}{path.suffix}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@mpl.rc_context(STYLE)
def save(figure: Figure, output: Path, name: str) -> list[Path]:
    """Write a figure as PNG and as SVG."""
    paths = [output / f"{name}.png", output / f"{name}.svg"]
    # A layout takes longer to find than to draw, and matplotlib draws twice where one is still to be found.
    figure.set_dpi(PIXELS_PER_INCH)
    _make_room(figure)
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)
        figure.set_layout_engine(None)
    picture, drawing = io.BytesIO(), io.StringIO()
    figure.savefig(picture, format="png", dpi=PIXELS_PER_INCH)
    figure.savefig(drawing, format="svg", dpi=PIXELS_PER_INCH, metadata={"Date": None})
    # matplotlib writes each text as a comment, too, and XML knows no control characters.
    text = CONTROL_CHARACTERS.sub("\ufffd", drawing.getvalue())
    for path, content in zip(paths, (picture.getvalue(), text.encode()), strict=True):
        _write_whole(path, content)
    return paths


def _make_room(figure: Figure) -> None:
    """Widen a figure that is narrower than its title or its legend, which would be cut at its edges."""
    beside = [*figure.texts, *figure.legends]
    widest = max((artist.get_window_extent().width for artist in beside), default=0.0)
    figure.set_figwidth(max(figure.get_figwidth(), widest / figure.dpi + 2 * MARGIN))
