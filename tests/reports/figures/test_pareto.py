import json
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from reports.figures.labels import Point, label_points
from reports.figures.pareto import pareto_figure, pareto_front
from tests.reports.run_view import built, make_run_view, record_of

pytestmark = pytest.mark.slow


def test_the_front_has_whom_nobody_beats_in_both():
    costs = [1, 2, 3, 3, 1, 5]
    places = [0.2, 0.5, 0.4, 0.9, 0.2, 0.9]
    # The third costs more than the second and is worse; the last costs more than the fourth for the same.
    assert pareto_front(costs, places).tolist() == [True, True, False, True, True, False]


def test_points_lie_at_cost_and_place():
    figure = pareto_figure(built(make_run_view()))
    titles = [(axes.get_title(loc="left"), axes.get_xlabel()) for axes in figure.axes]
    sampling = "sampling 100 000 cells, seconds"
    assert titles == [
        (f"{name} → {ideal}", cost)
        for name, ideal in (("rf_auc", "0.5"), ("mmd", "0"), ("cd", "0"))
        for cost in ("training, seconds", sampling)
    ]
    mmd = figure.axes[2]
    points = {line.get_color(): line.get_xydata()[0] for line in mmd.lines if line.get_marker() == "o"}
    # Best floor poisson 0.30, real 0.02: (0.30 − 0.42) … (shuffle 0.50 is mmd's only floor here) / 0.48.
    assert [p.tolist() for p in points.values()] == [
        pytest.approx([33, (0.50 - 0.42) / 0.48]),
        pytest.approx([105, (0.50 - 0.85) / 0.48]),
    ]
    (front,) = [line for line in mmd.lines if line.get_label() == "Pareto front"]
    assert front.get_xdata().tolist() == [33]
    assert "without a point: cscgan (diverged)" in figure.get_suptitle()


def test_a_place_far_below_is_drawn_at_the_edge_and_written():
    view = make_run_view(seeds=1)
    for score in view["scores"][record_of(view, "scgan")["key"]]:
        if score["metric"] == "mmd":
            score["values"]["mmd"] = 2.9
    mmd = pareto_figure(built(view)).axes[2]
    (far,) = [line for line in mmd.lines if line.get_marker() == "v"]
    assert far.get_ydata().tolist() == [-1]
    assert [text.get_text() for text in mmd.texts] == ["activa", "scgan (−500 %)"]


def test_a_cost_of_one_generator_alone_has_no_panel_beside_those_of_several():
    view = make_run_view()
    for record in view["records"]:
        if record["job"]["model"] != "activa":
            record["timing"] = None
    figure = pareto_figure(built(view))
    assert {axes.get_xlabel() for axes in figure.axes} == {"training, seconds"}


def test_no_scale_or_no_cost_gives_no_figure():
    view = make_run_view()
    for record in view["records"]:
        record["training"] = record["timing"] = None
    assert pareto_figure(built(view)) is None
    view = make_run_view()
    view["metrics"] = [metric | {"floors": []} for metric in view["metrics"]]
    assert pareto_figure(built(view)) is None
    assert np.isfinite(pareto_figure(built(make_run_view())).get_figwidth())


def drawn_texts(figure):
    """Return each panel's names with the place they take on the page, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    return [
        [(text.get_text(), Text.get_window_extent(text, renderer)) for text in axes.texts]
        for axes in figure.axes
    ]


def test_names_of_points_in_one_place_do_not_hide_each_other():
    view = make_run_view()
    # Five more as good and as fast as activa, to a few per cent.
    for number in range(5):
        for record in [r for r in view["records"] if r["job"]["model"] == "activa"]:
            copy = json.loads(json.dumps(record))
            copy["job"]["model"], copy["key"] = f"generator_{number}", f"{record['key']}-{number}"
            if copy["training"]:
                copy["training"]["seconds"] *= 1 + number / 50
            view["records"].append(copy)
            view["scores"][copy["key"]] = view["scores"][record["key"]]
    panels = drawn_texts(pareto_figure(built(view)))
    assert [len(names) for names in panels] == [7] * 6
    for names in panels:
        for (one, here), (other, there) in combinations(names, 2):
            assert not here.padded(-1).overlaps(there.padded(-1)), (one, other)


def test_a_name_lies_beside_its_point_unless_that_place_is_taken():
    figure = Figure(figsize=(4, 3), dpi=100)
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    figure.draw_without_rendering()
    label_points(
        axes, [Point(2, 5, "first", "red"), Point(9.8, 5, "second", "red"), Point(2, 5.1, "third", "red")]
    )
    places = [text.get_position() for text in axes.texts]
    # Eight points to the right and a little above; the second has no room there.
    assert places[0][0] == pytest.approx(8)
    assert places[1][0] < 0
    assert abs(places[2][1] - places[0][1]) >= 9 or places[2][0] < 0
