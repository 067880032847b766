"""The measurements as a table and as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.speed.floors import Rates, product_flops

GIGA = 1e9


def speed_table(rows: Sequence[Mapping[str, Any]], *, title: str, baseline: str) -> Table:
    """Lay out rows: medians with their spread (median absolute deviation), the baseline's, how many times as
    fast that is, and how many times the floor.
    """
    caption = f"baseline: {baseline}; floor: what this machine's products and memory take at least"
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure", overflow="fold")
    for column in ("median", "±", "baseline", "ratio", "floor", "× floor"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        name = f"{row['measure']}: {row['name']}"
        if "failed" in row:
            table.add_row(f"{name}\n  {row['failed']}")
            continue
        theirs = row["baseline"]
        table.add_row(
            f"{name}\n  {notes(row)}",
            duration(row["median_seconds"]),
            duration(row["mad_seconds"] if row["repeats"] > 1 else None),
            duration(theirs["median_seconds"] if theirs else None),
            _times(row["ratio"]),
            duration(row["floor_seconds"]),
            _times(row["times_floor"]),
        )
    return table


def duration(seconds: float | None) -> str:
    """Write seconds with three figures, in the unit that suits them."""
    if seconds is None:
        return "–"
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def notes(row: Mapping[str, Any]) -> str:
    """Write what else is known of a row."""
    words = [f"{row['repeats']} repeat{'s' if row['repeats'] > 1 else ''}"]
    if "n_cells" in row:
        words.append(f"{row['n_cells']} cells")
    if "density" in row:
        words.append(f"{100 * row['density']:.1f} % non-zero")
    if row.get("wide_floor_seconds") is not None:
        of_wide = row["median_seconds"] / row["wide_floor_seconds"]
        words.append(f"{of_wide:.2f} × the floor of the wide layers alone")
    if "draws" in row:
        words.append(f"{row['draws']} draws")
    if row.get("peak_rss_bytes") is not None:
        words.append(f"peak {row['peak_rss_bytes'] / 2**30:.2f} GiB above the model")
    if row.get("steps", 1) > 1:
        words[0] += f" of {row['steps']} steps"
    return ", ".join(words)


def rate_lines(rates: Rates, *, n_genes: int, batch_size: int) -> list[str]:
    """Say in words what the machine was measured to do."""
    flops = product_flops(batch_size, n_genes)
    lines = [
        f"{precision} products of a step: "
        + ", ".join(f"{name} {flops / value / GIGA:.0f}" for name, value in seconds.items())
        + " GFLOP/s"
        for precision, seconds in rates.product_seconds.items()
    ]
    lines.append(f"memory: {rates.memory_bytes_per_second / GIGA:.1f} GB/s, read and written")
    if rates.pinned_bytes_per_second is not None:
        lines.append(f"GPU to pinned memory: {rates.pinned_bytes_per_second / GIGA:.1f} GB/s")
    if "bf16" not in rates.product_seconds:
        lines.append("this device has no bf16 units: bf16, which it would emulate, was not measured")
    elif not rates.has_bf16_units:
        lines.append("bf16 products are no faster than fp32 here: bf16 rows stand beside the fp32 floor")
    return lines


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"
