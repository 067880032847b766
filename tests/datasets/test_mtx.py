"""Matrix Market files as Cell Ranger, R, kallisto, STARsolo and GEO leave them behind."""

import gzip
import io
import tarfile

import numpy as np
import pytest
from scipy import io as scipy_io
from scipy import sparse

import datasets
from datasets import DatasetError
from datasets.mtx import read_mtx
from datasets.readers import files_of, read_cells
from tests.datasets.dataset_files import make_cells, write_archive, write_mtx_folder

pytestmark = pytest.mark.slow

GENES = [f"gene{number}" for number in range(60)]
CELLS = [f"cell{number}-1" for number in range(90)]
GENE_ROWS = [f"ENS{number}\t{name}\tGene Expression" for number, name in enumerate(GENES)]


def write(
    folder, *, genes=GENE_ROWS, barcodes=CELLS, transposed=False, names=None, packed=False, field="integer"
):
    """Write three files; `names` are those of matrix, genes and barcodes."""
    folder.mkdir(parents=True, exist_ok=True)
    matrix = make_cells().X.astype(np.int64)
    buffer = io.BytesIO()
    scipy_io.mmwrite(buffer, sparse.coo_matrix(matrix if transposed else matrix.T), field=field)
    contents = (buffer.getvalue(), "\n".join(genes).encode() + b"\n", "\n".join(barcodes).encode() + b"\n")
    for name, content in zip(names or ("matrix.mtx", "genes.tsv", "barcodes.tsv"), contents, strict=True):
        name = f"{name}.gz" if packed else name
        (folder / name).write_bytes(gzip.compress(content) if packed else content)
    return folder


def assert_the_cells(read, *, genes=GENES, cells=CELLS):
    np.testing.assert_array_equal(read.X.toarray(), make_cells().X.toarray())
    assert list(read.var_names) == genes
    assert list(read.obs_names) == cells


