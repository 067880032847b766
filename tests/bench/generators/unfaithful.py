"""Generators that each break one promise of `models.base.Generator`."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path
from typing import ClassVar

import numpy as np
from anndata import AnnData
from scipy.sparse import csr_matrix

from models.base import Generator, Unsupported
from models.streaming import in_memory, some_rows


class Faithful(Generator):
    """Poisson counts at each type's mean; keeps every promise."""

    name = "faithful"
    conditional = True
    licence, paper = "MIT", "none"
    default_budgets: ClassVar = {"smoke": "4steps", "quick": "4steps", "paper": "4steps"}
    streams = True

    def __init__(self, *, scale: float = 1.0):
        self.scale = scale

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        rng = self.generator_of(seed)
        counts, types = train.layers["counts"], train.obs["cell_type"].to_numpy(dtype=str)
        self.genes, self.types = np.asarray(train.var_names, dtype=np.str_), np.unique(types)
        rows = [np.flatnonzero(types == name) for name in self.types]
        means = [np.asarray(self.some_of(counts, found).mean(axis=0)).ravel() for found in rows]
        self.means = self.scale * np.array(means) * rng.uniform(0.9, 1.1, len(self.genes))
        for share in self.shares():
            monitor.advance(share)

    def some_of(self, counts, rows):
        return some_rows(counts, rows)

    def generator_of(self, seed):
        return np.random.default_rng(seed)

    def shares(self):
        return (0.25, 0.5, 0.75, 1.0)

    def sample(self, n_cells, *, cell_types=None, seed):
        rng = self.generator_of(seed)
        names = rng.choice(self.types, n_cells) if cell_types is None else np.asarray(cell_types, dtype=str)
        if unknown := set(names) - set(self.types):
            self.refuse(unknown)
        rows = np.searchsorted(self.types, names)
        cells = AnnData(csr_matrix(rng.poisson(self.means[rows]), dtype=np.float32))
        cells.var_names, cells.obs["cell_type"] = self.genes, names
        return cells

    def refuse(self, unknown):
        raise Unsupported(f"{self.name}: no cells of type {min(unknown)}")

    def save(self, folder):
        np.savez(folder / "model.npz", means=self.means, genes=self.genes, types=self.types)

    @classmethod
    def load(cls, folder, *, device="cpu"):
        made = cls()
        with np.load(folder / "model.npz", allow_pickle=False) as stored:
            made.means, made.genes, made.types = (stored[name] for name in ("means", "genes", "types"))
        return made


class HasNoSpace(Faithful):
    space = "tpm"


class HasNoBudgetForAProfile(Faithful):
    default_budgets: ClassVar = {"smoke": "4steps"}


class HasABudgetNobodyReads(Faithful):
    default_budgets: ClassVar = {"smoke": "4steps", "quick": "a while", "paper": "4steps"}


class HidesItsSettings(Faithful):
    def __init__(self, **settings):
        super().__init__(**settings)


class SaysNoKindOfASetting(Faithful):
    def __init__(self, scale=1.0):
        super().__init__(scale=scale)


class FailsInFit(Faithful):
    def shares(self):
        raise RuntimeError("shapes do not match")


class ChangesTheTrainingCells(Faithful):
    def fit(self, train, **options):
        super().fit(train, **options)
        train.X.data[:] = np.log1p(train.X.data)


class TellsMoreThanAll(Faithful):
    def shares(self):
        return (0.5, 1.5)


class StopsHalfway(Faithful):
    def shares(self):
        return (0.25, 0.5)


class DrawsTooFew(Faithful):
    def sample(self, n_cells, **options):
        return super().sample(n_cells, **options)[:-1].copy()


class DrawsFractions(Faithful):
    def sample(self, n_cells, **options):
        cells = super().sample(n_cells, **options)
        cells.X = cells.X * 0.5
        return cells


