"""The built pages, opened from their folder as a reader does: nothing is asked of any other machine."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.places import REPOSITORY

pytestmark = pytest.mark.slow

SITE = REPOSITORY / "docs" / "_build" / "html"
PAGES = sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)


@pytest.fixture(scope="module")
def context(browser):
    if not (SITE / "index.html").is_file():
        pytest.skip("the pages are not built: tox run -e docs")
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context


@pytest.fixture
def page(context):
    with context.new_page() as page:
        yield page


def test_no_page_complains_or_asks_another_machine(page):
    complaints = []
    page.on("console", lambda said: said.type == "error" and complaints.append((page.url, said.text)))
    page.on("pageerror", lambda error: complaints.append((page.url, str(error))))
    page.on(
        "request", lambda asked: asked.url.startswith("http") and complaints.append((page.url, asked.url))
    )
    for file in PAGES:
        page.goto(file.as_uri())
    assert complaints == []


def test_every_link_within_leads_somewhere(page):
    lost = set()
    for file in PAGES:
        page.goto(file.as_uri())
        links = page.eval_on_selector_all("a[href]", "all => all.map(one => one.href)")
        lost |= {link for link in links if link.startswith("file:") and not _is_there(link)}
    assert lost == set()


def _is_there(link):
    parts = urlsplit(link)
    file = Path(unquote(parts.path))
    if not file.is_file():
        return False
    target = unquote(parts.fragment)
    return not target or file.suffix != ".html" or f'id="{target}"' in file.read_text(encoding="utf-8")


def test_search_finds_a_word_without_a_server(page):
    page.goto(f"{(SITE / 'search.html').as_uri()}?q=copula")
    page.wait_for_selector("ul.search li a")
    assert "tutorial" in " ".join(
        page.eval_on_selector_all("ul.search li a", "all => all.map(one => one.href)")
    )


@pytest.mark.parametrize("name", ["index", "first_table", "tutorial", "which_generator", "api/bench"])
def test_it_can_be_read_by_everybody(page, name):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page.goto((SITE / f"{name}.html").as_uri())
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


@pytest.mark.parametrize("name", ["index", "first_table", "metrics", "api/metrics"])
def test_a_phone_shows_a_page_at_its_own_width(page, name):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((SITE / f"{name}.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