LAYOUTS = {
    "one column": {"genes": GENES},
    "two columns": {"genes": [f"ENS{name}\t{name}" for name in GENES]},
    "Windows lines": {"genes": [f"{row}\r" for row in GENE_ROWS], "barcodes": [f"{c}\r" for c in CELLS]},
    "byte-order mark": {"genes": ["\ufeffENS0\tgene0", *GENE_ROWS[1:]]},
    "header of genes": {"genes": ["gene_id\tgene_name\tfeature_type", *GENE_ROWS]},
    "header of one column": {"genes": ["x", *GENES]},
    "header of barcodes": {"barcodes": ["barcode", *CELLS]},
    "headers of both": {"genes": ["genes", *GENES], "barcodes": ["cells", *CELLS]},
    "names before ids": {"genes": ["gene_symbol\tgene_id", *(f"{g}\tE{g}" for g in GENES)]},
    "commas": {"genes": [f"ENS{name},{name}" for name in GENES]},
    "write.csv": {
        "genes": ['"","x"', *(f'"{n + 1}","{name}"' for n, name in enumerate(GENES))],
        "barcodes": ['"","x"', *(f'"{n + 1}","{name}"' for n, name in enumerate(CELLS))],
        "names": ("matrix.mtx", "genes.csv", "barcodes.csv"),
    },
    "write.table": {
        "genes": ['"x"', *(f'"{n + 1}"\t"{name}"' for n, name in enumerate(GENES))],
        "barcodes": ['"x"', *(f'"{n + 1}"\t"{name}"' for n, name in enumerate(CELLS))],
    },
    "numbered from 0": {"genes": [f"{n}\t{name}" for n, name in enumerate(GENES)]},
    "barcodes with more columns": {
        "barcodes": ["orig.ident\tbarcode", *(f"donor{n % 3}\t{name}" for n, name in enumerate(CELLS))]
    },
    "names that are missing": {
        "genes": [f"gene{n}\t{'' if n == 7 else f'gene{n}'}" for n in range(60)],
    },
    "regions": {"genes": [f"{row}\tchr1\t{n}\t{n + 9}" for n, row in enumerate(GENE_ROWS)]},
    "cells × genes": {"transposed": True},
    "kallisto": {
        "transposed": True,
        "genes": GENES,
        "names": ("cells_x_genes.mtx", "cells_x_genes.genes.txt", "cells_x_genes.barcodes.txt"),
    },
    "cells × genes, headers": {
        "transposed": True,
        "genes": ["id\tname", *(f"E{g}\t{g}" for g in GENES)],
        "barcodes": ["barcodes", *CELLS],
    },
    "GEO": {"names": ("GSM1_a_matrix.mtx", "GSM1_a_features.tsv", "GSM1_a_barcodes.tsv")},
    "GEO with dots": {"names": ("GSM1_a.matrix.mtx", "GSM1_a.genes.tsv", "GSM1_a.barcodes.tsv")},
    "three names": {"names": ("GSE1_counts.mtx", "GSE1_genes.tsv", "GSE1_all_barcodes.tsv")},
    "names of what is held": {
        "names": ("GSE1_raw_counts_matrix.mtx", "GSE1_gene_features.tsv", "GSE1_cell_barcodes.tsv")
    },
    "a matrix of any name": {"names": ("DGE.mtx", "s1_genes.tsv", "s1_barcodes.tsv")},
    "real numbers": {"field": "real"},
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sound_files_are_read_in_any_layout(layout, packed, tmp_path):
    folder = write(tmp_path / "mtx", **LAYOUTS[layout], packed=packed)
    assert_the_cells(read_cells(folder))
    assert len(files_of(folder)) == 3
    (matrix,) = (path for path in folder.iterdir() if ".mtx" in path.name)
    assert_the_cells(read_cells(matrix))
    assert_the_cells(read_cells(write_archive(tmp_path / "cells.tar.gz", folder)))


def test_what_is_told_of_the_reading(cache, tmp_path):
    one = write(tmp_path / "one", genes=GENES)
    assert (
        "genes.tsv has one column, which gives the names of the genes"
        in datasets.prepare(one, cache_folder=cache).notes
    )
    turned = write(tmp_path / "turned", transposed=True)
    assert "matrix.mtx is cells × genes, and is read so" in datasets.prepare(turned, cache_folder=cache).notes
    usual = datasets.prepare(write(tmp_path / "usual"), cache_folder=cache)
    assert not any(".mtx" in note or ".tsv" in note for note in usual.notes)


def test_a_square_matrix_is_genes_by_cells(tmp_path):
    square = make_cells(n_cells=60)
    assert square.shape == (60, 60)
    read = read_cells(write_mtx_folder(tmp_path / "mtx", square, compressed=True))
    np.testing.assert_array_equal(read.X.toarray(), square.X.toarray())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"genes": GENE_ROWS[:-1]},
            r"the matrix is 60 × 90, but genes\.tsv has 59 rows and barcodes\.tsv 90",
        ),
        ({"barcodes": [*CELLS, "a", "b"]}, r"genes\.tsv has 60 rows and barcodes\.tsv 92: give the files"),
        ({"genes": [*GENE_ROWS[:-1], "ENS59"]}, r"row 60 of genes\.tsv has no column 2"),
    ],
)
def test_lists_that_do_not_fit_are_told(change, words, tmp_path):
    with pytest.raises(DatasetError, match=words) as caught:
        read_cells(write(tmp_path / "mtx", **change))
    assert "\n" not in str(caught.value)


def test_several_sets_in_one_folder_are_named_and_one_can_be_given(cache, tmp_path):
    for sample in ("GSM1_a", "GSM2_b"):
        names = tuple(f"{sample}_{part}" for part in ("matrix.mtx", "features.tsv", "barcodes.tsv"))
        write(tmp_path / "geo", names=names, packed=True)
    with pytest.raises(DatasetError, match=r"2 matrices \(geo/GSM1_a, geo/GSM2_b\): give one of their \.mtx"):
        read_cells(tmp_path / "geo")
    one = tmp_path / "geo" / "GSM2_b_matrix.mtx.gz"
    assert_the_cells(read_cells(one))
    assert [path.name for path in files_of(one)] == [
        f"GSM2_b_{part}.gz" for part in ("barcodes.tsv", "features.tsv", "matrix.mtx")
    ]
    assert datasets.prepare(one, cache_folder=cache).read().shape == (90, 60)
    with tarfile.open(tmp_path / "GSE1_RAW.tar", "w") as archive:
        archive.add(tmp_path / "geo", arcname=".")
    with pytest.raises(DatasetError, match=r"2 matrices \(GSM1_a, GSM2_b\): unpack it"):
        read_cells(tmp_path / "GSE1_RAW.tar")


