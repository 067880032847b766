"""What is drawn is what the scores kept."""

import numpy as np
import pytest

from reports.figures.augmentation import augmentation_figure
from reports.figures.correlation import correlation_figure, real_above_synthetic
from reports.figures.marginals import marginals_figure
from reports.figures.memorisation import memorisation_figure
from reports.figures.scale import scale_figure
from reports.table import results_frame
from tests.reports.run_view import built, make_run_view, record_of, repeat_augmentation, score_of

pytestmark = pytest.mark.slow

PERCENTILES = {
    "percentiles": np.linspace(0, 8, 101).tolist(),
    "percentiles_test": np.linspace(2, 10, 101).tolist(),
    "threshold": 2.08,
}


def add_score(view, model, metric, value, details, error=None):
    score = dict(score_of(view, model, "mmd"))
    score |= {
        "metric": metric,
        "values": {} if error else {metric: value},
        "details": details,
        "error": error,
    }
    view["scores"][record_of(view, model)["key"]].append(score)


def titled(figure, start):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(start))


def lines(axes):
    return {line.get_label(): line.get_data() for line in axes.lines}


def test_the_scale_writes_every_value_and_colours_it_by_its_place():
    view = make_run_view()
    frame, axes = results_frame(built(view)), scale_figure(built(view)).axes[0]
    (image,) = axes.images
    metrics = [label.get_text().split(" ")[0] for label in axes.get_yticklabels()]
    models = [label.get_text() for label in axes.get_xticklabels()]
    assert models == frame["model"].tolist()
    shown = image.get_array()
    places = frame.set_index("model")["rf_auc_position"].clip(-1, 1)
    in_row = shown[metrics.index("rf_auc")].filled(np.nan)
    assert in_row == pytest.approx(places.to_numpy(), nan_ok=True)
    assert places["real"] == 1
    # No floor is declared for it.
    assert shown.mask[metrics.index("augmentation_f1")].all()
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written[models.index("activa"), metrics.index("rf_auc")] == "0.930"
    assert written[models.index("cscgan"), metrics.index("rf_auc")] == "–"


def test_real_correlations_stand_above_the_diagonal():
    real, synthetic = (np.full((3, 3), value) for value in (0.5, -0.25))
    matrix = real_above_synthetic(real.tolist(), synthetic.tolist())
    assert matrix[np.triu_indices(3, 1)].tolist() == [0.5] * 3
    assert matrix[np.tril_indices(3, -1)].tolist() == [-0.25] * 3
    assert np.isnan(matrix.diagonal()).all()


def test_correlations_have_a_panel_for_each_model_and_the_ceiling():
    view = make_run_view()
    details = {
        "genes": ["LYZ", "CST3", "CD79A", "MS4A1"],
        "types": ["Monocyte", "Monocyte", "B", "B"],
        "real": np.full((4, 4), 0.5).tolist(),
        "synthetic": np.full((4, 4), -0.25).tolist(),
    }
    for model in ("activa", "real", "shuffle"):
        score_of(view, model, "cd")["details"] = details
    figure = correlation_figure(built(view))
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["activa   cd 3.00", "real   cd 0.900"]
    np.testing.assert_array_equal(
        panels[0].images[0].get_array(), real_above_synthetic(details["real"], details["synthetic"])
    )
    assert [label.get_text() for label in panels[0].get_yticklabels()] == details["genes"]
    assert [text.get_text() for text in panels[1].texts[:2]] == ["Monocyte", "B"]
    assert [text.get_position()[1] for text in panels[1].texts[:2]] == [0.5, 2.5]


def test_marginals_draw_both_sides_and_say_why_a_panel_is_empty():
    view = make_run_view(seeds=1)
    sides = {
        "real": {"log10_mean": [-1, 0], "log10_variance": [-2, 1]},
        "synthetic": {"log10_mean": [-1, 0.5], "log10_variance": [-1, 2]},
    }
    add_score(view, "activa", "mean_variance_error", 0.1, sides)
    add_score(view, "activa", "genes_per_cell_wasserstein", 0.2, PERCENTILES)
    add_score(view, "activa", "library_size_wasserstein", None, {}, error="cp20k has no library sizes")
    figure = marginals_figure(built(view))
    variance = lines(titled(figure, "variance of genes"))
    assert [list(part) for part in variance["test cells"]] == [[-1, 0], [-2, 1]]
    assert [list(part) for part in variance["synthetic cells"]] == [[-1, 0.5], [-1, 2]]
    breadth = lines(titled(figure, "genes per cell"))
    x, y = breadth["synthetic cells"]
    assert (x[50], y[50]) == (4, pytest.approx(0.5))
    assert breadth["test cells"][0][50] == 6
    depth = titled(figure, "library size")
    assert [text.get_text().replace("\n", " ") for text in depth.texts] == ["cp20k has no library sizes"]


def test_memorisation_shades_what_counts_as_near():
    view = make_run_view(seeds=1)
    for model in ("activa", "memorise", "shuffle"):
        add_score(view, model, "near_share", 0.25, PERCENTILES)
    figure = memorisation_figure(built(view))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["activa\n25.0 % near", "memorise\n25.0 % near"]
    axes = figure.axes[0]
    (shaded,) = axes.patches
    assert shaded.get_x() + shaded.get_width() == pytest.approx(PERCENTILES["threshold"])
    drawn = lines(axes)
    np.testing.assert_allclose(drawn["synthetic cells"][0], PERCENTILES["percentiles"])
    np.testing.assert_allclose(drawn["test cells"], [PERCENTILES["percentiles_test"], np.linspace(0, 1, 101)])


def test_augmentation_draws_means_and_intervals_beside_the_cheap_augmenters():
    view = make_run_view()
    repeat_augmentation(view, "activa", [0.65, 0.85])
    (axes,) = augmentation_figure(built(view)).axes
    drawn = {container.get_label(): container for container in axes.containers}
    assert list(drawn)[:2] == ["none", "class weights"]
    assert drawn["none"].lines[0].get_ydata().tolist() == [0.2]
    assert "cscgan (timeout)" in drawn
    points, _, (bars,) = drawn["activa"].lines
    assert points.get_ydata() == pytest.approx([0.75])
    half = 4.302653 * np.std([0.75, 0.65, 0.85], ddof=1) / np.sqrt(3)
    assert bars.get_segments()[0][:, 1] == pytest.approx([0.75 - half, 0.75 + half])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10 %\n19 cells"]


@pytest.mark.parametrize("draw", [correlation_figure, marginals_figure, memorisation_figure])
def test_scores_that_kept_nothing_give_no_figure(draw):
    assert draw(built(make_run_view(seeds=1))) is None


def test_no_experiment_gives_no_figure():
    view = make_run_view()
    view["records"] = [r for r in view["records"] if r["job"]["experiment"]["kind"] == "main"]
    view["augmentation_baselines"] = []
    assert augmentation_figure(built(view)) is None
