"""Which features are genes, how they are called, of which genome and matrix; and what is transposed."""

import gzip

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import datasets
from datasets import DatasetError
from datasets.features import feature_types
from datasets.readers import read_cells
from tests.datasets.dataset_files import make_cells, write_10x_v2, write_10x_v3, write_mtx_folder

pytestmark = pytest.mark.slow

GAPS = ["nan", "NA", "<NA>", "None"]
MIXED = ["Antibody Capture"] * 3 + ["Gene Expression"] * 50 + ["Peaks"] * 5 + ["CRISPR Guide Capture"] * 2
TOLD = "10 of 60 features are no genes (Antibody Capture, CRISPR Guide Capture, Peaks) and are left out"


def typed(column, types):
    adata = make_cells()
    adata.var[column] = types
    return adata


@pytest.mark.parametrize(
    ("column", "types"),
    [
        ("feature_types", MIXED),
        ("feature_type", pd.Categorical(MIXED)),
        ("Feature Type", [kind.upper().replace(" ", "_") for kind in MIXED]),
        ("featureTypes", MIXED),
        ("assay", MIXED),
    ],
)
@pytest.mark.parametrize("stored", [True, False], ids=["h5ad", "memory"])
def test_what_is_no_gene_is_left_out_under_any_spelling(column, types, stored, cache, tmp_path):
    adata = typed(column, types)
    if stored:
        adata.write_h5ad(tmp_path / "cells.h5ad")
    prepared = datasets.prepare(tmp_path / "cells.h5ad" if stored else adata, cache_folder=cache)
    result = prepared.read()
    assert list(result.var_names) == list(adata.var_names[3:53])
    np.testing.assert_array_equal(result.layers["counts"].toarray(), adata.X.toarray()[:, 3:53])
    (note,) = [note for note in prepared.notes if "no genes" in note]
    assert note.replace("_", " ").upper() == TOLD.upper()


def test_modalities_tell_genes_from_proteins(cache):
    adata = typed("modality", ["rna"] * 55 + ["prot"] * 5)
    prepared = datasets.prepare(adata, cache_folder=cache)
    assert prepared.read().n_vars == 55
    assert "5 of 60 features are no genes (prot) and are left out" in prepared.notes


@pytest.mark.parametrize(
    ("column", "types"),
    [
        ("feature_types", ["Gene Expression"] * 60),
        # As CELLxGENE uses the name.
        ("feature_type", ["protein_coding"] * 50 + ["lncRNA"] * 10),
        ("feature_types", np.arange(60)),
        ("highly_variable", [True] * 60),
        ("chromosome", ["custom"] * 60),
    ],
)
def test_other_columns_leave_no_gene_out(column, types, cache):
    prepared = datasets.prepare(typed(column, types), cache_folder=cache)
    assert prepared.read().n_vars == 60
    assert not any("feature" in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("column", "kinds", "n_genes", "told"),
    [
        (
            "feature_types",
            ["Transcriptome", "Antibody Capture"],
            50,
            "10 of 60 features are no genes (Antibody",
        ),
        (
            "feature_types",
            ["Transcriptome", "Antibody Capture"],
            50,
            "50 of 60 features are of a type that is",
        ),
        (
            "feature_type",
            ["protein_coding", "Antibody Capture"],
            50,
            "10 of 60 features are no genes (Antibody",
        ),
        (
            "feature_type",
            ["Gene Expression", "Negative Control Probe"],
            50,
            "(Negative Control Probe) and are",
        ),
        (
            "feature_type",
            ["gene", "my_own"],
            60,
            "10 of 60 features are of a type that is not known (my_own)",
        ),
        ("feature_type", ["A", "B"], 60, "60 of 60 features are of a type that is not known (A, B)"),
        ("assay", ["RNA", "ADT"], 50, "10 of 60 features are no genes (ADT)"),
        ("assay", ["RNA", "HTO"], 50, "10 of 60 features are no genes (HTO)"),
        ("type", ["gene", "antibody"], 50, "10 of 60 features are no genes (antibody)"),
        ("kind", ["genes", "peaks"], 50, "10 of 60 features are no genes (peaks)"),
    ],
)
def test_a_word_for_no_gene_counts_whatever_the_other_words_are(column, kinds, n_genes, told, cache):
    adata = typed(column, [kinds[0]] * 50 + [kinds[1]] * 10)
    prepared = datasets.prepare(adata, cache_folder=cache)
    assert list(prepared.read().var_names) == list(adata.var_names[:n_genes])
    assert any(told in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("column", "kinds"),
    [
        ("feature_type", ["gene", "lncRNA", "pseudogene"]),
        ("feature_type", ["protein_coding", "transcribed_unprocessed_pseudogene", "IG_V_gene"]),
        # What genes make, who found them, and in what: nothing about the features themselves.
        ("product", ["rna", "protein", "rna"]),
        ("validated", ["antibody", None, None]),
        ("assay", ["RNA", "ADT", "qPCR"]),
    ],
)
def test_biotypes_and_other_columns_tell_genes(column, kinds, cache):
    prepared = datasets.prepare(typed(column, kinds * 20), cache_folder=cache)
    assert prepared.read().n_vars == 60
    assert not any("feature" in note for note in prepared.notes)


