"""Names that are markup to somebody: terminal, page, figures and formats show them as they stand."""

import io
import json
import re
import warnings
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from reports import formats
from reports.console import print_report
from reports.figures import save_figures
from reports.html import html_report
from reports.view import NamedRun
from reports.words import short
from tests.reports.figures.test_embedding import make_maps, store
from tests.reports.run_view import built, make_run_view, record_of, write_curves

MODEL, TYPE, DATASET = "[bold] $\\foo$", "[/] T_4^x & <b>$x", "[red]zheng[/red] 数据 😀"
LONG = "CD4-positive, " * 20


def hostile_view(folder="runs/1", *, model=MODEL, cell_type=TYPE, dataset=DATASET):
    """Return the usual view under other names."""
    text = json.dumps(make_run_view(folder, seeds=1))
    for old, new in (("activa", model), ("Dendritic", cell_type), ("zheng", dataset)):
        text = text.replace(f'"{old}"', json.dumps(new))
    return json.loads(text)


def test_the_terminal_shows_them_even_where_a_console_reads_markup():
    screen = io.StringIO()
    print_report(built(hostile_view()), console=Console(file=screen, width=250))
    for name in (MODEL, TYPE, DATASET):
        assert name in screen.getvalue()


def test_every_format_escapes_what_it_reads():
    runs = [NamedRun("run", built(hostile_view()))]
    markdown, latex = formats.as_markdown(runs), formats.as_latex(runs)
    assert r"\[bold\] \$\\foo\$" in markdown
    assert r"\[/\] T\_4^x \& \<b\>\$x" in markdown
    assert r"{[}bold{]} \$\textbackslash{}foo\$" in latex
    # LaTeX has no table with types.
    assert formats._latex(TYPE) == r"{[}/{]} T\_4\textasciicircum{}x \& \textless{}b\textgreater{}\$x"
    assert {row["model"] for row in json.loads(formats.as_json(runs))["runs"][0]["results"]} >= {MODEL}
    assert MODEL in formats.as_csv(runs)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    view = hostile_view(tmp_path_factory.mktemp("run"))
    write_curves(view, record_of(view, MODEL)["key"], points=600)
    maps = make_maps() | {
        "marker_types": np.array([TYPE, "数据"]),
        "marker_genes": np.array(["$MS4A1", "\x07"]),
    }
    maps["cell_type"] = np.tile([TYPE, LONG], len(maps["is_synthetic"]) // 2)
    store(view, MODEL, maps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return view, save_figures(built(view), Path(view["run"]["folder"]) / "figures")


def texts_of(path):
    """Return what matplotlib wrote into an SVG; it tells each text in a comment beside its outlines."""
    ElementTree.parse(path)
    return [unescape(text) for text in re.findall(r"<!-- (.*?) -->", path.read_text("utf-8"), re.DOTALL)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("figure", "name"),
    [
        ("augmentation", TYPE),
        ("augmentation", MODEL),
        ("overview", MODEL),
        (f"embedding-{MODEL}", TYPE),
        (f"embedding-{MODEL}", "$MS4A1"),
        (f"embedding-{MODEL}", "\ufffd"),
        (f"embedding-{MODEL}", short(LONG)),
        (f"curves-{MODEL}", f"{MODEL}: training curves, n = 1 seed"),
    ],
)
def test_figures_show_them(figures, figure, name):
    (path,) = (path for path in figures[1] if path.name == f"{figure}.svg")
    texts = texts_of(path)
    assert any(name in text for text in texts)
    assert not any("mathdefault" in text for text in texts)


@pytest.mark.slow
def test_the_page_holds_no_tag_of_theirs(figures):
    page = html_report([NamedRun("run", built(figures[0]))], [figures[1]], sights={})
    assert "&lt;b&gt;$x" in page
    assert "<b>" not in re.sub("<!--.*?-->", "", page, flags=re.DOTALL)


def test_long_names_keep_their_beginning_and_their_end():
    assert short("B cell") == "B cell"
    assert short("x" * 32) == "x" * 32
    assert short("CD4-positive, alpha-beta memory T cell of the spleen") == "CD4-positive, alpha-b…the spleen"
    assert short("two\nlines") == "two lines"
