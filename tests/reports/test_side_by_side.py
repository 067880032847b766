import io

from rich.console import Console

from reports.side_by_side import blocks, comparable, differences_table, side_by_side
from reports.view import NamedRun
from tests.reports.run_view import HARDWARE, as_protocol, built, make_run_view

OTHER = HARDWARE | {"cpu_model": "Another CPU", "fingerprint": "ffff"}


def two(**changes):
    other = make_run_view(seeds=1)
    other["run"] |= changes
    return [NamedRun("run-a", built(make_run_view())), NamedRun("run-b", built(other))]


def printed(runs):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(side_by_side(runs))
    return console.export_text()


def column(table, start):
    (found,) = [column for column in table.columns if column.header.startswith(start)]
    return [cell.plain for cell in found.cells]


def names(table):
    return [cell.plain.replace("\n", " ") for cell in table.name.cells]


def test_what_compares_stands_row_by_row():
    block, _ = blocks(two(), everything=True)
    scgan = ["scgan¹   2 ok, 1 killed n=2 run-a", "scgan¹ run-b"]
    assert names(block.table)[:4] == ["activa run-a", "activa run-b", *scgan]
    assert names(block.table)[-1] == "memorise   cheat run-b"
    narrow = block.table.name.narrow.cells[2].plain
    assert narrow == "scgan¹\n  2 ok, 1\n  killed\nn=2\nrun-a"
    assert column(block.table, "training")[:4] == ["33.0", "30.0", "105", "100"]
    assert column(block.table, "mmd")[:2] == ["0.420\n[0.370, 0.470]\n17 %", "0.400\n21 %"]
    assert "run-a: n = 3 seeds, mean and its 95 % t interval, [low, high] or ± half of it" in block.remarks
    assert "run-b: n = 1 seed" in block.remarks
    assert [len(set(map(len, [c.cells for c in block.table.columns])))] == [1]


def test_unlike_hardware_is_marked_at_every_name():
    block, _ = blocks(two(hardware=OTHER), everything=True)
    of_b = [name for name in names(block.table) if "run-b" in name]
    assert of_b and all(name.endswith("run-b²") for name in of_b)
    assert block.remarks[-2].startswith("² run-b: other hardware, Another CPU")
    assert not any("run-a²" in name for name in names(block.table))


def test_other_cells_or_another_number_of_them_get_tables_of_their_own():
    for change in ({"n_cells": 99}, {"dataset_key": "other"}):
        found = [block for block in blocks(two(**change), everything=True) if block.shows == "main"]
        assert [[run.name for run in block.runs] for block in found] == [["run-a"], ["run-b"]]
        assert all("run-a" not in name for name in names(found[1].table))


def test_protocols_get_tables_of_their_own():
    runs = [
        NamedRun("run-a", built(make_run_view())),
        NamedRun("run-b", built(as_protocol(make_run_view(), "activa2022"))),
    ]
    assert [[run.name for run in group] for group in comparable(runs)] == [["run-a"], ["run-b"]]
    assert [block.runs[0].view.protocol for block in blocks(runs, everything=True)] == ["strict"] * 2 + [
        "activa2022"
    ] * 2


def test_differences_are_told_with_what_follows():
    assert (
        differences_table([NamedRun("a", built(make_run_view())), NamedRun("b", built(make_run_view()))])
        is None
    )
    table = differences_table(two(hardware=OTHER, n_cells=99))
    rows = list(zip(*([cell.plain for cell in c.cells] for c in table.columns), strict=True))
    assert rows[0] == ("cells a side", "140", "99", "scores stand in tables of their own")
    assert rows[1][0] == "hardware" and rows[1][2].startswith("Another CPU")
    assert rows[1][3] == "times and memory do not compare"
    assert rows[2] == ("training seeds", "0, 1, 2", "0", "more seeds, narrower intervals")


def test_the_terminal_shows_differences_tables_and_failures():
    text = printed(two(hardware=OTHER))
    for words in ("The runs differ", "Headline · protocol strict", "run-b²", "scgan · seed 2: killed in fit"):
        assert words in text
    assert text.count("cscgan · seed 0: diverged") == 2