def test_genomes_in_folders_of_their_own_are_chosen_by_name(cache, tmp_path):
    write(tmp_path / "filtered" / "hg19")
    assert_the_cells(read_cells(tmp_path / "filtered"))
    write(tmp_path / "filtered" / "mm10", barcodes=[f"mouse{n}" for n in range(90)])
    with pytest.raises(DatasetError, match=r"holds 2 matrices \(hg19, mm10\).*--genome"):
        read_cells(tmp_path / "filtered")
    prepared = datasets.prepare(tmp_path / "filtered", cache_folder=cache, genome="mm10")
    assert prepared.read().obs_names[0] == "mouse0"
    archive = write_archive(tmp_path / "cells.tar.gz", tmp_path / "filtered" / "hg19")
    assert read_cells(archive, genome="mm10").obs_names[0] == "mouse0"


@pytest.mark.parametrize(
    ("part", "words"),
    [("barcodes.tsv", r"without barcodes\.tsv"), ("genes.tsv", r"without genes\.tsv or features\.tsv")],
)
def test_a_missing_list_is_named(part, words, tmp_path):
    folder = write(tmp_path / "mtx")
    (folder / part).unlink()
    for path in (folder, folder / "matrix.mtx"):
        with pytest.raises(DatasetError, match=words):
            read_cells(path)


def test_more_matrices_beside_a_whole_set_are_left_alone(tmp_path):
    """STARsolo writes UniqueAndMult-EM.mtx beside matrix.mtx."""
    folder = write(tmp_path / "mtx")
    (folder / "UniqueAndMult-EM.mtx").write_text("%%MatrixMarket matrix coordinate real general\n1 1 0\n")
    assert_the_cells(read_cells(folder))


MIXED = ["Gene Expression"] * 50 + ["Antibody Capture"] * 10


@pytest.mark.parametrize(
    ("rows", "with_ids"),
    [
        ([f"{g}\t{kind}" for g, kind in zip(GENES, MIXED, strict=True)], False),
        (["gene\ttype", *(f"{g}\t{kind}" for g, kind in zip(GENES, MIXED, strict=True))], False),
        ([f"{kind}\t{g}" for g, kind in zip(GENES, MIXED, strict=True)], False),
        ([f"E{g}\t{g}\t1\t{kind}" for g, kind in zip(GENES, MIXED, strict=True)], True),
        ([f"{kind}\tE{g}\t{g}" for g, kind in zip(GENES, MIXED, strict=True)], True),
        (["gene_id\tgene_name\tchr\tfeature_type", *(f"E{g}\t{g}\t1\tx" for g in GENES)], True),
    ],
)
def test_types_are_found_wherever_they_stand(rows, with_ids, tmp_path):
    notes = []
    read = read_mtx(write(tmp_path / "mtx", genes=rows), genome=None, notes=notes)
    assert_the_cells(read)
    assert list(read.var["feature_types"]) == (["x"] * 60 if rows[0].endswith("feature_type") else MIXED)
    assert list(read.var.get("gene_ids", [])) == ([f"E{g}" for g in GENES] if with_ids else [])
    one = "genes.tsv has one column beside that of the types, which gives the names of the genes"
    assert notes == ([] if with_ids else [one])


def test_antibodies_of_a_list_of_names_and_types_are_left_out(cache, tmp_path):
    rows = [f"{g}\t{kind}" for g, kind in zip(GENES, MIXED, strict=True)]
    prepared = datasets.prepare(write(tmp_path / "mtx", genes=rows), cache_folder=cache)
    assert list(prepared.read().var_names) == GENES[:50]
    assert "10 of 60 features are no genes (Antibody Capture) and are left out" in prepared.notes