def test_features_without_a_type_are_kept_and_noted(cache):
    adata = typed("feature_types", [None] * 4 + ["Gene Expression"] * 51 + ["Antibody Capture"] * 5)
    prepared = datasets.prepare(adata, cache_folder=cache)
    assert list(prepared.read().var_names) == list(adata.var_names[:55])
    assert "4 of 60 features have no type and are taken for genes" in prepared.notes


@pytest.mark.parametrize("kind", ["Antibody Capture", "Peaks"])
def test_cells_without_any_gene_are_refused(kind, cache):
    with pytest.raises(DatasetError, match=f"no feature of type 'Gene Expression', only {kind}"):
        datasets.prepare(typed("feature_types", [kind] * 60), cache_folder=cache)
    assert feature_types(make_cells().var) is None


def test_the_number_of_features_left_out_is_never_anothers(cache):
    """Two data sets whose genes agree are not one in the cache if their notes differ."""
    few, many = make_cells(), make_cells()
    few.var["feature_types"] = many.var["feature_types"] = ["Gene Expression"] * 50 + ["Peaks"] * 10
    few = few[:, :55].copy()
    notes = [datasets.prepare(adata, cache_folder=cache).notes[0] for adata in (few, many)]
    assert [note.split(" are")[0] for note in notes] == ["5 of 55 features", "10 of 60 features"]


def with_counts_elsewhere():
    """Return cells as CELLxGENE keeps them: X logged, counts in .raw, of more genes, by Ensembl id."""
    full = make_cells()
    symbols = [f"S{number}" for number in range(60)]
    full.var = pd.DataFrame({"feature_name": symbols}, index=[f"ENSG{n:011d}" for n in range(60)])
    adata = full[:, 10:].copy()
    adata.layers["doubled"] = adata.X.toarray().astype(np.int64) * 2
    adata.X = adata.X.log1p()
    adata.raw = full
    return adata


