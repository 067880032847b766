from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from types import FunctionType, MappingProxyType

import datasets
from datasets import Declaration
from datasets.assemble import Parameters
from datasets.pipeline import _key
from datasets.readers import read_cells
from datasets.resolve import Resolved
from tests.datasets.dataset_files import make_cells


def test_the_key_follows_source_parameters_and_code(cache, tmp_path, monkeypatch):
    raw = make_cells()
    other = make_cells(seed=1)
    regrouped = make_cells()
    regrouped.obs["cell_type"] = raw.obs["donor"].to_numpy()
    keys = {
        datasets.prepare(source, cache_folder=cache, **options).key
        for source, options in (
            (raw, {}),
            (raw, {"split_seed": 1}),
            (raw, {"split_by": "donor"}),
            (raw, {"label_key": "donor"}),
            (raw, {"validation_share": 0.1}),
            (other, {}),
            (regrouped, {}),
        )
    }
    assert len(keys) == 7
    assert datasets.prepare(make_cells(), cache_folder=cache).key in keys


def test_the_key_follows_a_third_partys_reader(cache, tmp_path, monkeypatch):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    code = """
from datasets import Declaration, SourceFile
from datasets.readers import read_cells

def read(paths):
    return read_cells(paths[0])

MINE = Declaration(name="mine", description="", reference="", files=(SourceFile("cells.h5ad"),), read=read)
"""
    (tmp_path / "their_reader.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    import their_reader

    registry = {"mine": their_reader.MINE}
    datasets.add("mine", tmp_path / "cells.h5ad", registry=registry, cache_folder=cache)
    first = datasets.prepare("mine", registry=registry, cache_folder=cache)
    assert datasets.prepare("mine", registry=registry, cache_folder=cache).key == first.key
    (tmp_path / "their_reader.py").write_text(code.replace("def read", "# the first file\ndef read"))
    assert datasets.prepare("mine", registry=registry, cache_folder=cache).key == first.key
    (tmp_path / "their_reader.py").write_text(code.replace("paths[0])", "paths[0])[:60]"))
    assert datasets.prepare("mine", registry=registry, cache_folder=cache).key != first.key


def key_of(declaration, **changes):
    parameters = Parameters(None, None, 0, 0.0, declaration.test_size, "cell_type", **changes)
    return _key(Resolved(declaration, "", "0", lambda: None, lambda: None), parameters)


def read_some(paths, *, n_cells=90, thin=None):
    return read_cells(paths[0])[:n_cells].copy()


def test_the_key_follows_the_declaration():
    mine = Declaration(name="mine", description="", reference="")
    changes = (
        {},
        {"name": "yours"},
        {"stratify_by": "cluster"},
        {"rare_type_markers": ("gene1",)},
        {"expected": MappingProxyType({"cells": 91})},
        {"notes": ("cells of mine",)},
        {"test_size": 0.2},
        {"read": read_some},
        {"read": partial(read_some, n_cells=60)},
        {"read": partial(read_some, n_cells=80)},
        {"read": partial(read_some, thin=read_cells)},
    )
    keys = [key_of(replace(mine, **change)) for change in changes]
    assert len(set(keys)) == len(changes)
    # The address of a function in memory must not count: it differs from one process to the next.
    again = FunctionType(read_cells.__code__, read_cells.__globals__)
    assert key_of(replace(mine, read=partial(read_some, thin=again))) == keys[-1]


def test_the_key_follows_the_seed_of_the_clusters():
    mine = Declaration(name="mine", description="", reference="")
    assert key_of(mine, cluster_seed=0) == key_of(mine)
    assert key_of(mine, cluster_seed=1) != key_of(mine)


def test_the_key_of_a_partial_follows_the_files_of_its_functions(tmp_path, monkeypatch):
    code = "def read(paths, n):\n    return None\n"
    monkeypatch.syspath_prepend(tmp_path)
    keys = set()
    for name, bind in (
        ("their_a", lambda f: partial(f, n=1)),
        ("their_b", lambda f: partial(read_some, thin=f)),
    ):
        file = tmp_path / f"{name}.py"
        file.write_text(code)
        mine = Declaration(name="mine", description="", reference="", read=bind(import_module(name).read))
        keys.add(key_of(mine))
        assert key_of(mine) in keys
        file.write_text(code.replace("None", "n"))
        keys.add(key_of(mine))
    assert len(keys) == 4


def test_the_key_follows_the_versions_of_the_libraries(cache, monkeypatch):
    keys = {datasets.prepare(make_cells(), cache_folder=cache).key}
    for library in ("igraph", "pynndescent"):
        monkeypatch.setattr(
            "datasets.pipeline.version",
            lambda name, library=library: "9.9" if name == library else version(name),
        )
        changed = datasets.prepare(make_cells(), cache_folder=cache)
        keys.add(changed.key)
        assert changed.read().uns["bench"]["versions"][library] == "9.9"
    assert len(keys) == 3