def test_types_that_stay_are_told_once(cache, tmp_path):
    kinds = ["Transcriptome"] * 40 + [""] * 10 + ["Antibody Capture"] * 10
    rows = [f"E{g}\t{g}\t{kind}" for g, kind in zip(GENES, kinds, strict=True)]
    prepared = datasets.prepare(write(tmp_path / "mtx", genes=rows), cache_folder=cache)
    assert [note for note in prepared.notes if "features" in note] == [
        "10 of 60 features are no genes (Antibody Capture) and are left out",
        "10 of 60 features have no type and are taken for genes",
        "40 of 60 features are of a type that is not known (Transcriptome) and are taken for genes",
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("s1.matrix.mtx", "s2.features.tsv", "s1.barcodes.tsv"), "the prefixes 's1' and 's2'"),
        (("s1_matrix.mtx", "s1_features.tsv", "s2_barcodes.tsv"), "the prefixes 's1' and 's2'"),
        (("GSM1_s1_matrix.mtx", "GSM1_s2_genes.tsv", "barcodes.tsv"), "'GSM1_s1' and 'GSM1_s2'"),
        (("liver_matrix.mtx", "lung_genes.tsv", "lung_barcodes.tsv"), "'liver' and 'lung'"),
        (("s1.mtx", "s2_genes.tsv", "s2_barcodes.tsv"), "the prefixes 's1' and 's2'"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_files_of_different_samples_are_not_read_together(names, words, packed, tmp_path):
    folder = write(tmp_path / "mtx", names=names, packed=packed)
    (matrix,) = folder.glob("*.mtx*")
    for path in (folder, write_archive(tmp_path / "cells.tar.gz", folder)):
        with pytest.raises(DatasetError, match=words) as caught:
            read_cells(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError, match=f"{words}|without"):
        read_cells(matrix)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("prefix", ["", "GSM1_"])
def test_one_of_several_matrices_takes_the_lists_beside_it(packed, prefix, tmp_path):
    names = tuple(f"{prefix}{name}" for name in ("spliced.mtx", "features.tsv", "barcodes.tsv"))
    folder = write(tmp_path / "mtx", names=names, packed=packed)
    end = ".gz" if packed else ""
    spliced = folder / f"{names[0]}{end}"
    other = folder / f"{prefix}unspliced.mtx{end}"
    other.write_bytes(spliced.read_bytes())
    (folder / f"other_features.tsv{end}").write_bytes(spliced.read_bytes())
    with pytest.raises(DatasetError, match=r"holds 2 matrices .*give one of their \.mtx files"):
        read_cells(folder)
    for path in (spliced, other):
        assert_the_cells(read_cells(path))
        assert [file.name for file in files_of(path)] == sorted(
            [path.name, *(f"{name}{end}" for name in names[1:])]
        )


def test_a_matrix_beside_a_whole_set_takes_its_lists(tmp_path):
    folder = write(tmp_path / "mtx")
    (folder / "UniqueAndMult-EM.mtx").write_bytes((folder / "matrix.mtx").read_bytes())
    assert_the_cells(read_cells(folder / "UniqueAndMult-EM.mtx"))


@pytest.mark.parametrize(
    ("name", "turned", "told"),
    [
        ("matrix.mtx", False, ["matrix.mtx has as many rows as columns, and is read as genes × cells"]),
        ("genes_x_cells.mtx", False, []),
        ("cells_x_genes.mtx", True, ["cells_x_genes.mtx is cells × genes, and is read so"]),
    ],
)
def test_a_square_matrix_tells_how_it_is_read(name, turned, told, tmp_path):
    square = make_cells(n_cells=60)
    folder = write_mtx_folder(tmp_path / "mtx", square, compressed=False)
    matrix = square.X if turned else square.X.T
    (folder / "matrix.mtx").unlink()
    scipy_io.mmwrite(folder / name, sparse.coo_matrix(matrix.astype(np.int64)))
    read = read_cells(folder)
    np.testing.assert_array_equal(read.X.toarray(), square.X.toarray())
    assert list(read.uns["reading_notes"]) == told
