"""A count model as a generator of the harness: AnnData in, AnnData out."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from models.base import Budget, Generator, GeneratorError, Monitor, Space, Unsupported
from models.streaming import in_memory

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from torch import Tensor

BLOCK = 1024
"""Cells that are drawn at once, dense."""


@dataclass(frozen=True)
class TrainingSet:
    """What a count model learns from.

    Attributes
    ----------
    counts
        n_cells × n_genes, whole numbers: CSR float32, or rows on disk (see `models.streaming`).
    types
        n_cells codes in 0 … n_types - 1, each type with a cell at least.
    n_types
        Number of types.
    """

    counts: Any
    types: NDArray[np.int64]
    n_types: int


class CountGenerator(Generator):
    """What generators of counts share: checks, types in the training proportions, blocks, storage.

    A subclass says how it learns (`_learn`), what of it is stored (`_tensors`), how it comes back
    (`_restore`) and how cells of given types are drawn (`_draw`). Its hyper-parameters are attributes of the
    same names, or `hyperparameters` returns them. No training cell is kept: a stored model holds tensors,
    names and hyper-parameters alone.
    """

    framework: ClassVar[str] = "pytorch"
    conditional: ClassVar[bool] = True
    space: ClassVar[Space] = "counts"
    licence: ClassVar[str] = "BSD-3-Clause"

    _facts: dict[str, Any] | None = None
    _device: str = "cpu"

    def fit(
        self, train: AnnData, *, seed: int, device: str = "cpu", budget: Budget, monitor: Monitor
    ) -> None:
        """Train on ``layers["counts"]`` and ``obs["cell_type"]``; see `Generator.fit`.

        Raises
        ------
        GeneratorError
            If one of them is missing.
        """
        if "counts" not in train.layers:
            raise GeneratorError(f'{self.name}: layers["counts"] is missing; store the raw counts there')
        if "cell_type" not in train.obs:
            raise GeneratorError(f'{self.name}: obs["cell_type"] is missing; prepare the data set first')
        if reason := self.skip(train):
            raise Unsupported(f"{self.name}: {reason}")
        self._device = require_device(self.name, device)
        labels = train.obs["cell_type"].astype("category").cat.remove_unused_categories()
        names = labels.cat.categories.astype(str).tolist()
        codes = labels.cat.codes.to_numpy().astype(np.int64)
        self._facts = {
            "genes": train.var_names.astype(str).tolist(),
            "cell_types": names,
            "type_shares": (np.bincount(codes, minlength=len(names)) / len(codes)).tolist(),
            "training_seed": seed,
        }
        counts = train.layers["counts"]
        if in_memory(counts):
            counts = csr_matrix(counts, dtype=np.float32)
        self._learn(
            TrainingSet(counts, codes, len(names)), seed=seed, device=device, budget=budget, monitor=monitor
        )

    def sample(self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int) -> AnnData:
        """Draw counts, of the types asked for if any are; see `Generator.sample`.

        Without them the types come in the training proportions, rounded at random.
        """
        import pandas as pd
        import torch
        from anndata import AnnData

        facts, codes = self.facts, self._requested(n_cells, cell_types, seed)
        seeds = np.random.SeedSequence([facts["training_seed"], seed]).generate_state(2)
        generator = torch.Generator(self._device).manual_seed(int(seeds[0]))
        with torch.inference_mode():
            blocks = [
                as_csr(self._draw(block, generator=generator))
                for block in torch.from_numpy(codes).to(self._device).split(BLOCK)
            ]
        calls = pd.Categorical.from_codes(codes, categories=facts["cell_types"])
        index = pd.RangeIndex(n_cells).astype(str)
        return AnnData(
            csr_matrix(vstack(blocks, format="csr")),
            obs=pd.DataFrame({"cell_type": calls}, index=index),
            var=pd.DataFrame(index=pd.Index(facts["genes"])),
        )

    def synchronise(self) -> None:
        """Wait for the GPU, if there is one at work."""
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self._device)

    def save(self, folder: Path) -> None:
        """Write tensors (safetensors) and hyper-parameters, genes and types (JSON)."""
        from models.activa.storage import write_state

        write_state(folder, self._tensors(), self.facts | {"settings": self.hyperparameters()})

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Read back what `save` wrote."""
        from models.activa.storage import read_state

        tensors, facts = read_state(folder)
        loaded = cls(**facts.pop("settings"))
        loaded._device, loaded._facts = require_device(cls.name, device), facts
        loaded._restore({name: tensor.to(device) for name, tensor in tensors.items()})
        return loaded

    def hyperparameters(self) -> dict[str, Any]:
        """Return what the constructor takes."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @property
    def facts(self) -> dict[str, Any]:
        """Genes, types, their shares and the training seed.

        Raises
        ------
        GeneratorError
            If nothing has been learned yet.
        """
        if self._facts is None:
            raise GeneratorError(f"{self.name}: the model is not trained; call fit or load first")
        return self._facts

    @abstractmethod
    def _learn(self, train: TrainingSet, *, seed: int, device: str, budget: Budget, monitor: Monitor) -> None:
        """Train."""

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]:
        """Return all that was learned, by name."""

    @abstractmethod
    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `_tensors` returned; hyper-parameters and `facts` are there already."""

    @abstractmethod
    def _draw(self, types: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return counts of cells of these types (codes), n_cells × n_genes, dense, on any device."""

    def _requested(self, n_cells: int, cell_types: Sequence[str] | None, seed: int) -> NDArray[np.int64]:
        """Check the requested types and return their codes; draw them if none are requested."""
        if n_cells < 1:
            raise GeneratorError(f"{self.name}: n_cells={n_cells} must be at least 1")
        names = self.facts["cell_types"]
        if cell_types is None:
            rng = np.random.default_rng([self.facts["training_seed"], seed])
            return rng.permutation(_proportional(np.array(self.facts["type_shares"]), n_cells, rng))
        if len(cell_types) != n_cells:
            raise GeneratorError(
                f"{self.name}: {n_cells} cells, but {len(cell_types)} cell types; give as many"
            )
        codes = {name: code for code, name in enumerate(names)}
        if unknown := sorted(set(cell_types) - set(codes)):
            raise Unsupported(
                f"{self.name}: never saw cell type {unknown[0]!r}; choose from {', '.join(names)}"
            )
        return np.array([codes[name] for name in cell_types], dtype=np.int64)


def _proportional(shares: NDArray[np.float64], n_cells: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return n_cells codes, each type the whole number of times below its share or the one above."""
    ends = np.cumsum(shares) / shares.sum() * n_cells
    # One offset for all: systematic sampling, whose expectation is the share itself.
    codes = np.searchsorted(ends, np.arange(n_cells) + rng.random(), side="right")
    return np.minimum(codes, len(shares) - 1).astype(np.int64)


def as_csr(counts: Tensor) -> csr_matrix:
    """Return dense counts as CSR float32 on the host."""
    from models.activa.sparsify import sparsify

    return sparsify(counts.float().contiguous()).to_csr(counts.shape[1])


def require_device(name: str, device: str) -> str:
    """Return `device` if PyTorch can use it.

    Raises
    ------
    Unsupported
        If it cannot, in the name of generator `name`.
    """
    import torch

    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise Unsupported(f"{name}: device {device!r} is not cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise Unsupported(
            f"{name}: device 'cuda' was asked for but PyTorch sees no GPU; "
            "use device cpu, or install a CUDA build of torch on a machine with a GPU"
        )
    return device
