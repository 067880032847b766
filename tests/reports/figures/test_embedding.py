"""Maps: each side's cells in its own panels, all of them where their file says."""

from pathlib import Path

import numpy as np
import pytest

from reports.figures import save_figures
from reports.figures.embedding import embedding_figure, embedding_file, stored_maps
from tests.reports.run_view import built, make_run_view, record_of

pytestmark = pytest.mark.slow

N = 40


def make_maps(n_cells=N):
    rng = np.random.default_rng(0)
    return {
        "umap": rng.normal(size=(n_cells, 2)),
        "tsne": rng.normal(size=(n_cells, 2)),
        "is_synthetic": np.arange(n_cells) >= n_cells // 2,
        "cell_type": np.tile(["B", "T"], n_cells // 2),
        "marker_genes": np.array(["MS4A1", "CD3D"]),
        "marker_types": np.array(["B", "T"]),
        "markers": rng.gamma(1.0, size=(n_cells, 2)),
        "space": np.array("log_cp20k"),
    }


def store(view, model, maps, seed=0):
    file = embedding_file_of(view, model, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **maps)


def embedding_file_of(view, model, seed=0):
    return embedding_file(Path(view["run"]["folder"]), record_of(view, model, seed)["key"], 0)


def points(axes):
    return np.concatenate([cloud.get_offsets() for cloud in axes.collections if len(cloud.get_offsets())])


def rows(array):
    return sorted(map(tuple, np.asarray(array)))


@pytest.mark.parametrize(("part", "method"), [(0, "umap"), (1, "tsne")])
def test_sides_are_drawn_together_by_source_and_apart_by_type_and_gene(part, method):
    maps = make_maps()
    axes = [
        a
        for a in embedding_figure(built(make_run_view()), "activa", maps).subfigs[part].axes
        if a.collections
    ]
    joint, test_types, synthetic_types, test_gene, synthetic_gene = axes[:5]
    assert rows(points(joint)) == rows(maps[method])
    for panel, members in (
        (test_types, ~maps["is_synthetic"]),
        (test_gene, ~maps["is_synthetic"]),
        (synthetic_types, maps["is_synthetic"]),
        (synthetic_gene, maps["is_synthetic"]),
    ):
        assert rows(points(panel)) == rows(maps[method][members])
        assert (panel.get_xlim(), panel.get_ylim()) == (joint.get_xlim(), joint.get_ylim())
    values = dict(zip(map(tuple, points(test_gene)), test_gene.collections[0].get_array(), strict=True))
    assert values[tuple(maps[method][3])] == maps["markers"][3, 0]
    assert test_gene.collections[0].get_clim() == synthetic_gene.collections[0].get_clim()
    assert test_gene.get_title(loc="left") == "MS4A1\n(B)"


def test_colours_tell_the_source():
    maps = make_maps()
    (cloud,) = embedding_figure(built(make_run_view()), "activa", maps).subfigs[0].axes[0].collections
    colours = dict(zip(map(tuple, cloud.get_offsets()), map(tuple, cloud.get_facecolors()), strict=True))
    real, synthetic = (
        {colours[tuple(xy)] for xy in maps["umap"][part]} for part in (slice(20), slice(20, N))
    )
    assert len(real) == len(synthetic) == 1
    assert real != synthetic


def test_without_types_there_is_the_source_alone():
    maps = make_maps() | {
        "cell_type": np.array([], str),
        "marker_genes": np.array([], str),
        "marker_types": np.array([], str),
        "markers": np.zeros((N, 0)),
    }
    parts = embedding_figure(built(make_run_view()), "activa", maps).subfigs
    assert [len(part.axes) for part in parts] == [1, 1]


def test_the_first_stored_maps_of_models_and_ceiling_are_drawn_and_broken_files_passed_over(tmp_path):
    view = make_run_view(tmp_path)
    store(view, "real", make_maps())
    store(view, "activa", make_maps() | {"space": np.array("cp20k")}, seed=1)
    store(view, "activa", make_maps(), seed=2)
    store(view, "shuffle", make_maps())
    embedding_file_of(view, "scgan").parent.mkdir(parents=True)
    embedding_file_of(view, "scgan").write_bytes(b"PK half a file")
    found = stored_maps(built(view))
    assert list(found) == ["activa", "real"]
    assert str(found["activa"]["space"]) == "cp20k"
    view["scores"], view["augmentation_baselines"] = {}, []
    stems = {path.stem for path in save_figures(built(view), tmp_path / "figures")}
    assert stems == {"embedding-activa", "embedding-real", "markers-activa", "markers-real"}


@pytest.mark.parametrize(("n_cells", "are_pixels"), [(40, False), (700, True)])
def test_many_points_are_pixels_in_the_svg_and_few_are_shapes(tmp_path, n_cells, are_pixels):
    figure = embedding_figure(built(make_run_view()), "activa", make_maps(n_cells))
    figure.savefig(tmp_path / "map.svg")
    text = (tmp_path / "map.svg").read_text()
    # The colour scales are images in any case.
    assert (text.count("<image") > 10) == are_pixels
