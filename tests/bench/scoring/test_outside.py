"""Files of cells are scored as they were checked, and read as ``bench run`` reads them."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import datasets
from bench.errors import RequestError
from bench.request.registry import resolve_metric
from bench.request.spec import Reading
from bench.scoring.outside import score_outside_cells
from tests.datasets.dataset_files import write_10x_v2, write_10x_v3, write_mtx_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cache_of_its_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def parts(prepared):
    """Return test, training and synthetic cells; the synthetic ones are training cells."""
    counts = anndata.AnnData(
        prepared.layers["counts"].copy(), obs=prepared.obs[["cell_type"]], var=prepared.var
    )
    found = {name: counts[(prepared.obs["split"] == name).to_numpy()].copy() for name in ("test", "train")}
    return {"real": found["test"], "train": found["train"], "synthetic": found["train"][:40].copy()}


def score(folder, parts, *, space="counts", metrics=("cd",), files=None, synthetic_layer=None, **reading):
    """Write parts as .h5ad, unless `files` says where they lie; return the values and what was told."""
    paths = {name: folder / f"{name}.h5ad" for name in parts} | (files or {})
    for name, cells in parts.items():
        if name not in (files or {}):
            cells.write_h5ad(paths[name])
    told = []
    scores = score_outside_cells(
        paths["real"],
        str(paths["train"]),
        paths["synthetic"],
        space=space,
        reading=Reading(**reading),
        synthetic_layer=synthetic_layer,
        cells=None,
        metrics=[resolve_metric(name) for name in metrics],
        say=told.append,
    )
    assert [one.error for one in scores] == [None] * len(metrics)
    return {one.metric: one.values[one.metric] for one in scores}, told


BOTH = ("cd", "zero_fraction_error")


def test_the_matrix_that_was_checked_is_the_one_that_is_scored(parts, tmp_path):
    wanted, told = score(tmp_path, parts, metrics=BOTH)
    assert told == []
    for name in list(parts):
        cells = parts[name]
        cells.layers["counts"] = cells.X.toarray().astype(np.int64)
        cells.X = cells.X.log1p()
        found, told = score(tmp_path, parts, metrics=BOTH)
        assert found == wanted
        assert f"note: {name}.h5ad: the values are those of layers['counts']" in told


def test_counts_in_raw_or_a_layer_are_named_and_can_be_taken(parts, tmp_path):
    wanted, _ = score(tmp_path, parts, metrics=BOTH)
    for name in ("real", "train"):
        parts[name].raw = parts[name].copy()
        parts[name].X = parts[name].X.log1p()
    with pytest.raises(RequestError, match=r"train\.h5ad: X holds .*\.raw holds whole numbers.*--layer raw"):
        score(tmp_path, parts)
    found, told = score(tmp_path, parts, metrics=BOTH, layer="raw")
    assert found == wanted
    assert told == [f"note: {name}.h5ad: the values are those of .raw" for name in ("train", "real")]
    synthetic = parts["synthetic"]
    synthetic.layers["decoded"] = synthetic.X.copy()
    synthetic.X = synthetic.X.log1p()
    assert score(tmp_path, parts, metrics=BOTH, layer="raw", synthetic_layer="decoded")[0] == wanted
    synthetic.raw = synthetic.copy()
    synthetic.raw._X = synthetic.layers.pop("decoded")
    assert score(tmp_path, parts, metrics=BOTH, layer="raw")[0] == wanted


def test_normalised_cells_are_those_of_x_whatever_lies_beside_it(parts, tmp_path):
    synthetic = parts["synthetic"]
    counts = synthetic.X.copy()
    synthetic.X = sparse.csr_matrix(counts.multiply(20_000 / counts.sum(axis=1)))
    wanted, told = score(tmp_path, parts, space="cp20k")
    assert told == []
    synthetic.layers["counts"] = counts
    assert score(tmp_path, parts, space="cp20k")[0] == wanted
    logged = parts | {"synthetic": anndata.AnnData(synthetic.X.log1p(), obs=synthetic.obs, var=synthetic.var)}
    assert score(tmp_path, logged, space="log_cp20k")[0]["cd"] == pytest.approx(wanted["cd"], rel=1e-4)


@pytest.mark.parametrize(
    ("space", "change", "words"),
    [
        ("cp20k", lambda x: -x, "values that are negative"),
        ("log_cp20k", lambda x: x * np.nan, "values that are NaN"),
        ("log_cp20k", lambda x: x * 20_000, r"--space log_cp20k: synthetic\.h5ad holds values up to"),
        ("counts", lambda x: x * 0.5, "not whole.*for other values give --space cp20k or --space log_cp20k"),
    ],
)
def test_values_that_cannot_be_of_the_space_are_refused(space, change, words, parts, tmp_path):
    parts["synthetic"].X = change(parts["synthetic"].X)
    with pytest.raises(RequestError, match=words):
        score(tmp_path, parts, space=space)


def test_other_library_sizes_are_noted(parts, tmp_path):
    _, told = score(tmp_path, parts, space="cp20k")
    assert told == ["note: synthetic.h5ad: the library sizes of 40 of 40 cells are not 20000"]


@pytest.mark.parametrize("write", [write_10x_v2, write_10x_v3, write_mtx_folder])
def test_every_kind_of_file_gives_the_same_scores(write, parts, tmp_path):
    for cells in parts.values():
        del cells.obs["cell_type"]
    wanted, _ = score(tmp_path, parts, metrics=["zero_fraction_error"])
    files = {}
    for name, cells in parts.items():
        options = {"compressed": True} if write is write_mtx_folder else {}
        files[name] = write(tmp_path / f"{name}.10x", cells, **options)
        found, _ = score(tmp_path, parts, metrics=["zero_fraction_error"], files=files)
        assert found == wanted


def test_antibodies_are_left_out_of_every_file(parts, tmp_path):
    wanted, _ = score(tmp_path, parts, metrics=BOTH)
    for name, cells in parts.items():
        more = sparse.csr_matrix(np.full((cells.n_obs, 2), 900.0, dtype=np.float32))
        types = ["Gene Expression"] * cells.n_vars + ["Antibody Capture"] * 2
        var = pd.DataFrame({"feature_types": types}, index=[*cells.var_names, "CD3", "CD4"])
        parts[name] = anndata.AnnData(sparse.hstack([cells.X, more]).tocsr(), obs=cells.obs, var=var)
    found, told = score(tmp_path, parts, metrics=BOTH)
    assert found == wanted
    assert len([note for note in told if "2 of 62 features are no genes (Antibody Capture)" in note]) == 3


@pytest.mark.parametrize("name", ["real", "train", "synthetic"])
@pytest.mark.parametrize("gap", [None, "NA", "<NA>", ""])
def test_missing_labels_are_refused_or_left_out(name, gap, parts, tmp_path):
    labels = parts[name].obs["cell_type"].astype(object).to_numpy().copy()
    labels[:7] = gap
    complete = parts | {name: parts[name][7:].copy()}
    parts[name].obs["cell_type"] = pd.Categorical(labels)
    n_cells = parts[name].n_obs
    with pytest.raises(
        RequestError,
        match=rf"{name}\.h5ad: obs\['cell_type'\] .* for 7 of {n_cells} cells.*--drop-unlabelled",
    ):
        score(tmp_path, parts)
    found, told = score(tmp_path, parts, metrics=BOTH, drop_unlabelled=True)
    assert found == score(tmp_path, complete, metrics=BOTH)[0]
    assert told == [
        f"note: {name}.h5ad: 7 of {n_cells} cells have no label in obs['cell_type'] and are left out"
    ]


def test_leaving_out_needs_a_column_of_labels(parts, tmp_path):
    del parts["real"].obs["cell_type"]
    with pytest.raises(RequestError, match=r"real\.h5ad: --drop-unlabelled: no column of labels is known"):
        score(tmp_path, parts, drop_unlabelled=True)


def test_one_genome_of_an_old_10x_file_is_scored(parts, tmp_path):
    for cells in parts.values():
        del cells.obs["cell_type"]
    wanted, _ = score(tmp_path, parts, metrics=["zero_fraction_error"])
    files = {}
    for name in ("real", "train"):
        files[name] = write_10x_v2(tmp_path / f"{name}.h5", parts[name], genome="hg19")
        write_10x_v2(files[name], parts["synthetic"], genome="mm10", mode="a")
    with pytest.raises(RequestError, match=r"train\.h5 holds the genomes hg19 and mm10.*--genome hg19"):
        score(tmp_path, parts, files=files)
    assert score(tmp_path, parts, metrics=["zero_fraction_error"], files=files, genome="hg19")[0] == wanted


def test_types_of_synthetic_cells_may_be_in_the_column_that_bench_writes(parts, tmp_path):
    wanted, _ = score(tmp_path, parts, metrics=["type_tv"])
    for name in ("real", "train"):
        parts[name].obs = parts[name].obs.rename(columns={"cell_type": "kind"})
    assert score(tmp_path, parts, metrics=["type_tv"], label_key="kind")[0] == wanted
    del parts["synthetic"].obs["cell_type"]
    _, told = score(tmp_path, parts, label_key="kind", metrics=["zero_fraction_error"])
    assert told == ["note: synthetic.h5ad tells no cell types: metrics that need them are left out"]


def test_a_split_that_comes_with_one_file_serves_both_sides(parts, tmp_path):
    wanted, _ = score(tmp_path, parts, metrics=BOTH)
    whole = anndata.concat([parts["train"], parts["real"]])
    whole.obs["part"] = ["Train"] * parts["train"].n_obs + ["held_out"] * parts["real"].n_obs
    whole.write_h5ad(tmp_path / "whole.h5ad")
    files = {"real": tmp_path / "whole.h5ad", "train": tmp_path / "whole.h5ad"}
    found, told = score(tmp_path, parts, metrics=BOTH, files=files, split_from="part")
    assert found == wanted
    assert told[0] == f"note: whole.h5ad: {parts['train'].n_obs} cells are train in obs['part']"
    with pytest.raises(RequestError, match=r"train\.h5ad: there is no column obs\['part'\]"):
        score(tmp_path, parts, split_from="part")


def test_gene_names_of_a_column_meet_those_of_the_synthetic_cells(parts, tmp_path):
    wanted, _ = score(tmp_path, parts, metrics=BOTH)
    for name in ("real", "train"):
        parts[name].var["symbol"] = parts[name].var_names
        parts[name].var_names = [f"ENSG{number:011d}" for number in range(parts[name].n_vars)]
    with pytest.raises(RequestError, match="lacks 60 genes"):
        score(tmp_path, parts)
    assert score(tmp_path, parts, metrics=BOTH, gene_names="symbol")[0] == wanted


def test_names_that_come_again_are_told_apart_only_where_all_files_list_them_alike(parts, tmp_path):
    wanted, _ = score(tmp_path, parts, metrics=BOTH)
    names = ["twin", "twin", *parts["train"].var_names[2:]]
    for name in parts:
        parts[name].var_names = names
    found, told = score(tmp_path, parts, metrics=BOTH)
    assert found == wanted
    assert "note: train.h5ad: 1 duplicate gene names made unique (the first is twin)" in told
    parts["synthetic"].var_names_make_unique()
    assert score(tmp_path, parts, metrics=BOTH)[0] == wanted
    parts["real"] = parts["real"][:, ::-1].copy()
    with pytest.raises(RequestError, match=r"real\.h5ad': gene names must be unique.*'twin' comes again"):
        score(tmp_path, parts)


def test_genes_that_preparing_drops_may_be_missing_and_no_others(parts, tmp_path):
    """What a run never trained on is no reason to refuse its cells."""
    rare = np.zeros((parts["train"].n_obs, 3), dtype=np.float32)
    rare[:2, 0] = rare[:2, 1] = 5
    rare[:3, 2] = 5

    def with_rare(cells, values):
        var = pd.DataFrame(index=[*cells.var_names, "never", "twice", "thrice"])
        return anndata.AnnData(sparse.hstack([cells.X, values]).tocsr(), obs=cells.obs, var=var)

    none = sparse.csr_matrix((parts["real"].n_obs, 3), dtype=np.float32)
    full = parts | {
        "train": with_rare(parts["train"], sparse.csr_matrix(rare)),
        "real": with_rare(parts["real"], none),
    }
    with pytest.raises(RequestError, match=r"synthetic\.h5ad' lacks 3 genes of the training cells"):
        score(tmp_path, full)
    full = {name: cells[:, :-1].copy() if cells.n_vars == 63 else cells for name, cells in full.items()}
    found, told = score(tmp_path, full, metrics=BOTH)
    assert found == score(tmp_path, parts, metrics=BOTH)[0]
    assert told == [
        "note: 2 genes seen in fewer than 3 training cells are not in synthetic.h5ad and are left out of the "
        "scores"
    ]
    # Nobody drops them on one side alone.
    full["real"] = full["real"][:, 1:].copy()
    with pytest.raises(RequestError, match=r"real\.h5ad' lacks 1 genes"):
        score(tmp_path, full)


def test_cells_of_a_prepared_data_set_are_scored_against_the_file_it_was_made_of(parts, tmp_path):
    cells = anndata.concat([parts["train"], parts["real"]])
    cells.X[:, 5] = 0
    cells.X[:2, 5] = 1
    cells.write_h5ad(tmp_path / "mine.h5ad")
    prepared = datasets.prepare(tmp_path / "mine.h5ad", cache_folder=tmp_path / "cache").read()
    assert prepared.n_vars == 59
    parts["synthetic"] = prepared[:40].copy()
    del parts["synthetic"].layers["counts"]
    files = {"real": tmp_path / "mine.h5ad", "train": tmp_path / "mine.h5ad"}
    _, told = score(tmp_path, parts, space="cp20k", files=files)
    assert any(note.startswith("note: 1 genes seen in fewer than 3 training cells") for note in told)


def test_a_handful_of_cells_is_refused_in_one_line(parts, tmp_path):
    parts["real"] = parts["real"][:0].copy()
    with pytest.raises(RequestError) as caught:
        score(tmp_path, parts)
    assert "\n" not in str(caught.value)


def test_real_cells_that_a_run_would_drop_are_noted(parts, tmp_path):
    parts["real"].X = parts["real"].X.multiply(np.arange(parts["real"].n_obs)[:, None] > 1).tocsr()
    _, told = score(tmp_path, parts)
    assert told == [
        "note: real.h5ad: 2 of 30 cells have fewer than 10 detected genes, or none that is kept: "
        "bench run would drop them"
    ]


def test_a_transposed_file_is_named(parts, tmp_path):
    parts["synthetic"] = parts["synthetic"].T.copy()
    with pytest.raises(RequestError, match=r"synthetic\.h5ad: the matrix looks transposed"):
        score(tmp_path, parts)


@pytest.mark.parametrize("name", ["real", "train"])
@pytest.mark.parametrize("how", ["only zeros", "no cells"])
def test_a_file_without_counts_is_named(name, how, parts, tmp_path):
    if how == "no cells":
        parts[name] = parts[name][:0].copy()
    else:
        parts[name].X = sparse.csr_matrix(parts[name].shape, dtype=np.float32)
    n_cells = parts[name].n_obs
    with pytest.raises(RequestError, match=rf"{name}\.h5ad: no counts at all in {n_cells} cells × 60 genes"):
        score(tmp_path, parts)


def test_a_synthetic_file_without_cells_is_named(parts, tmp_path):
    parts["synthetic"] = parts["synthetic"][:0].copy()
    with pytest.raises(RequestError, match=r"synthetic\.h5ad: there are no cells to score"):
        score(tmp_path, parts)


def test_types_without_a_training_cell_are_named(parts, tmp_path):
    wanted, told = score(tmp_path, parts, metrics=BOTH)
    assert told == []
    types = sorted(parts["train"].obs["cell_type"].unique())
    for name in ("real", "synthetic"):
        changed = parts[name].copy()
        changed.obs["cell_type"] = changed.obs["cell_type"].astype(str).replace(types[0], "new one")
        n_changed = int((changed.obs["cell_type"] == "new one").sum())
        found, told = score(tmp_path, parts | {name: changed}, metrics=BOTH)
        assert found == wanted
        share = f"{n_changed} of {changed.n_obs} cells"
        assert told == [f"note: {name}.h5ad: no cell of train.h5ad is of type new one ({share})"]
    # A type that no test cell has is no fault.
    fewer = parts["real"][(parts["real"].obs["cell_type"] != types[0]).to_numpy()].copy()
    assert score(tmp_path, parts | {"real": fewer}, metrics=BOTH)[1] == []


def test_files_whose_types_do_not_meet_are_refused(parts, tmp_path):
    parts["real"].obs["cell_type"] = [f"other {n % 7}" for n in range(parts["real"].n_obs)]
    words = (
        r"real\.h5ad and train\.h5ad have no cell type in common \(other 0, other 1, other 2, other 3, "
        r"other 4 and 2 more; alpha, beta, gamma\): .*--label-key"
    )
    with pytest.raises(RequestError, match=words):
        score(tmp_path, parts)
