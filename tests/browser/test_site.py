"""The leaderboard in a browser, opened from a folder: sorted, filtered, followed link by link, by anybody."""

import shutil
from pathlib import Path

import pytest

from reports.figures import save_figures
from reports.site import site
from reports.view import NamedRun
from tests.reports.run_view import built, make_run_view, score_of
from tests.reports.test_site import three_generators

pytestmark = pytest.mark.slow
MODEL = "0-zheng/0-activa.html"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("site")
    view, other = three_generators(gap=0.2), make_run_view(seeds=1)
    other["run"]["dataset"]["name"] = "kang"
    # A metric that its floor contradicts.
    score_of(other, "shuffle", "mmd", 0)["values"]["mmd"] = 0.01
    runs = [NamedRun("run-a", view, "bench run --seeds 0-2"), NamedRun("run-b", built(other), "")]
    figures = [save_figures(view, home / "figures"), []]
    for name, content in site(runs, figures, date="2026-01-02").items():
        file = home / "site" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, file)
        else:
            file.write_text(content, encoding="utf-8")
    return home / "site"


@pytest.fixture
def opened(open_offline, home):
    """Open a page of the site."""

    def open_page(name="index.html", **options):
        page = open_offline(f"{home.as_uri()}/{name}", **options)
        if name == "index.html":
            page.wait_for_selector(".dt-search input")
        return page

    return open_page


@pytest.mark.parametrize("name", ["index.html", MODEL])
def test_it_opens_from_a_folder_and_asks_for_nothing_outside(opened, home, name):
    page = opened(name)
    assert [url for url in page.asked if not url.startswith((home.as_uri(), "blob:"))] == []
    assert page.said == []


def column(page, name):
    words = "cells => cells.map(cell => cell.textContent.trim())"
    number = page.eval_on_selector_all("#all thead th", words).index(name) + 1
    return page.eval_on_selector_all(f"#all tbody tr td:nth-child({number})", words)


def test_the_table_is_sorted_by_value_and_filtered_by_words(opened):
    page = opened()
    page.fill(".dt-search input", "zheng mmd model")
    assert set(column(page, "metric")) == {"mmd"}
    assert set(column(page, "data set")) == {"zheng"}
    # By number, and what has none at the end, either way; a busy machine sorts a moment later.
    for order, values in (("ascending", ["0.420", "0.621"]), ("descending", ["0.621", "0.420"])):
        page.click("#all thead th:nth-child(3)")
        page.wait_for_selector(f'#all thead th:nth-child(3)[aria-sort="{order}"]')
        assert column(page, "value") == [*values, "diverged"]


def test_the_table_is_sorted_by_the_keyboard(opened):
    page = opened()
    page.focus("#all thead th:nth-child(1) [role=button], #all thead th:nth-child(1)[tabindex]")
    page.keyboard.press("Enter")
    page.wait_for_selector('#all thead th:nth-child(1)[aria-sort="ascending"]')
    names = column(page, "generator")
    assert names == sorted(names)


def test_every_link_leads_somewhere(opened, home):
    pages = ["index.html"]
    seen = set()
    while pages:
        name = pages.pop()
        if name in seen:
            continue
        seen.add(name)
        page = opened(name)
        for address in page.eval_on_selector_all("a[href]", "all => all.map(link => link.href)"):
            path, _, anchor = address.partition("#")
            file = Path(path.removeprefix("file://"))
            assert file.is_file(), address
            if file.suffix == ".html":
                assert not anchor or f'id="{anchor}"' in file.read_text(encoding="utf-8"), address
                pages.append(str(file.relative_to(home)))
        page.context.close()
    assert len(seen) == len(list(home.rglob("*.html")))


@pytest.mark.parametrize("name", ["index.html", MODEL])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anybody(opened, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = opened(name, color_scheme=scheme)
    found = axe.Axe().run(page).response["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []


@pytest.mark.parametrize("name", ["index.html", MODEL])
def test_a_phone_scrolls_only_what_is_wide(opened, name):
    page = opened(name, viewport={"width": 360, "height": 780}, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_all_rows_are_printed_and_no_filter(opened):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    shown = page.eval_on_selector_all("#all tbody tr", "all => all.map(row => row.checkVisibility())")
    assert shown == [True] * (2 * 7 * 4)
    assert not page.is_visible(".dt-search")
    grounds = page.eval_on_selector("div.dt-container", "part => getComputedStyle(part).backgroundColor")
    assert grounds == "rgb(255, 255, 255)"


def test_brackets_and_marks_are_on_the_first_page(opened):
    page = opened()
    assert page.locator(".bracket").count() > 0
    assert "shuffle 0.01 is not worse than real 0.02" in page.inner_text(".mark")
