import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_auc_score

from reports.curves import read_curves, thin
from reports.figures import save_figures
from reports.figures.overview import overview_figure
from reports.figures.roc import roc_figure
from reports.figures.scale import scale_figure
from reports.figures.style import PIXELS_PER_INCH, save
from reports.figures.training import curves_figure, training_curves
from tests.reports.run_view import as_protocol, built, make_run_view, record_of, score_of, write_curves

pytestmark = pytest.mark.slow


def panel(figure, title):
    return next(
        axes for axes in figure.axes if axes.get_title(loc="left").replace("\n", "/").startswith(title)
    )


def lines_named(axes, name):
    return [line for line in axes.lines if line.get_label() == name]


def test_roc_lines_have_the_area_of_their_fold():
    view = make_run_view(seeds=1)
    axes = panel(roc_figure(built(view)), "scgan")
    details = score_of(view, "scgan", "rf_auc")["details"]
    labels, scores, folds = (np.array(details[name]) for name in ("labels", "scores", "folds"))
    assert len(axes.lines) == 6
    areas = []
    for fold in range(5):
        (line,) = lines_named(axes, f"fold {fold}")
        x, y = line.get_data()
        areas.append(roc_auc_score(labels[folds == fold], scores[folds == fold]))
        assert np.trapezoid(y, x) == pytest.approx(areas[-1])
    (chance,) = lines_named(axes, "chance")
    assert chance.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert f"{np.mean(areas):.3f}" in axes.get_title(loc="left")


def test_roc_has_a_panel_for_each_scored_generator():
    titles = [axes.get_title(loc="left").split("\n")[0] for axes in roc_figure(built(make_run_view())).axes]
    assert titles == ["activa", "scgan", "real", "shuffle", "poisson", "memorise"]


def test_overview_shows_means_intervals_and_controls():
    axes = panel(overview_figure(built(make_run_view())), "rf_auc")
    (means,) = lines_named(axes, "_mean")
    assert means.get_xdata()[:2] == pytest.approx([0.93, 0.985])
    assert np.isnan(means.get_xdata()[2])
    assert [text.get_text() for text in axes.texts] == ["diverged"]
    for control, value in (
        ("real", 0.5),
        ("shuffle", 0.95),
        ("poisson", 0.88),
        ("memorise", 0.5),
        ("ideal", 0.5),
    ):
        (line,) = lines_named(axes, control)
        assert line.get_xdata() == pytest.approx([value, value])
    (interval,) = axes.collections
    half = 4.302653 * np.std([0.90, 0.92, 0.97], ddof=1) / np.sqrt(3)
    assert interval.get_segments()[0][:, 0] == pytest.approx([0.93 - half, 1.0])


def test_baselines_stand_beside_models_in_the_overview_and_the_null_among_the_lines():
    view = make_run_view()
    for seed in range(3):
        record_of(view, "shuffle", seed)["job"]["role"] = "baseline"
        record_of(view, "poisson", seed)["job"]["role"] = "null"
    axes = panel(overview_figure(built(view)), "mmd")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["activa", "scgan", "cscgan", "shuffle"]
    (means,) = lines_named(axes, "_mean")
    assert means.get_xdata()[3] == pytest.approx(0.5)
    assert lines_named(axes, "shuffle") == []
    (null,) = lines_named(axes, "poisson")
    assert null.get_xdata() == pytest.approx([0.3, 0.3])


def test_the_overview_keeps_to_the_headline_metrics():
    view = make_run_view()
    view["metrics"] = [m | {"group": "coverage"} if m["name"] == "cd" else m for m in view["metrics"]]
    titles = [axes.get_title(loc="left").split(" ")[0] for axes in overview_figure(built(view)).axes]
    assert titles == ["rf_auc", "mmd", "augmentation_f1"]


def test_overview_shows_the_augmentation_score_beside_no_augmentation():
    axes = panel(overview_figure(built(make_run_view())), "augmentation_f1")
    (without,) = lines_named(axes, "no augmentation")
    assert without.get_xdata() == pytest.approx([0.2, 0.2])


def test_curves_are_drawn_for_each_seed_and_logarithmic_where_they_span_much(tmp_path):
    view = make_run_view(tmp_path)
    for seed in (0, 1):
        write_curves(view, record_of(view, "activa", seed)["key"], points=600)
    found = training_curves(built(view))
    assert list(found) == ["activa"]
    figure = curves_figure("activa", found["activa"])
    loss, balance = panel(figure, "adversarial/loss"), panel(figure, "adversarial/balance")
    assert (loss.get_yscale(), balance.get_yscale()) == ("log", "linear")
    assert [line.get_label() for line in loss.lines] == ["seed 0", "seed 1"]
    assert loss.lines[0].get_ydata()[100] == pytest.approx(1000 * 0.99**100)


