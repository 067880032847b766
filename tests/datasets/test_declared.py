"""Which prepared cells say that they are of a declared source: by content, never by a name."""

from dataclasses import replace

import pytest

import datasets
from datasets import SourceFile, sources
from tests.datasets.dataset_files import make_cells, write_10x_v2


def declared(source, **options):
    return datasets.prepare(source, **options).read().uns["bench"]["declared"]


@pytest.fixture
def served(server, tmp_path, monkeypatch):
    """Brain Small as the project declares it, but for its address."""
    content = write_10x_v2(tmp_path / "served.h5", make_cells()).read_bytes()
    server.contents["/neuron20k.h5"] = content
    file = SourceFile("1M_neurons_neuron20k.h5", f"{server.address}/neuron20k.h5")
    ours = replace(sources.BRAIN_SMALL, files=(file,))
    monkeypatch.setattr(sources, "BRAIN_SMALL", ours)
    return ours


def test_what_comes_from_the_declared_address_is_the_declared_source(served, cache):
    assert declared("brain_small", registry={"brain_small": served}, cache_folder=cache) == "brain_small"
    # Also by another split: it is the same source.
    options = {"registry": {"brain_small": served}, "cache_folder": cache}
    assert declared("brain_small", split_seed=1, **options) == "brain_small"


def test_what_a_package_holds_is_the_declared_source(cache):
    assert declared("pbmc68k_reduced", cache_folder=cache) == "pbmc68k_reduced"


def test_a_file_of_that_name_is_not(cache, tmp_path):
    make_cells().write_h5ad(tmp_path / "brain_small.h5ad")
    prepared = datasets.prepare(tmp_path / "brain_small.h5ad", cache_folder=cache)
    assert prepared.name == "brain_small"
    assert prepared.read().uns["bench"]["declared"] is None


def test_a_file_handed_over_is_not_unless_its_checksum_is_the_pinned_one(served, cache, tmp_path):
    mine = write_10x_v2(tmp_path / "mine.h5", make_cells())
    taken = datasets.add("brain_small", mine, registry={"brain_small": served}, cache_folder=cache)
    assert declared("brain_small", registry={"brain_small": served}, cache_folder=cache) is None
    (file,) = served.files
    pinned = replace(served, files=(replace(file, sha256=taken.sha256),))
    assert declared("brain_small", registry={"brain_small": pinned}, cache_folder=cache) is None


def test_a_pinned_checksum_is_enough(served, cache, tmp_path, monkeypatch):
    mine = write_10x_v2(tmp_path / "mine.h5", make_cells())
    registry = {"brain_small": served}
    taken = datasets.add("brain_small", mine, registry=registry, cache_folder=cache)
    pinned = replace(served, files=(replace(served.files[0], sha256=taken.sha256),))
    monkeypatch.setattr(sources, "BRAIN_SMALL", pinned)
    assert declared("brain_small", registry={"brain_small": pinned}, cache_folder=cache) == "brain_small"


def test_a_declaration_of_somebody_else_is_not_whatever_its_name(served, cache):
    theirs = replace(served, description="mine")
    assert declared("brain_small", registry={"brain_small": theirs}, cache_folder=cache) is None