class DrawsNaN(Faithful):
    def sample(self, n_cells, **options):
        cells = super().sample(n_cells, **options)
        cells.X.data[0] = np.nan
        return cells


class DrawsOtherGenes(Faithful):
    def sample(self, n_cells, **options):
        cells = super().sample(n_cells, **options)
        cells.var_names = [f"other {name}" for name in cells.var_names]
        return cells


class SortsTypes(Faithful):
    def sample(self, n_cells, *, cell_types=None, seed):
        ordered = None if cell_types is None else sorted(cell_types)
        return super().sample(n_cells, cell_types=ordered, seed=seed)


class RefusesWithAKeyError(Faithful):
    def refuse(self, unknown):
        raise KeyError(min(unknown))


class DrawsFromTheGlobalState(Faithful):
    def sample(self, n_cells, *, cell_types=None, seed):
        return super().sample(n_cells, cell_types=cell_types, seed=np.random.randint(1 << 30))  # noqa: NPY002


class ForgetsTheSampleSeed(Faithful):
    def sample(self, n_cells, *, cell_types=None, seed):
        return super().sample(n_cells, cell_types=cell_types, seed=0)


class ForgetsTheTrainingSeed(Faithful):
    def fit(self, train, *, seed, **options):
        super().fit(train, seed=None, **options)


class HoldsAllPieces(Faithful):
    def sample_chunks(self, *arguments, **options):
        return list(super().sample_chunks(*arguments, **options))


class CutsLargePieces(Faithful):
    def sample_chunks(self, n_cells, *, cell_types=None, seed, chunk_size=2048):
        yield self.sample(n_cells, cell_types=cell_types, seed=seed)


class ReturnsTrainingCells(Faithful):
    conditional = False
    streams = False

    def fit(self, train, **options):
        super().fit(train, **options)
        self.cells = train.layers["counts"].toarray()

    def sample(self, n_cells, *, cell_types=None, seed):
        if cell_types is not None:
            raise Unsupported("no types")
        rows = np.random.default_rng(seed).choice(len(self.cells), n_cells)
        cells = AnnData(csr_matrix(self.cells[rows], dtype=np.float32))
        cells.var_names = self.genes
        return cells

    def save(self, folder):
        np.savez(folder / "model.npz", cells=self.cells, genes=self.genes)

    @classmethod
    def load(cls, folder, *, device="cpu"):
        made = cls()
        with np.load(folder / "model.npz", allow_pickle=False) as stored:
            made.cells, made.genes = stored["cells"], stored["genes"]
        return made


class Pickles(Faithful):
    def save(self, folder):
        super().save(folder)
        (folder / "weights.bin").write_bytes(pickle.dumps(self.means))


class StoresNothing(Faithful):
    def save(self, folder):
        pass


class LosesItsMeansWhenStored(Faithful):
    @classmethod
    def load(cls, folder, *, device="cpu"):
        made = super().load(folder, device=device)
        made.means = np.ones_like(made.means)
        return made


class CannotBeLoaded(Faithful):
    @classmethod
    def load(cls, folder, *, device="cpu"):
        raise FileNotFoundError("cells.h5ad")


class LeavesALog(Faithful):
    def fit(self, train, **options):
        super().fit(train, **options)
        Path("training.log").write_text("done")


class Crashes(Faithful):
    def save(self, folder):
        os.kill(os.getpid(), signal.SIGSEGV)


class TakesAllCellsForInMemory(Faithful):
    """Declares that it streams, and asks of a matrix on disk what only one in memory can do."""

    name = "takes_all_cells_for_in_memory"

    def some_of(self, counts, rows):
        return counts.tocsr()[rows]


class LearnsTheFirstCellsAlone(Faithful):
    """Of cells on disk it reads the first ones and never the others."""

    name = "learns_the_first_cells_alone"

    def some_of(self, counts, rows):
        return some_rows(counts, rows if in_memory(counts) else rows[:5])
