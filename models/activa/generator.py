"""ACTIVA as a generator of the harness: AnnData in, AnnData out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from models.activa.settings import Objective, SamplingNorm, Settings
from models.base import AUTO, Budget, Generator, GeneratorError, Monitor, Settled, Space, Unsupported
from models.precision import Precision

if TYPE_CHECKING:
    from anndata import AnnData

    from models.activa.networks import Networks
    from models.activa.sampling import Drawn, Sampler


class Activa(Generator):
    """ACTIVA: an introspective VAE whose generator is conditioned by a cell-type classifier.

    Encoder and decoder play against each other, beside a reconstruction loss and the squared
    difference of the classifier's logits between a cell and its reconstruction. Cells of a type are
    had by drawing from the whole and keeping those that the classifier calls so.

    Budgets: 500 epochs as in the authors' script (profile ``paper``), 20 (``quick``) and 2 (``smoke``).
    The classifier's 4 and the warm-up's 9 epochs of 500 shrink and grow with the budget; each lasts at
    least an epoch and at most a quarter of the budget. Of a budget below 4 steps that leaves no warm-up,
    but still one step of the classifier.

    What is timed: `prepare` imports PyTorch and has it do what it does on first use (seconds). `fit` is
    phase ``compile`` (the same on the device, which matters for a GPU), the classifier's pre-training
    (``classifier``, with the logits of all training cells), a plain VAE (``warm_up``), the game
    (``adversarial``) and the re-estimation of BatchNorm's statistics (``batchnorm``, for
    ``sampling_norm="prior"``). On a GPU the steps of the warm-up and of the game are each recorded once as
    a CUDA graph: phase ``compile`` within theirs. In the release the classifier trains beside the warm-up;
    the two share nothing, so here it goes first, and its steps are not counted as generator updates.
    `sample` is timed to the host's CSR matrix, and includes the classifier's call of every cell and, on
    demand, every draw that was thrown away.

    Parameters
    ----------
    objective
        ``"paper"`` (default) or ``"release"``. The authors' code cuts the adversarial term off from the
        generator, doubles L_CT and leaves PyTorch's initialisation in the classifier. Its order is kept:
        gradients of both from the encoder's loss, the encoder's step, x_r and x_g encoded once more by
        the new encoder (for its statistics and the logged terms alone), the generator's step; so is
        the classifier's learning rate, which falls one step later than the paper's.
    conditioner, latent_dim, hidden_sizes, batch_size, learning_rate, margin
        See `models.activa.settings.Settings`.
    weight_kl, weight_hinge, weight_adversarial, weight_reconstruction
        Weights of the terms of both losses. The file names of the published samples say ``10RecLoss``:
        `weight_reconstruction` of the published models may not have been 0.05.
    soft_adapt, classifier_learning_rate, classifier_weight_decay, precision
        See `models.activa.settings.Settings`.
    sampling_norm, confidence_threshold, max_draws_per_cell
        How cells are drawn, see `models.activa.sampling`.

    Raises
    ------
    ValueError
        If a hyper-parameter lies outside its range.

    Notes
    -----
    What to expect of the published model, from trials; none of it is tuned away here:

    - Reconstruction decides, the game hardly weighs. Because the encoder ends in ReLU and BatchNorm, its
      KL terms stay alike and near the margin of 110 whatever they encode (on 12 000 cells × 1 287 genes
      136 nats after one epoch, 105 to 112 from the fifteenth on), while L_AE is about 9·10⁶. All terms
      of both losses are logged one by one.
    - The decoder is smooth: 68 % of its values were not zero where 27 % of the real ones are, which alone
      tells its cells from real ones (rf_auc 1.00). Their library size was about 6 400, not 20 000.
    - Types do not come in their real proportions: two of them held 88 % of the cells. In one trial the
      largest held 52 % with ``sampling_norm="batch"`` and 84 % with ``"eval"``. A rare type may never
      come, and then sampling on demand ends with `SamplingExhausted`.
    """

    name: ClassVar[str] = "activa"
    streams: ClassVar[bool] = True
    framework: ClassVar[str] = "pytorch"
    conditional: ClassVar[bool] = True
    space: ClassVar[Space] = "cp20k"
    licence: ClassVar[str] = "MIT (the authors' code); this implementation BSD-3-Clause"
    paper: ClassVar[str] = "doi:10.1093/bioinformatics/btac095"
    settled_by: ClassVar[tuple[str, ...]] = ("precision", "hidden_sizes", "batch_size")
    default_budgets: ClassVar[dict[str, str]] = {
        "smoke": "2epochs",
        "quick": "20epochs",
        "paper": "500epochs",
    }

    def __init__(
        self,
        *,
        objective: Objective = Settings.objective,
        conditioner: str = Settings.conditioner,
        latent_dim: int = Settings.latent_dim,
        hidden_sizes: tuple[int, ...] = Settings.hidden_sizes,
        batch_size: int = Settings.batch_size,
        learning_rate: float = Settings.learning_rate,
        margin: float = Settings.margin,
        weight_kl: float = Settings.weight_kl,
        weight_hinge: float = Settings.weight_hinge,
        weight_adversarial: float = Settings.weight_adversarial,
        weight_reconstruction: float = Settings.weight_reconstruction,
        soft_adapt: bool = Settings.soft_adapt,
        classifier_learning_rate: float = Settings.classifier_learning_rate,
        classifier_weight_decay: float = Settings.classifier_weight_decay,
        precision: Precision = Settings.precision,
        sampling_norm: SamplingNorm = Settings.sampling_norm,
        confidence_threshold: float = Settings.confidence_threshold,
        max_draws_per_cell: int = Settings.max_draws_per_cell,
    ) -> None:
        self.settings = Settings(
            objective=objective,
            conditioner=conditioner,
            latent_dim=latent_dim,
            hidden_sizes=hidden_sizes,
            batch_size=batch_size,
            learning_rate=learning_rate,
            margin=margin,
            weight_kl=weight_kl,
            weight_hinge=weight_hinge,
            weight_adversarial=weight_adversarial,
            weight_reconstruction=weight_reconstruction,
            soft_adapt=soft_adapt,
            classifier_learning_rate=classifier_learning_rate,
            classifier_weight_decay=classifier_weight_decay,
            precision=precision,
            sampling_norm=sampling_norm,
            confidence_threshold=confidence_threshold,
            max_draws_per_cell=max_draws_per_cell,
        )
        self._networks: Networks | None = None
        self._sampler: Sampler | None = None
        self._device = "cpu"
        self._facts: dict[str, Any] = {}

    @classmethod
    def skip(cls, train: AnnData) -> str | None:
        """Return a reason if there are fewer than two cells or two cell types, or a cell without a type."""
        if "cell_type" not in train.obs:
            return "no cell types to condition on: obs has no column cell_type"
        if train.obs["cell_type"].isna().any():
            return "some cells have no cell type"
        if train.n_obs < 2 or train.obs["cell_type"].nunique() < 2:
            return "fewer than two cell types: the classifier has nothing to tell apart"
        return None

    @classmethod
    def settle(cls, settings: Mapping[str, Any], *, n_genes: int, device: str) -> dict[str, Settled]:
        """Choose the precision of the wide layers' products; see `Generator.settle`."""
        if settings["precision"] != AUTO:
            return {}
        return {"precision": Settings(**settings).settled_precision(n_genes=n_genes, device=device)}

    def prepare(self, train: AnnData) -> None:
        """Import PyTorch, with all that it imports when it is first put to work."""
        from models.activa import training

        training.rehearse("cpu")

    def fit(
        self, train: AnnData, *, seed: int, device: str = "cpu", budget: Budget, monitor: Monitor
    ) -> None:
        """Train on the cells' X; see `Generator.fit` and, for the phases, the class."""
        from models.activa import training

        self._device = _require_device(device)
        if reason := self.skip(train):
            raise Unsupported(f"activa: {reason}")
        with monitor.phase("compile"):
            training.rehearse(device)
        cell_types = train.obs["cell_type"].astype("category").cat.remove_unused_categories()
        self._networks = training.train(
            train.X,
            cell_types.cat.codes.to_numpy(),
            n_cell_types=len(cell_types.cat.categories),
            seed=seed,
            budget=budget,
            settings=self.settings,
            device=device,
            monitor=monitor,
        )
        self.settings = self._networks.settings
        self._facts = {
            "genes": train.var_names.astype(str).tolist(),
            "cell_types": cell_types.cat.categories.astype(str).tolist(),
            "training_seed": seed,
            "versions": _versions(),
        }

    def sample(self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int) -> AnnData:
        """Draw cells, of the types asked for if any are; see `Generator.sample`.

        ``obs["cell_type"]`` is the classifier's call. ``uns["activa"]`` says which model drew them,
        ``uns["sampling"]`` in how many ``draws``. On demand it also lists the ``cell_types`` asked for
        and, in that order, how many of the draws were ``accepted`` as such (returned or not) and the
        ``acceptance_rate``; samples are added up by their draws and accepted draws.
        """
        from models.activa import sampling

        if n_cells < 1:
            raise ValueError(f"activa: n_cells={n_cells} must be at least 1")
        networks = self._trained()
        if self._sampler is None or self._sampler.networks is not networks:
            self._sampler = sampling.Sampler(networks)
        if cell_types is None:
            return self._annotate(self._sampler.cells(n_cells, seed=seed), seed=seed)
        if len(cell_types) != n_cells:
            raise ValueError(
                f"activa: {len(cell_types)} cell types for n_cells={n_cells}; give one for each cell"
            )
        names = self._facts["cell_types"]
        codes = {name: code for code, name in enumerate(names)}
        if unknown := sorted(set(cell_types) - set(codes)):
            raise Unsupported(f"activa: never saw cell type {unknown[0]!r}; it knows {', '.join(names)}")
        wanted = np.array([codes[name] for name in cell_types])
        drawn = self._sampler.types(wanted, names=names, seed=seed, monitor=self.monitor)
        return self._annotate(drawn, seed=seed)

    def _annotate(self, drawn: Drawn, *, seed: int) -> AnnData:
        import pandas as pd
        from anndata import AnnData

        names = self._facts["cell_types"]
        index = pd.RangeIndex(drawn.matrix.shape[0]).astype(str)
        calls = pd.Categorical.from_codes(drawn.types, categories=names)
        adata = AnnData(
            drawn.matrix,
            obs=pd.DataFrame({"cell_type": calls}, index=index),
            var=pd.DataFrame(index=pd.Index(self._facts["genes"])),
        )
        adata.uns["activa"] = {
            "objective": self.settings.objective,
            "sampling_norm": self.settings.sampling_norm,
            "seed": seed,
            "training_seed": self._facts["training_seed"],
            "versions": self._facts["versions"],
        }
        adata.uns["sampling"] = {
            "draws": drawn.draws,
            # Lists, not a mapping: HDF5 would take the slash in a type's name for a path.
            "cell_types": [names[code] for code in drawn.accepted],
            "acceptance_rate": list(drawn.acceptance_rate.values()),
            "accepted": list(drawn.accepted.values()),
        }
        return adata

    def synchronise(self) -> None:
        """Wait for the GPU, if there is one at work."""
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self._device)

    def save(self, folder: Path) -> None:
        """Write the weights (safetensors) and the settings, genes, types and versions (JSON)."""
        from models.activa import storage

        facts = self._facts | {"settings": asdict(self.settings)}
        storage.write_state(folder, self._trained().state_dict(), facts)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Read back what `save` wrote."""
        from models.activa import networks, storage

        tensors, facts = storage.read_state(folder)
        loaded = cls(**facts.pop("settings"))
        loaded._device = _require_device(device)
        loaded._facts = facts
        built = networks.build_networks(
            loaded.settings, n_genes=len(facts["genes"]), n_cell_types=len(facts["cell_types"]), seed=0
        )
        built.load_state_dict(tensors)
        loaded._networks = built.eval().requires_grad_(False).to(device)
        return loaded

    def _trained(self) -> Networks:
        if self._networks is None:
            raise GeneratorError("activa: the model is not trained; call fit or load first")
        return self._networks


def _require_device(device: str) -> str:
    """Return `device` if PyTorch can use it."""
    import torch

    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise Unsupported(f"activa: device {device!r} is not cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise Unsupported(
            "activa: device 'cuda' was asked for but PyTorch sees no GPU; "
            "use device cpu, or install a CUDA build of torch on a machine with a GPU"
        )
    return device


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"torch": version("torch"), "numpy": version("numpy"), "scipy": version("scipy")}
