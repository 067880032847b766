import math

import pytest

from reports.caught import caught_table, verdict
from reports.formats import as_markdown
from reports.rows import Row, summarise
from reports.view import MetricFacts, NamedRun
from tests.reports.run_view import built, make_run_view, score_of

USUAL = {"better": "lower", "ideal": 0.0, "bounds": (-math.inf, math.inf)}
METRICS = [
    MetricFacts(name="c_t", alarm=-4.0, group="memorisation", **USUAL),
    MetricFacts(name="mmd", default=True, **USUAL),
    MetricFacts(name="share", alarm=0.05, default=True, group="memorisation", **USUAL),
]


def row(values, places):
    summaries = {name: summarise([value]) for name, value in values.items()}
    each = {name: [value] for name, value in values.items()}
    return Row("fake", "cheat", None, each, "ok", "", 1, summaries, places)


@pytest.mark.parametrize(
    ("values", "places", "alarms", "caught", "praised"),
    [
        ({"share": 0.05}, {}, ("share",), (), ()),
        ({"share": 0.049}, {}, (), (), ()),
        ({"share": 0.0, "share_by_type": 0.06}, {}, ("share",), (), ()),
        # The alarm lies below the ideal: what overshoots it to the other side sets off nothing.
        ({"c_t": -4.1}, {}, ("c_t",), (), ()),
        ({"c_t": 9.0}, {}, (), (), ()),
        ({}, {"mmd": 0.0, "c_t": -3.0}, (), ("mmd", "c_t"), ()),
        ({}, {"mmd": 0.9, "c_t": 1.2, "share": 0.01}, (), (), ("mmd",)),
        ({"share": math.nan}, {"mmd": math.nan}, (), (), ()),
        ({}, {}, (), (), ()),
    ],
)
def test_a_column_catches_by_its_alarm_or_its_floor(values, places, alarms, caught, praised):
    found = verdict(row(values, places), METRICS)
    assert (found.alarms, found.caught, found.praised) == (alarms, caught, praised)
    assert found.is_seen == bool(alarms or caught)


def with_two_more_cheats():
    """Of activa and scgan cheats are made; activa's mmd lies behind shuffle's."""
    view = make_run_view()
    for record in view["records"]:
        if record["job"]["model"] in ("activa", "scgan"):
            record["job"]["role"] = "cheat"
    for seed in range(3):
        score_of(view, "activa", "mmd", seed)["values"] = {"mmd": 0.7}
    return built(view)


def test_the_table_has_cheats_and_floors_once_there_are_two_cheats():
    assert caught_table(built(make_run_view())) is None
    table = caught_table(with_two_more_cheats())
    cells = {
        str(fake): [str(column.cells[n]) for column in table.values]
        for n, fake in enumerate(table.name.cells)
    }
    assert set(cells) == {"activa", "scgan", "memorise", "shuffle", "poisson"}
    # rf_auc .93 and mmd .7 lie behind poisson's .88 and shuffle's .5, cd before its floor.
    assert cells["activa"] == ["–", "rf_auc, mmd", "–"]
    # mmd .03 where shuffle has .5 and real cells .02; rf_auc .5 as real cells on average.
    assert cells["memorise"] == ["–", "–", "rf_auc, mmd, cd"]


def test_markdown_shows_it():
    assert "which column catches them" not in as_markdown([NamedRun("a", built(make_run_view()))])
    text = as_markdown([NamedRun("a", with_two_more_cheats())])
    assert "which column catches them · a · protocol strict" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| activa | –")]
    assert line.split("|")[3].strip() == r"rf\_auc, mmd"
