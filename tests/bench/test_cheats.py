"""The twelve cheats, registered as ordinary models that declare nothing, in a run of their own.

Whom a column alarms on is best by no headline metric; whom it puts behind a floor is not best by it;
and what no column sees stands on the page of cheats, with what would be needed.
"""

import re
from dataclasses import replace

import pytest
from rich.console import Console

from bench.draft import draft
from bench.flow import start
from bench.progress import Progress
from bench.request.spec import RunSpec
from bench.results.reopen import open_whole
from bench.scoring.processes import run_scoring
from bench.work.executor import run_jobs
from models.cheats import SUITE
from reports.best import best
from reports.caught import verdict
from reports.suspicion import copiers
from reports.table import results
from tests.bench.generators.cheats_as_models import NAMES
from tests.places import GENERATORS, REPOSITORY

pytestmark = pytest.mark.slow

PAGE = REPOSITORY / "docs" / "cheats.md"
CONTROLS = ("shuffle_within_type", "poisson", "memorise")
COPIERS = {"our_memorise", "our_permuted_labels", "our_half_noise", "our_component_forger"}
BEHIND_A_FLOOR = {
    "our_mean_cell",
    "our_empty_cells",
    "our_poisson",
    "our_near_duplicates",
    "our_variable_genes_only",
    "our_library_sizes_only",
}
UNSEEN = {"our_reconstruction", "our_forest_rejection"}


def run_of(folder, *metrics):
    """Train, draw and score; nothing is drawn or tracked."""
    progress = Progress(Console(quiet=True))
    models = (*(f"{GENERATORS / 'cheats_as_models.py'}:{name}" for name in NAMES), *CONTROLS)
    spec = RunSpec.checked(models=models, profile="smoke", metrics=metrics, out=folder)
    run = start(draft(spec, progress=progress))
    names = [metric["name"] for metric in run.read_request()["metrics"]]
    with run.locked():
        run_jobs(run, run.jobs(), timeout=None, progress=progress)
        assert run_scoring(run, names, ["strict"], progress=progress)
    return open_whole(run.path).view()


def named_best(view):
    return {one.metric: one.model for one in best(view)}


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("runs"), "mmd", "cd", "copied_share")


def test_each_cheat_is_told_by_an_alarm_or_a_floor_or_is_unseen(view):
    known = results(view)
    found = {row.model: verdict(row, known.metrics) for row in known.of(["model"])}
    assert set(found) == {f"our_{name}" for name in SUITE} == COPIERS | BEHIND_A_FLOOR | UNSEEN
    assert {name for name, one in found.items() if one.alarms} == COPIERS
    assert {name for name in BEHIND_A_FLOOR if "mmd" in found[name].caught} == BEHIND_A_FLOOR
    assert not any(found[name].is_seen for name in UNSEEN)


def test_whom_a_column_alarms_on_is_never_named_best(view):
    assert copiers(results(view).rows, results(view).metrics) == COPIERS
    named = named_best(view)
    assert set(named) == {"mmd", "cd"}
    assert not set(named.values()) & COPIERS
    assert named["mmd"] not in BEHIND_A_FLOOR


def test_copies_that_nobody_declared_are_passed_over_by_their_alarm(view):
    """By cd cells under permuted labels come nearer than the best: they are training cells."""
    passed_over = [(reason, names) for one in best(view) for reason, names in one.passed_over.items()]
    assert {reason for reason, _ in passed_over} == {"near-copies of training cells"}
    assert any("our_permuted_labels" in names for _, names in passed_over)


def test_with_nobody_else_to_name_nobody_is_best(view):
    left = [record for record in view.records if record.job.role != "model" or record.job.model in COPIERS]
    assert named_best(replace(view, records=left)) == {"mmd": None, "cd": None}


def test_the_page_lists_each_cheat_and_what_would_see_those_that_nothing_sees():
    page = PAGE.read_text(encoding="utf-8")
    described = page.partition("## The twelve")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", described, re.MULTILINE) == list(SUITE)
    unseen = page.partition("## What nothing sees")[2].partition("\n## ")[0]
    assert {f"our_{name}" for name in re.findall(r"^- `(\w+)`", unseen, re.MULTILINE)} == UNSEEN
    assert unseen.count("would need") >= len(UNSEEN)


@pytest.mark.long
def test_no_headline_metric_names_one_that_a_column_alarms_on(tmp_path):
    """As above with all of the main table: the forest, and the augmentation experiment."""
    view = run_of(tmp_path)
    assert copiers(results(view).rows, results(view).metrics) == COPIERS
    named = named_best(view)
    assert set(named) == {"rf_auc", "mmd", "cd", "augmentation_f1"}
    assert not set(named.values()) & (COPIERS | BEHIND_A_FLOOR)
