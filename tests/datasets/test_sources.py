import errno
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import datasets
from datasets import DatasetError, Declaration, SourceFile
from datasets.declaration import registered_names
from datasets.sources import BRAIN_SMALL, NEUROCOVID, PBMC68K
from tests.datasets.dataset_files import (
    files_below,
    make_cells,
    write_10x_v2,
    write_archive,
    write_mtx_folder,
)


def write_pbmc68k(path, adata):
    """Pack cells as the download of 68K PBMC does."""
    folder = write_mtx_folder(path.parent / "filtered_matrices_mex" / "hg19", adata, compressed=False)
    return write_archive(path, folder)


@pytest.fixture
def brain(server, tmp_path):
    """Brain Small as the server has it: 90 cells in the layout of the original file."""
    content = write_10x_v2(tmp_path / "served.h5", make_cells()).read_bytes()
    server.contents["/neuron20k.h5"] = content
    file = SourceFile("1M_neurons_neuron20k.h5", f"{server.address}/neuron20k.h5")
    return {"brain_small": replace(BRAIN_SMALL, files=(file,))}


def test_the_built_in_data_sets_come_through_the_entry_points():
    assert {"brain_small", "neurocovid", "pbmc68k", "pbmc68k_reduced"} <= set(registered_names())
    assert datasets.info("pbmc68k")["reference"] == "doi:10.1038/ncomms14049"
    with pytest.raises(DatasetError, match="unknown data set 'brain_smal': choose from brain_small"):
        datasets.fetch("brain_smal")


def test_brain_small_is_downloaded_checked_and_prepared(brain, server, cache):
    told = []
    prepared = datasets.prepare(
        "brain_small", registry=brain, cache_folder=cache, progress=lambda *what: told.append(what)
    )
    adata, raw = prepared.read(), make_cells()
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), raw.X.toarray())
    assert list(adata.var_names) == list(raw.var_names)
    assert adata.uns["bench"]["labels"] == "cluster"
    assert list(adata.obs["cell_type"]) == list(adata.obs["cluster"])
    assert adata.uns["bench"]["source"] == f"{server.address}/neuron20k.h5"
    size = len(server.contents["/neuron20k.h5"])
    assert ("downloading neuron20k.h5", size, size) in told
    assert "brain_small has 60 genes after preprocessing, where 17970 are expected" in prepared.notes
    assert any("no checksum is pinned; the one recorded" in note for note in prepared.notes)
    assert any(
        "2000 test cells are meant for a larger data set: 20% of 90" in note for note in prepared.notes
    )
    datasets.prepare("brain_small", registry=brain, cache_folder=cache, split_seed=1)
    assert len(server.ranges) == 1


def test_pbmc68k_takes_its_types_from_the_table_by_barcode(server, cache, tmp_path):
    raw = make_cells()
    rows = [f"0\t0\t{name}\t{label}" for name, label in zip(raw.obs_names, raw.obs["cell_type"], strict=True)]
    server.contents["/a.tsv"] = "\n".join(["TSNE.1\tTSNE.2\tbarcodes\tcelltype", *reversed(rows)]).encode()
    server.contents["/m.tar.gz"] = write_pbmc68k(tmp_path / "m.tar.gz", raw).read_bytes()
    files = tuple(
        replace(file, address=f"{server.address}/{name}", sha256=None)
        for file, name in zip(PBMC68K.files, ("m.tar.gz", "a.tsv"), strict=True)
    )
    prepared = datasets.prepare(
        "pbmc68k", registry={"pbmc68k": replace(PBMC68K, files=files)}, cache_folder=cache
    )
    adata = prepared.read()
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), raw.X.toarray())
    assert list(adata.obs["cell_type"]) == list(raw.obs["cell_type"])
    # Stratified by clusters, as the paper's split is.
    assert adata.obs["cluster"].cat.categories.tolist() == ["0", "1", "2"]
    assert adata.uns["bench"]["clusters"] == "Leiden at resolution 0.15 on exact neighbours, seed 0"
    half = [files[0], replace(files[1], address=f"{server.address}/half.tsv", name="half.tsv")]
    server.contents["/half.tsv"] = server.contents["/a.tsv"].rpartition(b"\n")[0]
    with pytest.raises(DatasetError, match=r"half\.tsv names no type for 1 of 90 cells.*to start clean"):
        datasets.prepare("pbmc68k", registry={"pbmc68k": replace(PBMC68K, files=half)}, cache_folder=cache)
    assert "pbmc68k has 3 types after preprocessing, where 11 are expected" in prepared.notes
    assert adata.uns["bench"]["rare_type_markers"] == ["CCL5", "NKG7", "GZMA", "CST7", "CTSW"]
    assert not any(name.startswith(".") for name in files_below(cache))


