"""MLflow's pages on a run of 200 Jobs, as somebody sees them who opens the link of ``bench ui``."""

from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from rich.console import Console

from bench.progress import Progress
from bench.tracking import sync
from bench.ui import EXPERIMENTS, serving
from tests.tracked_run import make_long_view

RUN = "20260102-030405-zheng"
JOBS = ["activa · zheng · seed 39", "cscgan · zheng · seed 39", "nb_copula · zheng · seed 39"]
SCREENSHOTS = Path(__file__).resolve().parents[2] / ".ci" / "screenshots"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A store with a run of 200 Jobs: its folder and what `sync` told."""
    out = tmp_path_factory.mktemp("runs")
    folder = out / RUN
    view = make_long_view(folder, jobs=200)
    return out, sync(view, folder=folder, tracking_uri=f"sqlite:///{out / 'mlflow.db'}")


@pytest.fixture(scope="module")
def address(tracked):
    out, result = tracked
    quiet = Progress(Console(quiet=True))
    with serving(result.uri, port=None, artifacts=out / "mlartifacts", progress=quiet) as pages:
        yield pages.address


@pytest.fixture
def page(browser, address):
    """A page that remembers every request to anywhere else; there must be none."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    elsewhere = []
    here = (f"{address}/", "data:", "blob:")
    page.on(
        "request", lambda request: None if request.url.startswith(here) else elsewhere.append(request.url)
    )
    yield page
    page.close()
    assert elsewhere == []


def close_assistant(page):
    """Close the panel that MLflow opens beside its pages."""
    button = page.get_by_role("button", name="Close")
    if button.count():
        button.first.click()


def keep(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_three_runs_are_compared(page, address, tracked):
    page.goto(f"{address}{EXPERIMENTS}")
    page.get_by_role("link", name="zheng").first.wait_for()
    identity, wanted = tracked[1].experiment_id, quote('params.experiment = "main"')
    page.goto(f"{address}/#/experiments/{identity}/runs?workflowType=machine_learning&searchFilter={wanted}")
    # A page has a hundred; their parent comes with them, folded.
    page.get_by_text("101 matching runs").wait_for()
    close_assistant(page)
    page.get_by_role("row").filter(has_text=RUN).get_by_role("button").first.click()
    for name in JOBS:
        row = page.get_by_role("row").filter(has_text=name).first
        row.get_by_role("checkbox", name="Press Space to toggle row selection").check()
    keep(page, "mlflow_runs")
    page.get_by_role("button", name="Compare").first.click()
    page.get_by_text("Comparing 3 Runs from 1 Experiment").wait_for()
    headline = page.get_by_text("headline/mmd").last
    headline.scroll_into_view_if_needed()
    told = page.inner_text("body")
    for words in (*JOBS, "headline/cd", "headline/mmd", "headline/training_seconds", "scores/mmd_root"):
        assert words in told
    names = [line for line in told.splitlines() if line.startswith(("headline/", "scores/", "seconds/"))]
    listed = names[names.index("headline/cd") :]
    assert listed == sorted(listed)
    keep(page, "mlflow_compare")


def test_a_figure_is_shown_among_the_artifacts(page, address, tracked):
    result = tracked[1]
    run = f"{address}/#/experiments/{result.experiment_id}/runs/{result.run_id}"
    page.goto(f"{run}/artifacts/figures/overview.png?workflowType=machine_learning")
    figure = page.locator("img[src^='blob:'], img[src*='get-artifact']").first
    figure.wait_for()
    page.wait_for_function("image => image.naturalWidth > 400", arg=figure.element_handle())
    keep(page, "mlflow_figure")


def test_the_load_of_a_job_is_drawn(page, address, tracked):
    result = tracked[1]
    (run,) = MlflowClient(result.uri).search_runs(
        [result.experiment_id], "attributes.run_name = 'activa · zheng · seed 3'"
    )
    where = f"{address}/#/experiments/{result.experiment_id}/runs/{run.info.run_id}"
    page.goto(f"{where}/system-metrics?workflowType=machine_learning")
    for name in ("cpu_percent", "rss_gib"):
        page.get_by_text(name, exact=True).first.wait_for()
    keep(page, "mlflow_system")
