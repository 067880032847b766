import math

import pytest

from reports.caught import caught_table, verdict
from reports.formats import as_markdown
from reports.side_by_side import NamedRun
from tests.reports.run_view import make_run_view, score_of

METRICS = [
    {"name": "c_t", "ideal": 0.0, "alarm": -4.0, "default": False, "group": "memorisation"},
    {"name": "mmd", "ideal": 0.0, "alarm": None, "default": True, "group": "headline"},
    {"name": "share", "ideal": 0.0, "alarm": 0.05, "default": True, "group": "memorisation"},
]


@pytest.mark.parametrize(
    ("row", "alarms", "caught", "praised"),
    [
        ({"share": 0.05}, ("share",), (), ()),
        ({"share": 0.049}, (), (), ()),
        ({"share": 0.0, "share_by_type": 0.06}, ("share",), (), ()),
        # The alarm lies below the ideal: what overshoots it to the other side sets off nothing.
        ({"c_t": -4.1}, ("c_t",), (), ()),
        ({"c_t": 9.0}, (), (), ()),
        ({"mmd_position": 0.0, "c_t_position": -3.0}, (), ("mmd", "c_t"), ()),
        ({"mmd_position": 0.9, "c_t_position": 1.2, "share_position": 0.01}, (), (), ("mmd",)),
        ({"mmd_position": math.nan, "share": math.nan}, (), (), ()),
        ({"mmd_position": None, "share": None}, (), (), ()),
    ],
)
def test_a_column_catches_by_its_alarm_or_its_floor(row, alarms, caught, praised):
    found = verdict({"model": "fake", **row}, METRICS)
    assert (found.alarms, found.caught, found.praised) == (alarms, caught, praised)
    assert found.is_seen == bool(alarms or caught)


def test_the_table_has_cheats_and_floors_once_there_are_two_cheats():
    rows = [
        {"model": "activa", "role": "model", "mmd_position": -1.0},
        {"model": "shuffle", "role": "floor", "mmd_position": 0.0},
        {"model": "memorise", "role": "cheat", "mmd_position": 0.95, "share": 1.0},
    ]
    assert caught_table(rows, METRICS) is None
    table = caught_table([*rows, {"model": "new", "role": "cheat", "mmd_position": 0.5}], METRICS)
    cells = list(zip(*[map(str, column.cells) for column in table.columns], strict=True))
    assert cells == [
        ("shuffle", "–", "mmd", "–"),
        ("memorise", "share", "–", "mmd"),
        ("new", "–", "–", "–"),
    ]


def test_markdown_shows_it():
    view = make_run_view()
    assert "which column catches them" not in as_markdown([NamedRun("a", view)])
    for record in view["records"]:
        if record["job"]["model"] in ("activa", "scgan"):
            record["job"]["role"] = "cheat"
    for seed in range(3):
        score_of(view, "activa", "mmd", seed)["values"] = {"mmd": 0.7}
    text = as_markdown([NamedRun("a", view)])
    assert "which column catches them · a · protocol strict" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| activa | –")]
    # rf_auc .93 and mmd .7 lie behind poisson's .88 and shuffle's .5, cd before its floor.
    assert line.split("|")[3].strip() == r"rf\_auc, mmd"