def test_a_connection_that_breaks_is_taken_up_where_it_stopped(brain, server, cache):
    server.break_after, server.breaks = 5000, 2
    (file,) = datasets.fetch("brain_small", registry=brain, cache_folder=cache)
    assert server.ranges == [None, "bytes=5000-", "bytes=10000-"]
    assert file.path.read_bytes() == server.contents["/neuron20k.h5"]
    assert files_below(cache) == ["1M_neurons_neuron20k.h5", "1M_neurons_neuron20k.h5.json"]


def test_an_interrupted_download_goes_on_in_the_next_call(brain, server, cache):
    def interrupt(what, done, total):
        raise KeyboardInterrupt

    server.break_after, server.breaks = 5000, 1
    with pytest.raises(KeyboardInterrupt):
        datasets.fetch("brain_small", registry=brain, cache_folder=cache, progress=interrupt)
    (file,) = datasets.fetch("brain_small", registry=brain, cache_folder=cache)
    assert server.ranges == [None, "bytes=5000-"]
    assert file.path.read_bytes() == server.contents["/neuron20k.h5"]


def test_two_versions_of_a_file_are_never_joined(brain, server, cache, tmp_path):
    def interrupt(what, done, total):
        raise KeyboardInterrupt

    server.break_after, server.breaks = 5000, 1
    with pytest.raises(KeyboardInterrupt):
        datasets.fetch("brain_small", registry=brain, cache_folder=cache, progress=interrupt)
    other = write_10x_v2(tmp_path / "other.h5", make_cells(seed=1)).read_bytes()
    server.version, server.contents["/neuron20k.h5"] = '"2"', other
    (file,) = datasets.fetch("brain_small", registry=brain, cache_folder=cache)
    assert file.path.read_bytes() == other


@pytest.mark.parametrize("name", ["1M_neurons_neuron20k.h5", "cells.tar.gz", "types.tsv"])
def test_a_login_page_is_rejected_and_the_next_call_starts_clean(name, server, cache, tmp_path):
    good = {
        "1M_neurons_neuron20k.h5": write_10x_v2(tmp_path / "a.h5", make_cells()).read_bytes(),
        "cells.tar.gz": write_pbmc68k(tmp_path / "a.tar.gz", make_cells()).read_bytes(),
        "types.tsv": b"barcodes\tcelltype\nACGT-1\tB\n",
    }[name]
    registry = {
        "mine": replace(BRAIN_SMALL, name="mine", files=(SourceFile(name, f"{server.address}/file"),))
    }
    server.contents["/file"] = b"<html>\n<body>Please log in</body>\n</html>\n"
    words = f"mine: http://.*/file sent something else than {name}.*bench data add mine FILE"
    with pytest.raises(DatasetError, match=words) as caught:
        datasets.fetch("mine", registry=registry, cache_folder=cache)
    assert "\n" not in str(caught.value)
    assert files_below(cache) == []
    server.contents["/file"] = good
    (file,) = datasets.fetch("mine", registry=registry, cache_folder=cache)
    assert file.path.read_bytes() == good


@pytest.mark.parametrize("lost", [5, 1000])
@pytest.mark.parametrize("name", ["cells.h5", "cells.tar.gz"])
def test_a_body_of_unknown_length_that_breaks_off_is_rejected(name, lost, server, cache, tmp_path):
    write = write_10x_v2 if name == "cells.h5" else write_pbmc68k
    content = write(tmp_path / name, make_cells()).read_bytes()
    server.contents["/file"], server.tells_length = content, False
    server.break_after, server.breaks = len(content) - lost, 1
    registry = {
        "mine": replace(BRAIN_SMALL, name="mine", files=(SourceFile(name, f"{server.address}/file"),))
    }
    with pytest.raises(DatasetError, match="or half of it"):
        datasets.fetch("mine", registry=registry, cache_folder=cache)
    assert files_below(cache) == []
    (file,) = datasets.fetch("mine", registry=registry, cache_folder=cache)
    assert file.path.read_bytes() == content


