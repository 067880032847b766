"""The report in a browser: offline, on a phone, in the dark, on paper, and for those who cannot see it."""

import pytest

from reports.figures import save_figures
from reports.html import html_report
from reports.view import NamedRun
from tests.reports.run_view import built, make_run_view, score_of

pytestmark = pytest.mark.slow

SIGHTS = {"mmd": (["wrong zeros"], ["wrong library size"])}
CONTRAST = """() => {
    const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const luminance = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(Number);
        return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    };
    const ground = element => {
        const colour = getComputedStyle(element).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" ? ground(element.parentElement) : colour;
    };
    const ratios = {};
    for (const selector of ["body", ".dim", ".remark", "a", ".green", ".red", ".mark strong", "pre"]) {
        const element = document.querySelector(selector);
        const pair = [getComputedStyle(element).color, ground(element)].map(luminance).sort();
        ratios[selector] = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    }
    return ratios;
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    home = tmp_path_factory.mktemp("report")
    view, other = make_run_view(), make_run_view(seeds=1)
    for seed in range(3):
        score_of(view, "shuffle", "mmd", seed)["values"]["mmd"] = 0.01
    for each in (view, other):
        each["metrics"] = [*each["metrics"][:3], each["metrics"][3] | {"group": "use"}]
    figures = save_figures(built(view), home / "figures")
    name = "20260102-030405-a_data_set_with_a_long_name"
    runs = [
        NamedRun(name, built(view), "bench run " + "--metrics long_names " * 9),
        NamedRun("run-b", built(other), ""),
    ]
    for file, chosen in (("one", runs[:1]), ("two", runs)):
        text = html_report(chosen, [figures] * len(chosen), sights=SIGHTS)
        (home / f"{file}.html").write_text(text, encoding="utf-8")
    return home.as_uri()


@pytest.fixture
def opened(open_offline, address):
    """Open a page as it would be in a certain context."""
    return lambda name="one", **options: open_offline(f"{address}/{name}.html", **options)


@pytest.mark.parametrize("name", ["one", "two"])
def test_it_opens_offline_and_asks_for_nothing(opened, address, name):
    page = opened(name)
    asked = [url for url in page.asked if not url.startswith("data:")]
    assert asked == [f"{address}/{name}.html"]
    assert page.said == []
    assert page.title() == "Generators of single cells on zheng"
    sizes = page.eval_on_selector_all("img", "all => all.map(image => image.naturalWidth)")
    assert len(sizes) == (4 if name == "one" else 8) and min(sizes) > 100


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_phone_scrolls_only_what_is_wide(opened, name):
    page = opened(name, viewport={"width": 360, "height": 780}, is_mobile=True)
    page.eval_on_selector_all("details", "all => all.forEach(part => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    inside = page.eval_on_selector_all(".scroll", "all => all.map(box => box.scrollWidth > box.clientWidth)")
    assert inside.count(True) > 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(opened, scheme):
    page = opened(color_scheme=scheme)
    ratios = page.evaluate(CONTRAST)
    assert min(ratios.values()) >= 4.5, ratios
    grounds = [
        page.eval_on_selector(where, "part => getComputedStyle(part).backgroundColor")
        for where in ("body", ".card")
    ]
    assert grounds == ["rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 24, 28)", "rgb(255, 255, 255)"]


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anybody(opened, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = opened(name, color_scheme=scheme)
    page.eval_on_selector_all("details", "all => all.forEach(part => { part.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []


def test_it_prints_with_everything_unfolded(opened):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    shown = page.eval_on_selector_all(
        "details:not([open]) table", "all => all.map(table => table.checkVisibility())"
    )
    assert shown and all(shown)
    assert (
        page.eval_on_selector("body", "part => getComputedStyle(part).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF") and len(printed) > 20_000