def test_every_figure_is_saved_as_png_and_svg(tmp_path):
    view = make_run_view(tmp_path / "run", seeds=1)
    write_curves(view, record_of(view, "activa")["key"], points=20)
    paths = save_figures(built(view), tmp_path / "figures")
    stems = ("overview", "pareto", "scale", "roc", "augmentation", "curves-activa")
    names = {f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")}
    assert {path.name for path in paths} == names
    for path in paths:
        start = path.read_bytes()[:200]
        assert start.startswith(b"\x89PNG") if path.suffix == ".png" else b"<?xml" in start
        assert path.stat().st_size > 5000


def test_a_run_without_scores_gives_no_figure(tmp_path):
    view = make_run_view(tmp_path)
    view["scores"], view["augmentation_baselines"] = {}, []
    assert save_figures(built(view), tmp_path / "figures") == []


def test_each_protocol_has_an_overview_of_its_own(tmp_path):
    view, other = make_run_view(tmp_path, seeds=1), as_protocol(make_run_view(seeds=1), "strict+observed")
    view["run"]["protocols"] = ["strict", "strict+observed"]
    for key, scores in other["scores"].items():
        view["scores"][key] += scores
    names = {path.stem for path in save_figures(built(view), tmp_path / "figures")}
    each = {
        f"{kind}-{under}"
        for kind in ("overview", "pareto", "scale", "roc")
        for under in ("strict", "strict-observed")
    }
    assert names == each | {"augmentation"}


def test_curves_survive_half_a_line_and_a_repeated_step(tmp_path):
    path = tmp_path / "curves.jsonl"
    path.write_text(
        '{"step": 1, "phase": "fit/warm_up", "values": {"loss": 5.0, "odd": NaN}}\n'
        '{"step": 2, "phase": "fit/warm_up", "values": {"loss": 4.0}}\n'
        '{"step": 2, "phase": "fit/warm_up", "values": {"loss": 3.0}}\n'
        '{"step": 3, "phase": "fit/war'
    )
    assert read_curves(path) == {"warm_up/loss": [(1, 5.0), (2, 3.0)]}
    assert read_curves(tmp_path / "absent.jsonl") == {}


def test_thinning_keeps_both_ends_and_even_spacing():
    curve = [(step, float(step)) for step in range(10_001)]
    assert thin(curve, limit=5) == [(step, float(step)) for step in (0, 2500, 5000, 7500, 10_000)]
    assert thin(curve, limit=20_000) == curve


def test_a_figure_is_laid_out_as_matplotlib_does_and_drawn_once_for_each_file(tmp_path, monkeypatch):
    view = make_run_view(seeds=1)
    overview_figure(built(view)).savefig(tmp_path / "by_matplotlib.png", dpi=PIXELS_PER_INCH)
    drawn, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda figure, renderer: drawn.append(1) or draw(figure, renderer))
    png, _ = save(overview_figure(built(view)), tmp_path, "ours")
    assert len(drawn) == 2
    pixels = [np.asarray(Image.open(file)) for file in (tmp_path / "by_matplotlib.png", png)]
    np.testing.assert_array_equal(*pixels)


def test_each_figure_is_announced_before_it_is_drawn(tmp_path):
    view, begun = make_run_view(tmp_path / "run", seeds=1), []

    def begin(name):
        assert not (tmp_path / "figures" / f"{name}.png").exists()
        begun.append(name)

    paths = save_figures(built(view), tmp_path / "figures", begin=begin)
    assert begun[:4] == ["overview", "pareto", "scale", "roc"]
    assert [path.stem for path in paths if path.suffix == ".png"] == [
        name for name in begun if (tmp_path / "figures" / f"{name}.png").exists()
    ]


@pytest.mark.parametrize("part", ["title", "legend"])
def test_a_narrow_figure_is_widened_until_nothing_is_cut(tmp_path, part):
    figure = Figure(figsize=(2, 2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], label="a generator with a long name" * 3)
    if part == "title":
        figure.suptitle("Which properties of real cells does each generator keep? Blue: as real cells")
    else:
        figure.legend(loc="outside lower center")
    png, _ = save(figure, tmp_path, "narrow")
    with Image.open(png) as image:
        pixels = np.asarray(image.convert("L"))
    # A title that is cut has letters at the edge.
    assert pixels.shape[1] > 2 * PIXELS_PER_INCH
    assert (pixels[:, :5] == 255).all()
    assert (pixels[:, -5:] == 255).all()


def test_a_heat_map_of_two_generators_has_its_whole_title(tmp_path):
    view = make_run_view()
    view["records"] = [record_of(view, "activa"), record_of(view, "real")]
    png, _ = save(scale_figure(built(view)), tmp_path, "scale")
    with Image.open(png) as image:
        pixels = np.asarray(image.convert("L"))
    assert (pixels[:, :5] == 255).all()
    assert (pixels[:, -5:] == 255).all()