def test_what_was_handed_over_binds_no_download(brain, server, cache, tmp_path):
    mine = write_10x_v2(tmp_path / "mine.h5", make_cells(seed=1))
    datasets.add("brain_small", mine, registry=brain, cache_folder=cache).path.unlink()
    (file,) = datasets.fetch("brain_small", registry=brain, cache_folder=cache)
    assert file.path.read_bytes() == server.contents["/neuron20k.h5"]
    assert file.origin == f"{server.address}/neuron20k.h5"


def test_a_download_that_only_the_reader_refuses_can_be_cleaned_up_as_told(brain, server, cache, tmp_path):
    good = server.contents["/neuron20k.h5"]
    damaged = write_10x_v2(tmp_path / "damaged.h5", make_cells())
    with h5py.File(damaged, "a") as file:
        file["mm10/indices"][-1] = 10**9
    server.contents["/neuron20k.h5"] = damaged.read_bytes()
    with pytest.raises(DatasetError, match="to start clean, delete ") as caught:
        datasets.prepare("brain_small", registry=brain, cache_folder=cache)
    server.contents["/neuron20k.h5"] = good
    for path in str(caught.value).rpartition("delete ")[2].split():
        Path(path).unlink()
    assert files_below(cache) == []
    assert datasets.prepare("brain_small", registry=brain, cache_folder=cache).read().shape == (90, 60)


def test_a_foreign_file_put_into_the_cache_by_hand_is_not_recorded(brain, cache):
    path = cache / "sources" / "brain_small" / "1M_neurons_neuron20k.h5"
    path.parent.mkdir(parents=True)
    path.write_text("no cells here")
    with pytest.raises(DatasetError, match="none of the formats"):
        datasets.fetch("brain_small", registry=brain, cache_folder=cache)
    assert files_below(cache) == [path.name]


def test_a_pinned_checksum_that_does_not_match_leaves_nothing(brain, cache):
    (file,) = brain["brain_small"].files
    pinned = {"brain_small": replace(BRAIN_SMALL, files=(replace(file, sha256="0" * 64),))}
    with pytest.raises(
        DatasetError, match=r"checksum of http://.* not the 0+ pinned.*bench data add brain_small"
    ):
        datasets.prepare("brain_small", registry=pinned, cache_folder=cache)
    assert files_below(cache) == []


def test_a_recorded_checksum_is_enforced(brain, server, cache):
    (file,) = datasets.fetch("brain_small", registry=brain, cache_folder=cache)
    assert file.sha256 == hashlib.sha256(server.contents["/neuron20k.h5"]).hexdigest()
    file.path.write_bytes(b"changed on disk")
    words = f"recorded when it came: delete it and {re.escape(str(file.record))}, and fetch"
    with pytest.raises(DatasetError, match=words):
        datasets.fetch("brain_small", registry=brain, cache_folder=cache)
    file.path.unlink()
    server.contents["/neuron20k.h5"] += b"changed at the source"
    words = f"at the first download: delete {re.escape(str(file.record))} to take the new one"
    with pytest.raises(DatasetError, match=words):
        datasets.fetch("brain_small", registry=brain, cache_folder=cache)
    assert files_below(cache) == [file.record.name]
    file.record.write_text('{"sha256": ')
    with pytest.raises(DatasetError, match=f"{re.escape(str(file.record))} is damaged: delete it"):
        datasets.info("brain_small", registry=brain, cache_folder=cache)
    file.record.unlink()
    (again,) = datasets.fetch("brain_small", registry=brain, cache_folder=cache)
    assert again.path.read_bytes() == server.contents["/neuron20k.h5"]


def test_offline_the_error_names_address_cache_folder_and_command(brain, server, cache):
    (file,) = brain["brain_small"].files
    nobody = replace(file, address="http://127.0.0.1:9/neuron20k.h5")
    missing = replace(file, address=f"{server.address}/missing.h5")
    for unreachable, reason in ((nobody, "refused"), (missing, "404")):
        registry = {"brain_small": replace(BRAIN_SMALL, files=(unreachable,))}
        with pytest.raises(DatasetError) as caught:
            datasets.prepare("brain_small", registry=registry, cache_folder=cache)
        message = str(caught.value)
        for part in (
            unreachable.address,
            str(cache),
            "bench data add brain_small FILE",
            "zenodo.5842658",
            reason,
        ):
            assert part in message
        assert "\n" not in message
        assert files_below(cache) == []


