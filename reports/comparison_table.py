"""A comparison on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.comparison import Compared
from reports.words import DASH, figure, interval_in_words, p_in_words

VERDICT_STYLES = {"not resolved": "dim", "A better": "bold", "B better": "bold green"}
KEY = """\
→: the ideal; for precision, recall and the like, which real cells do not reach, what real cells score
effect: how much farther from → B is than A, mean and 95 % t interval; below 0 B is better
p: paired t test over common seeds, Holm's correction over all rows; differences scatter by a cell at least
Intervals are not corrected: one that leaves out 0 may stand beside not resolved.
not resolved: p is 0.05 or more, or there are fewer than three common seeds
Times are not tested: two runs share neither moment nor load of the machine."""


def print_comparison(compared: Iterable[Compared], *, console: Console) -> None:
    """Print what `reports.comparison.comparison` returned: a table for each pair and protocol."""
    for (a, b, protocol), rows in groupby(compared, key=lambda row: (row.a, row.b, row.protocol)):
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for header in ("metric", "→", "A", "B", "effect", "", "p", "seeds", "verdict"):
            table.add_column(header, justify="left" if header in ("metric", "", "verdict") else "right")
        for row in rows:
            table.add_row(
                Text(row.metric),
                DASH if math.isnan(row.ideal) else f"{row.ideal:.4g}",
                figure(row.value_a),
                figure(row.value_b),
                figure(row.effect),
                interval_in_words(row.low, row.high),
                p_in_words(row.p_value),
                str(row.n_seeds),
                Text(row.verdict, style=VERDICT_STYLES.get(row.verdict, "dim")),
            )
        console.print(Text.assemble(("A ", "dim"), a, ("  B ", "dim"), b, (f"  protocol {protocol}", "dim")))
        console.print(table)
        console.print()
    console.print(Text(KEY, style="dim"))
