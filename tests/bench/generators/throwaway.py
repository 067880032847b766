"""Generators that behave, fail, hang or die in each of the ways a worker must survive."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from scipy import sparse

from models.base import Diverged, Generator, Settled


class Mean(Generator):
    """Poisson cells at the mean counts of the training cells; the smallest generator that does something."""

    name = "mean"
    conditional = True
    default_budgets: ClassVar = {"smoke": "3steps", "quick": "5steps", "paper": "50steps"}

    def __init__(self, *, scale: float = 1.0, mode: Literal["a", "b"] = "a", sizes: tuple[int, ...] = (4, 2)):
        self.scale, self.mode, self.sizes = scale, mode, sizes

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        self.genes = list(train.var_names)
        self.mean = np.asarray(train.layers["counts"].mean(axis=0)).ravel() * self.scale
        with monitor.phase("looping"):
            for step in range(int(budget.amount)):
                monitor.log(step, loss=1.0 / (step + 1))
                monitor.advance((step + 1) / budget.amount)

    def sample(self, n_cells, *, cell_types=None, seed):
        import anndata

        counts = np.random.default_rng(seed).poisson(self.mean, (n_cells, len(self.mean)))
        cells = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)))
        cells.var_names = self.genes
        cells.obs["cell_type"] = list(cell_types) if cell_types is not None else ["alpha"] * n_cells
        return cells

    def save(self, folder):
        (folder / "mean.json").write_text(json.dumps([self.genes, self.mean.tolist()]))

    @classmethod
    def load(cls, folder, *, device="cpu"):
        made = cls()
        made.genes, mean = json.loads((folder / "mean.json").read_text())
        made.mean = np.array(mean)
        return made


class Expression(Mean):
    name = "expression"
    space = "cp20k"

    def sample(self, n_cells, *, cell_types=None, seed):
        cells = super().sample(n_cells, cell_types=cell_types, seed=seed)
        cells.X = sparse.csr_matrix(cells.X.multiply(20_000 / cells.X.sum(axis=1)).astype(np.float32))
        return cells


class FromDisk(Mean):
    """Knows whether its cells are where they were said to be: all of them are never read at once."""

    name = "from_disk"
    streams = True

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        counts = train.layers["counts"]
        sums = [np.asarray(counts[row : row + 1].sum(axis=0)).ravel() for row in range(train.n_obs)]
        self.genes, self.mean = list(train.var_names), np.sum(sums, axis=0) / train.n_obs


class Raises(Mean):
    name = "raises"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        with monitor.phase("second"):
            raise KeyError("a gene is missing")


class Diverges(Mean):
    name = "diverges"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        raise Diverged("the loss became NaN at step 7")


class RunsOutOfMemory(Mean):
    name = "runs_out_of_memory"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        np.empty(1 << 60, dtype=np.uint8)


class Dies(Mean):
    name = "dies"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        with monitor.phase("dangerous"):
            os.kill(os.getpid(), signal.SIGKILL)


class Hangs(Mean):
    name = "hangs"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        time.sleep(600)


class Declines(Mean):
    name = "declines"

    @classmethod
    def skip(cls, train):
        return "needs spliced counts"


class DiesOnce(Mean):
    """Checkpoints each step; dies at step 3 unless it resumes."""

    name = "dies_once"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        start = 0
        if monitor.resume_from is not None:
            start = int((monitor.resume_from / "step").read_text())
        super_mean = np.asarray(train.layers["counts"].mean(axis=0)).ravel()
        self.genes, self.mean = list(train.var_names), super_mean
        with monitor.phase("looping"):
            for step in range(start, 6):
                if step == 3 and start == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(0.05)
                monitor.advance((step + 1) / 6)
                monitor.checkpoint(lambda folder, step=step: (folder / "step").write_text(str(step + 1)))


class NamedReal(Mean):
    name = "real"


class Broken(Mean):
    name = "broken"

    def __init__(self):
        raise OSError("no licence file")


class Settles(Mean):
    name = "settles"

    def __init__(self, *, arithmetic: str = "auto") -> None:
        super().__init__()
        self.arithmetic = arithmetic

    @classmethod
    def settle(cls, settings, *, n_genes, device):
        if settings["arithmetic"] != "auto":
            return {}
        value = {7: "seven"}.get(n_genes)
        if value is None:
            raise KeyError("no genes")
        return {"arithmetic": Settled(value, f"{n_genes} genes on {device}")}


class GivesNaN(Mean):
    name = "gives_nan"

    def sample(self, n_cells, *, cell_types=None, seed):
        cells = super().sample(n_cells, cell_types=cell_types, seed=seed)
        cells.X[:, 0] = np.nan
        return cells


class ChangesItsTrainingCells(Mean):
    name = "changes_its_training_cells"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        super().fit(train, seed=seed, device=device, budget=budget, monitor=monitor)
        train.X.data += 1


class CannotBeLoaded(Mean):
    name = "cannot_be_loaded"

    def save(self, folder):
        (folder / "nothing.json").touch()


class LoadsNothing(Mean):
    name = "loads_nothing"

    @classmethod
    def load(cls, folder, *, device="cpu"):
        return None


class TurnsGenesAround(Mean):
    name = "turns_genes_around"

    def sample(self, n_cells, *, cell_types=None, seed):
        return super().sample(n_cells, cell_types=cell_types, seed=seed)[:, ::-1].copy()


class Segfaults(Mean):
    name = "segfaults"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        os.kill(os.getpid(), signal.SIGSEGV)


class EndsItself(Mean):
    name = "ends_itself"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        os._exit(3)


class ExitsPolitely(Mean):
    name = "exits_politely"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        raise SystemExit(0)


class SaysManyLines(Mean):
    name = "says_many_lines"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        raise RuntimeError("the first line [/] $x$\nthe second line")


class CannotSay(Mean):
    name = "cannot_say"

    class Speechless(Exception):
        def __str__(self):
            raise ValueError("no words")

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        raise self.Speechless


class LeavesAThread(Mean):
    """Whoever waits for its threads waits for ever."""

    name = "leaves_a_thread"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        super().fit(train, seed=seed, device=device, budget=budget, monitor=monitor)
        threading.Thread(target=threading.Event().wait).start()


class ClosesItsOutput(Mean):
    name = "closes_its_output"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        super().fit(train, seed=seed, device=device, budget=budget, monitor=monitor)
        sys.stdout.close()
        sys.stderr.close()


class GoesElsewhere(Mean):
    name = "goes_elsewhere"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        super().fit(train, seed=seed, device=device, budget=budget, monitor=monitor)
        os.chdir("/")


class DiesWhileSampling(Mean):
    name = "dies_while_sampling"

    def sample(self, n_cells, *, cell_types=None, seed):
        os.kill(os.getpid(), signal.SIGKILL)


class DiesWhileSaving(Mean):
    name = "dies_while_saving"

    def save(self, folder):
        (folder / "half").write_text("a weight")
        os.kill(os.getpid(), signal.SIGKILL)


class RunsInCircles(Mean):
    name = "runs_in_circles"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        self.fit(train, seed=seed, device=device, budget=budget, monitor=monitor)


class Changed(Mean):
    """Changes its cells before it gives them."""

    name = "changed"

    def sample(self, n_cells, *, cell_types=None, seed):
        return self.change(super().sample(n_cells, cell_types=cell_types, seed=seed))

    def change(self, cells):
        cells.X = self.changed_matrix(cells.X)
        return cells

    def changed_matrix(self, matrix):
        return sparse.csr_matrix(matrix.multiply(self.factor).astype(np.float32))


class OtherGenes(Changed):
    name = "other_genes"

    def change(self, cells):
        cells.var_names = ["other", *cells.var_names[1:]]
        return cells


class FewerGenes(Changed):
    name = "fewer_genes"

    def change(self, cells):
        return cells[:, 1:].copy()


class GeneTwice(Changed):
    name = "gene_twice"

    def change(self, cells):
        cells.var_names = [cells.var_names[1], *cells.var_names[1:]]
        return cells


class TooFew(Changed):
    name = "too_few"

    def change(self, cells):
        return cells[1:].copy()


class TooMany(Changed):
    name = "too_many"

    def change(self, cells):
        return cells[[0, *range(cells.n_obs)]].copy()


class GivesNothing(Changed):
    name = "gives_nothing"

    def change(self, cells):
        return None


class Negative(Changed):
    name = "negative"
    factor = -1


class Fractional(Changed):
    name = "fractional"
    factor = 0.3


class Infinite(Changed):
    name = "infinite"
    factor = np.inf


class NotLogged(Changed):
    name = "not_logged"
    space = "log_cp20k"
    factor = 99


class OtherSums(Changed):
    name = "other_sums"
    space = "cp20k"
    factor = 1


class UnknownTypes(Changed):
    name = "unknown_types"

    def change(self, cells):
        cells.obs["cell_type"] = "nobody"
        return cells


class OtherTypesThanAsked(Changed):
    name = "other_types"

    def change(self, cells):
        cells.obs["cell_type"] = ["beta", *cells.obs["cell_type"][1:]]
        return cells


class Dense(Changed):
    name = "dense"

    def changed_matrix(self, matrix):
        return matrix.toarray().astype(np.float64)


class Columns(Changed):
    name = "columns"

    def changed_matrix(self, matrix):
        return matrix.tocsc().astype(np.int64)


class FillsTheDisk(Mean):
    """Takes the space of its disk when it has been trained, but for so many KiB, until `room` is made."""

    name = "fills_the_disk"

    def __init__(self, *, left: int = 0):
        super().__init__()
        self.left = left

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        super().fit(train, seed=seed, device=device, budget=budget, monitor=monitor)
        disk = Path(os.environ["BENCH_TEST_DISK"])
        if (disk / "room").exists():
            return
        with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1024))
        os.truncate(disk / "ballast", (disk / "ballast").stat().st_size // 1024 * 1024 - 1024 * self.left)


class WaitsForLeave(Mean):
    """Trains as long as a file is there, and says that it does, and who it is."""

    name = "waits_for_leave"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        wait = Path(os.environ["BENCH_TEST_WAIT"])
        if wait.exists():
            wait.with_name("waiting.part").write_text(str(os.getpid()))
            wait.with_name("waiting.part").rename(wait.with_name("waiting"))
        while wait.exists():
            time.sleep(0.05)
        super().fit(train, seed=seed, device=device, budget=budget, monitor=monitor)


class PlainArray(Mean):
    """Cells as a plain array of whole numbers, most of them zero."""

    name = "plain_array"

    def sample(self, n_cells, *, cell_types=None, seed):
        cells = super().sample(n_cells, cell_types=cell_types, seed=seed)
        cells.X = cells.X.toarray().astype(np.int64)
        return cells


class StoresZeros(Mean):
    """Cells that are all zero, in a matrix that stores each of these zeros."""

    name = "stores_zeros"

    def sample(self, n_cells, *, cell_types=None, seed):
        cells = super().sample(n_cells, cell_types=cell_types, seed=seed)
        cells.X.data[:] = 0
        return cells


class Meets(Mean):
    """Holds the GPU that it sees, and trains only when so many have begun as are wanted."""

    name = "meets"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        place, gpu = Path(os.environ["BENCH_TEST_MEET"]), os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if gpu:
            # Raises where another process holds it.
            (place / f"held-{gpu}").touch(exist_ok=False)
        (place / f"begun-{os.getpid()}").write_text(gpu)
        while len(list(place.glob("begun-*"))) < int((place / "wanted").read_text()):
            time.sleep(0.02)
        super().fit(train, seed=seed, device=device, budget=budget, monitor=monitor)
        (place / f"held-{gpu}").unlink(missing_ok=True)