def test_a_full_disk_during_download_leaves_nothing(brain, cache, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(DatasetError, match=r"disk of the cache folder .* is full: .*BENCH_CACHE"):
        datasets.fetch("brain_small", registry=brain, cache_folder=cache)
    assert files_below(cache) == []


def test_a_file_handed_over_stands_in_for_the_download(server, cache, tmp_path):
    mine = write_10x_v2(tmp_path / "my_copy.h5", make_cells())
    taken = datasets.add("brain_small", mine, cache_folder=cache)
    assert taken.path.read_bytes() == mine.read_bytes()
    assert taken.note.startswith(
        "my_copy.h5 does not look like brain_small: it has 90 cells, not about 20000 and 60 genes, not about "
        "17970; 1M_neurons_neuron20k.h5: no checksum is pinned"
    )
    assert "brain_small has 90 cells after preprocessing, where 20000 are expected" in taken.note
    prepared = datasets.prepare("brain_small", cache_folder=cache)
    assert prepared.read().shape == (90, 60)
    assert prepared.read().uns["bench"]["source"] == "handed over: my_copy.h5"
    (told,) = datasets.info("brain_small", cache_folder=cache)["files"]
    assert told["path"] == str(taken.path)
    assert told["checksum"] == "recorded"
    assert datasets.info("brain_small", cache_folder=cache)["prepared"] == [str(prepared.path)]


def test_a_handed_over_file_that_is_not_the_published_one_is_noted(cache, tmp_path):
    taken = datasets.add(
        "pbmc68k", write_pbmc68k(tmp_path / "other_name.tar.gz", make_cells()), cache_folder=cache
    )
    assert taken.path.name == PBMC68K.files[0].name
    assert "not that of the published file" in taken.note


def test_what_cannot_be_handed_over_is_told(cache, tmp_path):
    foreign = tmp_path / "foreign.h5"
    foreign.write_text("no cells here")
    no_table = tmp_path / "68k_pbmc_barcodes_annotation.tsv"
    no_table.write_text("<html>\nPlease log in\n</html>\n")
    unfit = tmp_path / "cells.csv"
    unfit.write_text("a,b")
    for name, path, words in (
        ("brain_small", foreign, "none of the formats"),
        ("brain_small", tmp_path / "missing.h5", "is not a file"),
        ("pbmc68k", no_table, "not a tab-separated table with a header"),
        ("pbmc68k", unfit, "name it like one of fresh_68k"),
        ("pbmc68k_reduced", foreign, "takes no file"),
    ):
        with pytest.raises(DatasetError, match=words):
            datasets.add(name, path, cache_folder=cache)
    assert files_below(cache) == []


def test_neurocovid_asks_for_a_file_and_takes_one(cache, tmp_path):
    with pytest.raises(
        DatasetError, match=r"neurocovid: no direct address.*zenodo\.5842658.*bench data add neurocovid"
    ):
        datasets.prepare("neurocovid", cache_folder=cache)
    assert not cache.exists()
    make_cells().write_h5ad(tmp_path / "csf.h5ad")
    datasets.add("neurocovid", tmp_path / "csf.h5ad", cache_folder=cache)
    prepared = datasets.prepare("neurocovid", cache_folder=cache, label_key="cell_type")
    assert "neurocovid has 3 types after preprocessing, where 16 are expected" in prepared.notes


def test_a_declaration_of_somebody_else_needs_few_words(server, cache, tmp_path):
    make_cells().write_h5ad(tmp_path / "served.h5ad")
    server.contents["/mine.h5ad"] = (tmp_path / "served.h5ad").read_bytes()
    mine = Declaration(
        name="mine",
        description="my cells",
        reference="doi:10.1000/1",
        files=(SourceFile("mine.h5ad", f"{server.address}/mine.h5ad"),),
        label_key="cell_type",
    )
    adata = datasets.prepare("mine", registry={"mine": mine}, cache_folder=cache).read()
    assert adata.obs["cell_type"].value_counts().to_dict() == {"type 0": 30, "type 1": 30, "type 2": 30}
    assert (adata.obs["split"] == "test").sum() == 9


def test_info_is_json(cache):
    for source in ("brain_small", "neurocovid", "synthetic:300x60x2", make_cells()):
        json.dumps(datasets.info(source, cache_folder=cache))
    assert datasets.info("synthetic:300x60x2", cache_folder=cache)["cells"] == 300
    assert datasets.info(make_cells(), cache_folder=cache)["columns"] == ["cell_type", "donor"]
    assert NEUROCOVID.files[0].address is None
