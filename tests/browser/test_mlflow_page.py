"""MLflow's pages on a run of many Jobs, as somebody sees them who opens the link of ``bench ui``.

On SQLite the run was tracked in a file that a server then shows; on PostgreSQL it went through the server.
"""

from contextlib import ExitStack

import pytest
from mlflow import MlflowClient
from rich.console import Console

from bench.progress import Progress
from bench.tracking import sync
from bench.tracking.ui import EXPERIMENTS, runs_pages, serving
from tests.places import REPOSITORY
from tests.postgres import running_postgres
from tests.tracked_run import MODELS, make_long_view
from tests.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.slow

RUN = "20260102-030405-zheng"
# More than the hundred that a page has, with their parent.
JOBS = {"sqlite": 120, "postgresql": 100}
SCREENSHOTS = REPOSITORY / ".ci" / "screenshots"


@pytest.fixture(scope="module", params=list(JOBS))
def store(request):
    return request.param


@pytest.fixture(scope="module")
def served(store, tmp_path_factory, browser):
    """A server on a store that holds the run: its address and what `sync` told."""
    out = tmp_path_factory.mktemp("runs")
    view = make_long_view(out / RUN, jobs=JOBS[store])
    with ExitStack() as stack:
        uri = f"sqlite:///{out / 'mlflow.db'}"
        if store == "postgresql":
            uri = stack.enter_context(running_postgres())
        else:
            result = sync(view, folder=out / RUN, tracking_uri=uri)
        quiet = Progress(Console(quiet=True))
        pages = serving(uri, port=None, artifacts=out / "mlartifacts", progress=quiet)
        address = stack.enter_context(pages).address
        if store == "postgresql":
            result = sync(view, folder=out / RUN, tracking_uri=address)
        yield address, result


@pytest.fixture
def address(served):
    return served[0]


@pytest.fixture
def result(served):
    return served[1]


@pytest.fixture
def page(browser, address):
    """A page that remembers every request to anywhere else; there must be none."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(1000 * LIMIT_SECONDS)
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


@pytest.fixture
def keep(page, store):
    """Keep what the page shows."""

    def screenshot(name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}_{store}.png")

    return screenshot


@pytest.fixture
def jobs(store):
    """Names of three Jobs."""
    last = JOBS[store] // len(MODELS) - 1
    return [f"{model} · zheng · seed {last}" for model in ("activa", "cscgan", "nb_copula")]


def test_three_runs_are_compared(page, address, result, jobs, keep):
    page.goto(f"{address}{EXPERIMENTS}")
    page.get_by_role("link", name="zheng").first.wait_for()
    (link,) = runs_pages(address).values()
    assert f"/experiments/{result.experiment_id}/runs" in link
    page.goto(link)
    # Nothing has to be unfolded: each Job is a row, with what the run's main table shows.
    for column in ("model", "headline/rf_auc", "headline/mmd", "headline/training_seconds"):
        page.get_by_role("columnheader").filter(has_text=column).first.wait_for()
    close_assistant(page)
    keep("mlflow_runs")
    search = page.get_by_placeholder("metrics.rmse")
    search.fill(f'params.seed = "{jobs[0].rsplit(maxsplit=1)[1]}"')
    search.press("Enter")
    page.get_by_text(f"{len(MODELS)} matching runs").wait_for()
    for name in jobs:
        row = page.get_by_role("row").filter(has_text=name).first
        row.get_by_role("checkbox", name="Press Space to toggle row selection").check()
    page.get_by_role("button", name="Compare").first.click()
    page.get_by_text("Comparing 3 Runs from 1 Experiment").wait_for()
    headline = page.get_by_text("headline/mmd").last
    headline.scroll_into_view_if_needed()
    told = page.inner_text("body")
    for words in (*jobs, "headline/cd", "headline/mmd", "headline/training_seconds", "scores/mmd_root"):
        assert words in told
    names = [line for line in told.splitlines() if line.startswith(("headline/", "scores/", "seconds/"))]
    listed = names[names.index("headline/cd") :]
    assert listed == sorted(listed)
    keep("mlflow_compare")


def test_a_figure_is_shown_among_the_artifacts(page, address, result, keep):
    run = f"{address}/#/experiments/{result.experiment_id}/runs/{result.run_id}"
    page.goto(f"{run}/artifacts/figures/overview.png?workflowType=machine_learning")
    figure = page.locator("img[src^='blob:'], img[src*='get-artifact']").first
    figure.wait_for()
    page.wait_for_function("image => image.naturalWidth > 400", arg=figure.element_handle())
    close_assistant(page)
    keep("mlflow_figure")


def test_the_load_of_a_job_is_drawn(page, address, result, keep):
    (run,) = MlflowClient(result.uri).search_runs(
        [result.experiment_id], "attributes.run_name = 'activa · zheng · seed 3'"
    )
    where = f"{address}/#/experiments/{result.experiment_id}/runs/{run.info.run_id}"
    page.goto(f"{where}/system-metrics?workflowType=machine_learning")
    for name in ("cpu_percent", "rss_gib"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.locator(".js-plotly-plot .xtick text").nth(1).wait_for()
    close_assistant(page)
    keep("mlflow_system")
