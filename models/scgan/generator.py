"""scGAN and cscGAN as generators of the harness: AnnData in, AnnData out.

Source: Marouf et al., Nat. Commun. 11:166 (2020). The authors' program needs TensorFlow 1.8 on
Python 3.5; this is the same model for TensorFlow 2. The module imports without TensorFlow.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from models.base import Budget, Generator, GeneratorError, Monitor, Progress, Space, Unsupported
from models.scgan.runtime import load_tensorflow, on_device, seed_keys
from models.scgan.settings import Settings

if TYPE_CHECKING:
    from anndata import AnnData

    from models.scgan.networks import GeneratorNetwork
    from models.scgan.sampling import Sampler
    from models.scgan.training import Trainer

INITIAL_WEIGHT_LIMIT = 0.01
"""Weight of BatchNorm's initial statistics above which they are re-estimated after training."""


class ScGAN(Generator):
    """scGAN: a Wasserstein GAN with gradient penalty whose cells all have the same library size.

    One step is one generator update. It comes after `critic_steps` critic updates: 6 and not the 5 of
    the article, because the release runs five and then one more inside the generator's own graph call
    (its train operation depends on the critic's), where both share the generated cells. Before the
    first generator update it runs that one only, so n steps hold 1 + 6 (n − 1) critic updates. An epoch
    is a pass of the critic over the training cells: n_cells / (batch_size · critic_steps) steps, rounded.

    What is timed: `prepare` imports TensorFlow (two seconds, without Keras). `fit` is phase ``compile``
    (weights drawn, the cells sent to the device, the step traced; a budget in seconds starts after it),
    ``adversarial`` and, after a short budget, ``batchnorm``. `sample` is timed to the host's CSR matrix.

    Parameters
    ----------
    latent_dim, generator_sizes, critic_sizes, batch_size, critic_steps, gradient_penalty_weight
        See `models.scgan.settings.Settings`.
    learning_rate, final_learning_rate, beta_1, beta_2, library_size, batch_norm_decay
        See `models.scgan.settings.Settings`.

    Raises
    ------
    ValueError
        If a hyper-parameter lies outside its range.

    Notes
    -----
    How long it takes and what to cut: the release's parameters ask for 1 000 000 steps, which took 39.5
    to 48.9 hours on a GPU (Heydari et al. 2022, Table 1). With 765 genes a step takes 0.4 s of one
    core with AVX2, and profile quick makes 30. Cost is proportional to steps × critic_steps × batch_size ×
    n_genes. Cut the budget first: the learning rate's decay spans whatever was chosen. Then cut genes (the
    first and the last layer hold nearly all the work); critic_steps and batch_size make it another model.

    Where training differs from the release's, as running its graph beside this one shows. The first critic
    update agrees to 1.5e-7, and all losses and penalties to the printed digits:

    - The release's generator gradient goes through the critic's new weights with the ReLU masks from before
      its last update (its signs agree with that reading in 100 %); here the critic is evaluated anew (99.1 to
      99.3 %).
    - BatchNorm's running statistics race in the release: they move 6 to 12 times a generator update, as it is
      scheduled. Here it is always 12: at both training-mode passes of every critic update.

    While the initial values of these statistics weigh more than 1 % at the end (384 steps and fewer, with
    the defaults), they are re-estimated on prior draws, with a warning.
    """

    name: ClassVar[str] = "scgan"
    streams: ClassVar[bool] = True
    framework: ClassVar[str] = "tensorflow"
    space: ClassVar[Space] = "cp20k"
    licence: ClassVar[str] = "MIT (the authors' code); this implementation BSD-3-Clause"
    paper: ClassVar[str] = "doi:10.1038/s41467-019-14018-z"
    default_budgets: ClassVar[dict[str, str]] = {
        "smoke": "3steps",
        "quick": "30steps",
        "paper": "1000000steps",
    }

    def __init__(
        self,
        *,
        latent_dim: int = Settings.latent_dim,
        generator_sizes: tuple[int, ...] = Settings.generator_sizes,
        critic_sizes: tuple[int, ...] = Settings.critic_sizes,
        batch_size: int = Settings.batch_size,
        critic_steps: int = Settings.critic_steps,
        gradient_penalty_weight: float = Settings.gradient_penalty_weight,
        learning_rate: float = Settings.learning_rate,
        final_learning_rate: float = Settings.final_learning_rate,
        beta_1: float = Settings.beta_1,
        beta_2: float = Settings.beta_2,
        library_size: float = Settings.library_size,
        batch_norm_decay: float = Settings.batch_norm_decay,
    ) -> None:
        self.settings = Settings(
            latent_dim=latent_dim,
            generator_sizes=tuple(generator_sizes),
            critic_sizes=tuple(critic_sizes),
            batch_size=batch_size,
            critic_steps=critic_steps,
            gradient_penalty_weight=gradient_penalty_weight,
            learning_rate=learning_rate,
            final_learning_rate=final_learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            library_size=library_size,
            batch_norm_decay=batch_norm_decay,
        )
        self._device = "cpu"
        self._genes: list[str] = []
        self._cell_types: list[str] = []
        self._frequencies: list[float] = []
        self._sampler: Sampler | None = None

    @classmethod
    def skip(cls, train: AnnData) -> str | None:
        """Return a reason if there are fewer than two training cells."""
        return "fewer than two training cells" if train.n_obs < 2 else None

    def prepare(self, train: AnnData) -> None:
        """Import TensorFlow."""
        load_tensorflow()

    def fit(
        self, train: AnnData, *, seed: int, device: str = "cpu", budget: Budget, monitor: Monitor
    ) -> None:
        """Train on the cells' X; see `Generator.fit` and, for steps and phases, the class."""
        if reason := self.skip(train):
            raise Unsupported(f"{self.name}: {reason}")
        with on_device(device):
            from models.scgan import training

            codes = self._learn_types(train)
            self._genes, self._device = list(train.var_names), device
            training_key, estimate_key = seed_keys(seed, 2)
            with monitor.phase("compile"):
                trainer = training.Trainer(
                    self.settings,
                    cells=train.X,
                    types=codes,
                    frequencies=self._frequencies,
                    seed=training_key,
                )
                trainer.compile()
            progress = self._start(trainer, train.n_obs, budget, monitor.resume_from)
            with monitor.phase("adversarial"), closing(trainer):
                training.train(trainer, progress, monitor)
            self._settle_batch_norm(trainer, estimate_key, monitor)
            self._use(trainer.generator)

    def sample(self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int) -> AnnData:
        """Draw new cells of library size 20 000; see `Generator.sample`."""
        import pandas as pd
        from anndata import AnnData

        sampler = self._require_trained()
        types_key, noise_key = seed_keys(seed, 2)
        codes = self._choose_types(n_cells, cell_types, types_key)
        with on_device(self._device):
            cells = sampler.sample(codes, key=noise_key)
        obs = pd.DataFrame(index=[str(cell) for cell in range(n_cells)])
        if self.conditional:
            obs["cell_type"] = pd.Categorical.from_codes(codes, categories=pd.Index(self._cell_types))
        return AnnData(X=cells, obs=obs, var=pd.DataFrame(index=self._genes))

    def synchronise(self) -> None:
        """Wait until the GPU has finished, if it is the device."""
        if self._device != "cpu":
            load_tensorflow().test.experimental.sync_devices()

    def save(self, folder: Path) -> None:
        """Write the generator network (``weights.safetensors``) and what it is (``model.json``).

        Raises
        ------
        GeneratorError
            If nothing was trained.
        """
        from safetensors.numpy import save_file

        from models.scgan.networks import read_variables

        save_file(read_variables(self._require_trained().network.variables), folder / "weights.safetensors")
        facts = {
            "model": self.name,
            "settings": asdict(self.settings),
            "genes": self._genes,
            "cell_types": self._cell_types,
            "frequencies": self._frequencies,
        }
        (folder / "model.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Read back what `save` wrote.

        Raises
        ------
        GeneratorError
            If the folder holds another model.
        """
        from safetensors.numpy import load_file

        facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if facts["model"] != cls.name:
            raise GeneratorError(f"{folder} holds the model {facts['model']}, not {cls.name}")
        model = cls(**facts["settings"])
        model._genes, model._device = facts["genes"], device
        model._cell_types, model._frequencies = facts["cell_types"], facts["frequencies"]
        with on_device(device):
            from models.scgan.networks import GeneratorNetwork, write_variables

            sizes = {"n_genes": len(model._genes), "n_types": len(model._frequencies)}
            network = GeneratorNetwork(model.settings, **sizes)
            write_variables(network.variables, load_file(folder / "weights.safetensors"))
            model._use(network)
        return model

    def _learn_types(self, train: AnnData) -> np.ndarray:
        """Remember the cell types and their frequencies; return each cell's type number (here always 0)."""
        self._cell_types, self._frequencies = [], [1.0]
        return np.zeros(train.n_obs, dtype=np.int64)

    def _choose_types(self, n_cells: int, cell_types: Sequence[str] | None, key: int) -> np.ndarray:
        """Return the type number of each cell to draw (here always 0)."""
        if cell_types is not None:
            raise Unsupported("scgan knows no cell types: leave cell_types out, or use cscgan")
        return np.zeros(n_cells, dtype=np.int64)

    def _start(self, trainer: Trainer, n_cells: int, budget: Budget, checkpoint: Path | None) -> Progress:
        """Return the progress to start from: none, or a checkpoint's, whose state goes into `trainer`."""
        from models.scgan.training import load_checkpoint

        cells_per_step = self.settings.batch_size * self.settings.critic_steps
        steps_per_epoch = max(1, round(n_cells / cells_per_step))
        if checkpoint is None:
            return Progress(budget, steps_per_epoch)
        used = load_checkpoint(checkpoint, trainer=trainer)
        return Progress(budget, steps_per_epoch, done_steps=int(used["steps"]), done_seconds=used["seconds"])

    def _settle_batch_norm(self, trainer: Trainer, key: int, monitor: Monitor) -> None:
        """Re-estimate BatchNorm's running statistics if the initial ones still count."""
        from models.scgan.sampling import estimate_running_statistics

        weight = trainer.initial_statistics_weight()
        if weight <= INITIAL_WEIGHT_LIMIT:
            return
        warnings.warn(
            f"{self.name}: BatchNorm's initial statistics weigh {weight:.0%}: re-estimated on prior draws",
            stacklevel=3,
        )
        with monitor.phase("batchnorm"):
            estimate_running_statistics(
                trainer.generator, trainer.prior, batch_size=self.settings.batch_size, key=key
            )

    def _use(self, network: GeneratorNetwork) -> None:
        """Sample from `network` from now on."""
        from models.scgan.sampling import Sampler

        self._sampler = Sampler(network)

    def _require_trained(self) -> Sampler:
        if self._sampler is None:
            raise GeneratorError(f"{self.name} is not trained yet: call fit or load first")
        return self._sampler


class CscGAN(ScGAN):
    """cscGAN: scGAN conditioned on the cell type, with cells of any type on demand.

    The generator's BatchNorm looks its scale and offset up by type (Dumoulin et al. 2016) and the critic
    projects on a vector of the type; all else, timing and parameters included, is scGAN's. The types of
    generated cells follow the training frequencies, in training and where none are asked for; the
    critic's gradient penalty sees cells between a real one and one generated with that same type.

    Notes
    -----
    What is said of scGAN's deviations from the release holds here, too. One more: the release sorts the
    frequencies of the clusters by size, which is right only where cluster 0 is the largest, 1 the next and so
    on; here each type has its own.
    """

    name: ClassVar[str] = "cscgan"
    conditional: ClassVar[bool] = True

    @classmethod
    def skip(cls, train: AnnData) -> str | None:
        """Return a reason if there are fewer than two cells or two cell types, or a cell without a type."""
        if "cell_type" not in train.obs:
            return "no cell types to condition on: obs has no column cell_type"
        if train.obs["cell_type"].isna().any():
            return "some cells have no cell type"
        if train.obs["cell_type"].nunique() < 2:
            return "fewer than two cell types: use scgan"
        return super().skip(train)

    def _learn_types(self, train: AnnData) -> np.ndarray:
        """Remember the cell types and their frequencies; return each cell's type number."""
        types = train.obs["cell_type"].astype("category").cat.remove_unused_categories()
        codes = types.cat.codes.to_numpy(dtype=np.int64)
        self._cell_types = [str(name) for name in types.cat.categories]
        self._frequencies = (np.bincount(codes) / len(codes)).tolist()
        return codes

    def _choose_types(self, n_cells: int, cell_types: Sequence[str] | None, key: int) -> np.ndarray:
        """Return the number of each requested type, or draw from the training frequencies."""
        if cell_types is None:
            random = np.random.default_rng(key)
            return random.choice(len(self._frequencies), size=n_cells, p=self._frequencies).astype(np.int64)
        if len(cell_types) != n_cells:
            raise ValueError(f"{len(cell_types)} cell types for {n_cells} cells: name one for each")
        numbers = {name: number for number, name in enumerate(self._cell_types)}
        if unknown := sorted({str(name) for name in cell_types} - numbers.keys()):
            known = ", ".join(self._cell_types)
            raise Unsupported(f"cscgan never saw cell type {unknown[0]!r}; it knows: {known}")
        return np.array([numbers[str(name)] for name in cell_types], dtype=np.int64)