def test_counts_are_taken_from_the_matrix_that_is_named(cache, tmp_path):
    adata, counts = with_counts_elsewhere(), make_cells().X.toarray()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    keys = set()
    for source in (adata, tmp_path / "cells.h5ad", anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")):
        with pytest.raises(DatasetError, match=r"\.raw hold whole numbers: take .*--layer raw"):
            datasets.prepare(source, cache_folder=cache)
        raw = datasets.prepare(source, cache_folder=cache, layer="raw")
        np.testing.assert_array_equal(raw.read().layers["counts"].toarray(), counts)
        assert list(raw.read().var_names[:2]) == ["ENSG00000000000", "ENSG00000000001"]
        doubled = datasets.prepare(source, cache_folder=cache, layer="doubled")
        np.testing.assert_array_equal(doubled.read().layers["counts"].toarray(), 2 * counts[:, 10:])
        with pytest.raises(DatasetError, match="no matrix 'spliced': choose --layer from X, doubled, raw"):
            datasets.prepare(source, cache_folder=cache, layer="spliced")
        keys |= {raw.key, doubled.key}
    assert len(keys) == 4  # the backed cells are those in memory


def test_x_goes_before_the_layer_counts_where_asked_for(cache):
    adata = make_cells()
    adata.layers["counts"] = adata.X * 3
    for layer, factor in ((None, 3), ("counts", 3), ("X", 1)):
        result = datasets.prepare(adata, cache_folder=cache, layer=layer).read()
        np.testing.assert_array_equal(result.layers["counts"].toarray(), factor * make_cells().X.toarray())


def test_genes_are_named_by_the_column_that_is_named(cache, tmp_path):
    adata = with_counts_elsewhere()
    named = datasets.prepare(adata, cache_folder=cache, layer="raw", gene_names="feature_name")
    assert list(named.read().var_names) == [f"S{number}" for number in range(60)]
    assert named.key != datasets.prepare(adata, cache_folder=cache, layer="raw").key
    with pytest.raises(DatasetError, match=r"var\['symbol'\]: choose --gene-names from: feature_name"):
        datasets.prepare(adata, cache_folder=cache, layer="raw", gene_names="symbol")
    ids = [f"ENS{number}" for number in range(60)]
    for source in (
        write_10x_v2(tmp_path / "old.h5", make_cells()),
        write_10x_v3(tmp_path / "new.h5", make_cells()),
        write_mtx_folder(tmp_path / "mtx", make_cells(), compressed=True),
    ):
        by_id = datasets.prepare(source, cache_folder=cache, gene_names="gene_ids").read()
        assert list(by_id.var_names) == ids
        assert list(datasets.prepare(source, cache_folder=cache).read().var_names)[:2] == ["gene0", "gene1"]


def test_genes_that_a_column_does_not_name_or_names_twice_are_noted(cache):
    adata = make_cells()
    adata.var["symbol"] = pd.Categorical(["twin", "twin", None, " ", *(f"S{n}" for n in range(4, 56)), *GAPS])
    prepared = datasets.prepare(adata, cache_folder=cache, gene_names="symbol")
    assert list(prepared.read().var_names[:5]) == ["twin", "twin-1", "gene2", "gene3", "S4"]
    assert list(prepared.read().var_names[55:]) == ["S55", "gene56", "gene57", "gene58", "gene59"]
    assert any("6 of 60 genes have no name in var['symbol']" in note for note in prepared.notes)
    assert "1 duplicate gene names made unique (the first is twin)" in prepared.notes
    adata.var["symbol"] = None
    with pytest.raises(DatasetError, match="names no gene"):
        datasets.prepare(adata, cache_folder=cache, gene_names="symbol")


def test_genes_of_one_genome(cache):
    adata = make_cells()
    adata.var["genome"] = ["GRCh38"] * 40 + ["mm10"] * 20
    both = datasets.prepare(adata, cache_folder=cache)
    assert both.read().n_vars == 60
    assert any("genes of 2 genomes stand side by side (GRCh38, mm10)" in note for note in both.notes)
    mouse = datasets.prepare(adata, cache_folder=cache, genome="mm10")
    assert list(mouse.read().var_names) == list(adata.var_names[40:])
    assert "40 of 60 genes are of another genome than mm10: left out" in mouse.notes
    with pytest.raises(DatasetError, match="--genome 'hg19': choose from GRCh38, mm10"):
        datasets.prepare(adata, cache_folder=cache, genome="hg19")
    with pytest.raises(DatasetError, match=r"--genome 'hg19': nothing tells"):
        datasets.prepare(make_cells(), cache_folder=cache, genome="hg19")


def test_an_old_10x_file_of_two_genomes_needs_one_of_them(cache, tmp_path):
    human, mouse = make_cells(), make_cells(n_cells=60, seed=1)
    path = write_10x_v2(tmp_path / "both.h5", human, genome="hg19")
    write_10x_v2(path, mouse, genome="mm10", mode="a")
    for genome, told in ((None, "hg19 and mm10, each"), ("rn6", "hg19 and mm10, none of them 'rn6'")):
        with pytest.raises(DatasetError, match=f"holds the genomes {told}.*--genome hg19"):
            datasets.prepare(path, cache_folder=cache, genome=genome)
    for genome, cells in (("hg19", human), ("mm10", mouse)):
        result = datasets.prepare(path, cache_folder=cache, genome=genome).read()
        np.testing.assert_array_equal(result.layers["counts"].toarray(), cells.X.toarray())


def test_a_10x_file_without_types_and_genomes_is_read(cache, tmp_path):
    path = write_10x_v3(tmp_path / "cells.h5", make_cells(), facts=False)
    read = read_cells(path)
    np.testing.assert_array_equal(read.X.toarray(), make_cells().X.toarray())
    assert list(read.var.columns) == ["gene_ids"]


def barcoded():
    adata = make_cells()
    rng = np.random.default_rng(0)
    adata.obs_names = ["".join(rng.choice(list("ACGT"), 16)) + "-1" for _ in range(90)]
    adata.var_names = [f"RPL{n}" if n < 20 else f"SYM{n}A" for n in range(60)]
    return adata


def by_ensembl_id():
    adata = make_cells()
    adata.obs_names = [f"patient {n}" for n in range(90)]
    adata.var_names = [f"ENSMUSG{n:011d}.2" for n in range(60)]
    return adata


def by_letter_and_number():
    adata = make_cells()
    adata.obs_names, adata.var_names = [f"c{n}" for n in range(90)], [f"G{n}" for n in range(60)]
    return adata


def only_typed():
    adata = typed("feature_types", ["Gene Expression"] * 60)
    adata.obs_names, adata.var_names = [f"p{n}" for n in range(90)], [f"q{n}" for n in range(60)]
    return adata


@pytest.mark.parametrize("make", [make_cells, barcoded, by_ensembl_id, by_letter_and_number, only_typed])
def test_a_transposed_matrix_says_so(make, cache):
    adata = make()
    assert datasets.prepare(adata, cache_folder=cache).read().shape == (90, 60)
    with pytest.raises(DatasetError, match=r"looks transposed: .*give cells × genes") as caught:
        datasets.prepare(adata.T.copy(), cache_folder=cache)
    assert "\n" not in str(caught.value)


def test_modalities_of_cells_are_no_types_of_features(cache):
    adata = make_cells()
    adata.obs["modality"] = "rna"
    assert datasets.prepare(adata, cache_folder=cache).read().shape == (90, 60)


def test_a_label_column_among_the_genes_shows_a_transposed_matrix(cache):
    adata = AnnData(sparse.csr_matrix(make_cells().X.T), var=pd.DataFrame({"kind": ["a", "b", "c"] * 30}))
    with pytest.raises(DatasetError, match="var, not obs, has the column 'kind'"):
        datasets.prepare(adata, cache_folder=cache, label_key="kind")


def test_so_does_the_column_that_is_taken_unasked(cache):
    adata = AnnData(sparse.csr_matrix(make_cells().X.T), var=make_cells().obs.reset_index(drop=True))
    words = "var, not obs, has the column 'cell_type'"
    with pytest.raises(DatasetError, match=words):
        datasets.prepare(adata, cache_folder=cache)
    assert words in datasets.info(adata, cache_folder=cache)["refused"]


def test_cells_that_begin_like_one_family_are_no_genes(cache):
    adata = make_cells()
    adata.obs_names = [f"MT-P{n}" if n % 2 else f"SLC{n}" for n in range(90)]
    adata.var_names = [f"LOC{n}" for n in range(60)]
    assert datasets.prepare(adata, cache_folder=cache).read().shape == (90, 60)
    turned = adata.T.copy()
    turned.obs_names = [f"{('RPL', 'NDUFA', 'ZNF', 'LOC')[n % 4]}{n}" for n in range(60)]
    turned.var_names = [f"patient {n}" for n in range(90)]
    with pytest.raises(DatasetError, match="its cells are named like genes"):
        datasets.prepare(turned, cache_folder=cache)


def test_notes_come_from_readers_alone(cache, tmp_path):
    for own in ("my own text", ["a list"], np.array(["an array"])):
        adata = make_cells()
        adata.uns["reading_notes"] = own
        adata.write_h5ad(tmp_path / "cells.h5ad")
        plain = datasets.prepare(make_cells(), cache_folder=cache).notes
        for source in (adata, tmp_path / "cells.h5ad"):
            assert datasets.prepare(source, cache_folder=cache).notes == plain
        assert "reading_notes" in adata.uns


def with_types_of_x_alone(kinds):
    """Return cells with .raw, whose own var tells nothing of its 60 features."""
    adata = make_cells()
    adata.raw = adata.copy()
    adata.var["feature_types"] = kinds
    adata.var["symbol"] = [f"S{n}" for n in range(60)]
    return adata


def test_what_only_var_tells_of_features_holds_for_raw(cache):
    adata = with_types_of_x_alone(["Gene Expression"] * 55 + ["Peaks"] * 5)[:, ::-1].copy()
    prepared = datasets.prepare(adata, cache_folder=cache, layer="raw", gene_names="symbol")
    assert list(prepared.read().var_names) == [f"S{n}" for n in range(55)]
    assert "5 of 60 features are no genes (Peaks) and are left out" in prepared.notes


def test_a_wider_raw_is_all_genes_only_where_var_names_nothing_else(cache):
    adata = with_types_of_x_alone(["Gene Expression"] * 60)[:, 5:].copy()
    prepared = datasets.prepare(adata, cache_folder=cache, layer="raw", gene_names="symbol")
    assert list(prepared.read().var_names) == [f"gene{n}" if n < 5 else f"S{n}" for n in range(60)]
    assert "5 of 60 features have no type and are taken for genes" in prepared.notes
    adata.var["feature_types"] = ["Gene Expression"] * 50 + ["Antibody Capture"] * 5
    with pytest.raises(DatasetError, match=r"5 of 60 features of \.raw are not found in var .*gene0"):
        datasets.prepare(adata, cache_folder=cache, layer="raw")
    adata.raw.var["feature_types"] = ["Gene Expression"] * 55 + ["Antibody Capture"] * 5
    assert datasets.prepare(adata, cache_folder=cache, layer="raw").read().n_vars == 55


@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_names_that_come_again_keep_their_types_in_raw_by_place(cache):
    twins = [f"gene{n}" if n < 55 else f"gene{n - 55}" for n in range(60)]
    adata = make_cells()
    adata.var_names = twins
    adata.raw = adata.copy()
    adata.var["feature_types"] = ["Gene Expression"] * 55 + ["Antibody Capture"] * 5
    prepared = datasets.prepare(adata, cache_folder=cache, layer="raw")
    np.testing.assert_array_equal(
        prepared.read().layers["counts"].toarray(), make_cells().X.toarray()[:, :55]
    )
    assert "5 of 60 features are no genes (Antibody Capture) and are left out" in prepared.notes
    turned = adata[:, ::-1].copy()
    with pytest.raises(
        DatasetError, match=r"10 of 60 features of \.raw are not found in var by a unique name"
    ):
        datasets.prepare(turned, cache_folder=cache, layer="raw")
    # X itself says all.
    assert datasets.prepare(turned, cache_folder=cache).read().n_vars == 55


def test_a_packed_h5ad_says_how_to_unpack_it(tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    packed = tmp_path / "cells.h5ad.gz"
    packed.write_bytes(gzip.compress((tmp_path / "cells.h5ad").read_bytes()))
    with pytest.raises(DatasetError, match="is packed: unpack it with gunzip"):
        read_cells(packed)


def test_mudata_names_its_modalities(tmp_path):
    with h5py.File(tmp_path / "cite.h5mu", "w", userblock_size=512) as file:
        file.attrs["encoding-type"] = "MuData"
        for part in ("obs", "var", "mod/rna", "mod/prot"):
            file.create_group(part)
    words = (
        r"cite\.h5mu is MuData .* prot and rna.*read_h5mu\('cite\.h5mu'\)\['rna'\]\.write_h5ad\('rna\.h5ad'\)"
    )
    with pytest.raises(DatasetError, match=words):
        read_cells(tmp_path / "cite.h5mu")
