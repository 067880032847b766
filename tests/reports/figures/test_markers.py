"""Violins of marker genes: each half of the cells it stands for."""

import numpy as np
import pytest

from reports.figures.markers import markers_figure
from tests.reports.figures.test_embedding import make_maps
from tests.reports.run_view import built, make_run_view

pytestmark = pytest.mark.slow


def medians(axes):
    """Return the segments of the medians: (left, right, height)."""
    return sorted(
        (float(line[0, 0]), float(line[1, 0]), float(line[0, 1]))
        for collection in axes.collections
        if hasattr(collection, "get_segments")
        for line in collection.get_segments()
    )


def test_a_half_violin_stands_for_its_own_cells():
    maps = make_maps()
    figure = markers_figure(built(make_run_view()), "activa", maps)
    panels = figure.axes
    assert [panel.get_title(loc="left") for panel in panels] == [
        "MS4A1, a marker of B",
        "CD3D, a marker of T",
    ]
    assert [label.get_text() for label in panels[-1].get_xticklabels()] == ["B", "T"]
    for gene, axes in enumerate(panels):
        wanted = []
        for place, name in enumerate(("B", "T")):
            for synthetic, (left, right) in ((False, (-0.2, 0.0)), (True, (0.0, 0.2))):
                members = (maps["is_synthetic"] == synthetic) & (maps["cell_type"] == name)
                wanted.append((place + left, place + right, np.median(maps["markers"][members, gene])))
        assert np.allclose(medians(axes), sorted(wanted))


def test_few_or_equal_cells_are_points():
    maps = make_maps() | {"markers": np.zeros((40, 2))}
    figure = markers_figure(built(make_run_view()), "activa", maps)
    for axes in figure.axes:
        assert not axes.collections
        assert sum(len(line.get_xdata()) for line in axes.lines) == 40


def test_without_types_there_is_no_figure():
    maps = make_maps() | {"cell_type": np.array([]), "marker_genes": np.array([])}
    assert markers_figure(built(make_run_view()), "activa", maps) is None
