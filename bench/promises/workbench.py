"""A generator under test, with what the promises look at: cells, budget, samples."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.promises.findings import Broken
from bench.results.files import read_json
from bench.work.contract import BrokenContract, Contract, as_csr
from models.base import Budget, Generator, SilentMonitor

if TYPE_CHECKING:
    from anndata import AnnData

N_CELLS = 60
TRAINING_SEED, SAMPLE_SEED, OTHER_SEED = 11, 21, 22


class Listener(SilentMonitor):
    """A `Monitor` that remembers the shares of the budget that it was told."""

    def __init__(self) -> None:
        self.fractions: list[float] = []

    def advance(self, fraction: float, *, steps: int = 1) -> None:
        """Remember the share."""
        self.fractions.append(float(fraction))


@dataclass
class Workbench:
    """What one process knows of the generator under test.

    Attributes
    ----------
    generator_class, settings, device
        Class of the generator, its hyper-parameters, and the device on which it computes.
    folder
        Folder with ``cells.h5ad``, the prepared data set, and ``model``, the stored generator.
    imported
        Top-level modules that were imported together with the generator's own.
    beside
        Names of files and folders in the working folder before the test.
    seconds
        Seconds that ``prepare`` and ``fit`` took.
    digests
        Digests of the samples that another process draws again, by kind of sample.
    fitted, fractions
        The trained generator, and the shares of its budget that it reported.
    checksum
        Checksums of the training cells before any training.
    """

    generator_class: type[Generator]
    settings: dict[str, Any]
    device: str
    folder: Path
    imported: set[str] = field(default_factory=set)
    beside: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    fitted: Generator | None = None
    fractions: list[float] = field(default_factory=list)
    checksum: dict[str, int] = field(default_factory=dict)

    @cached_property
    def adata(self) -> AnnData:
        """The prepared data set."""
        import anndata

        return anndata.read_h5ad(self.folder / "cells.h5ad")

    @cached_property
    def train(self) -> AnnData:
        """The training cells."""
        return self.adata[self.adata.obs["split"] == "train"].copy()

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What is known of the training cells where their file is gone: ``genes`` and ``cell_types``."""
        return read_json(self.folder / "facts.json")

    @property
    def wanted_types(self) -> list[str]:
        """Types that are asked for: all of them in turn, backwards."""
        known = sorted(self.facts["cell_types"])
        return [known[number % len(known)] for number in range(N_CELLS // 2)][::-1]

    @property
    def generator(self) -> Generator:
        """The trained generator."""
        assert self.fitted is not None
        return self.fitted

    @property
    def budget(self) -> Budget:
        """What it is trained for here: what it declares for the profile ``smoke``."""
        return Budget.parse(self.generator_class.default_budgets.get("smoke", "1steps"))

    def trained(self, *, budget: Budget | None = None, train: AnnData | None = None) -> Generator:
        """Return a new generator, trained with the one training seed; how long it took is remembered.

        Parameters
        ----------
        budget
            Budget of the training; by default the property `budget`.
        train
            Training cells in another form; by default the property `train`.
        """
        train = self.train if train is None else train
        generator, monitor = self.generator_class(**self.settings), Listener()
        clock = [time.perf_counter()]
        generator.prepare(train)
        generator.synchronise()
        clock.append(time.perf_counter())
        wanted = budget or self.budget
        generator.fit(train, seed=TRAINING_SEED, device=self.device, budget=wanted, monitor=monitor)
        generator.synchronise()
        clock.append(time.perf_counter())
        self.seconds = {"prepare": clock[1] - clock[0], "fit": clock[2] - clock[1]}
        self.fractions = monitor.fractions
        return generator

    def draw(
        self,
        generator: Generator,
        n_cells: int = N_CELLS,
        *,
        seed: int = SAMPLE_SEED,
        cell_types: Sequence[str] | None = None,
    ) -> AnnData:
        """Return cells that keep the contract of `Generator.sample`.

        Raises
        ------
        Broken
            If they do not.
        """
        return self.held(generator.sample(n_cells, cell_types=cell_types, seed=seed), n_cells, cell_types)[0]

    def held(
        self, cells: Any, n_cells: int, cell_types: Sequence[str] | None = None
    ) -> tuple[AnnData, list[str]]:
        """Return cells that keep the contract, and what a run would note of them."""
        facts = self.facts
        contract = Contract(self.generator.space, tuple(facts["genes"]), frozenset(facts["cell_types"]))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found = contract.hold(cells, n_cells=n_cells, requested=cell_types)
            except BrokenContract as error:
                raise Broken(str(error)) from error
        return found, [str(warning.message) for warning in caught]


def digest(cells: AnnData) -> str:
    """Return a hash of cells: their values, genes and types, whatever form the matrix has."""
    matrix = as_csr(cells.X)
    words = [*cells.var_names.astype(str), *cells.obs.get("cell_type", ())]
    found = hashlib.sha256("\n".join(map(str, words)).encode())
    for part in (matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)):
        found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()


def names_here() -> set[str]:
    """Return the names of what lies in the working folder."""
    return {path.name for path in Path.cwd().iterdir()}


@dataclass(frozen=True)
class Promise:
    """A promise and how it is asked for.

    Attributes
    ----------
    words
        The promise in words, as in `bench.promises.findings.Finding.promise`.
    remedy
        What to do if the promise is broken.
    ask
        Function that tests the promise: it returns a remark or None, and raises `Broken` or `NotAsked`.
    needed
        Whether no later promise can be asked for if this one is broken.
    """

    words: str
    remedy: str
    ask: Callable[[Workbench], str | None]
    needed: bool = False
