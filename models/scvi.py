"""scVI through scvi-tools, sampled from its prior: no training cell is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.base import Budget, Diverged, GeneratorError, Monitor, Progress
from models.counts.generator import CountGenerator, TrainingSet

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from torch import Tensor

WARM_UP = 0.5
"""Share of the budget over which the weight of the KL term rises from 0 to 1."""
LOG_EVERY = 20
MOST_COMPONENTS = 10
"""Of a type's mixture of latent vectors."""


class ScVI(CountGenerator):
    """SCVI of scvi-tools, trained by scvi-tools, and sampled as a generative model.

    The cells' types are SCVI's batches, so that its decoder is told the type and its encoder is not. A cell
    is a latent vector from the prior, a library size from its type's mixture of log-normals, and counts drawn
    from SCVI's own likelihood (``px.sample()``). What several benchmarks call generation by scVI, decoding
    the posterior of training cells, is reconstruction and is not here.

    The weight of the KL term rises over the first half of the budget; scvi-tools' own default, over 400
    epochs, would leave short trainings without a prior to draw from. An interrupted training starts anew.

    Lopez et al., Nat. Methods 15 (2018), 1053; the hyper-parameters' defaults are those of scvi-tools 1.4.

    Parameters
    ----------
    prior
        Source of latent vectors: ``"normal"``, N(0, I), on which SCVI is trained; or ``"mixture"``, for each
        type a mixture of Gaussians fitted to draws from its training cells' posteriors.
    n_latent, n_hidden, n_layers
        Widths and depth of the networks.
    gene_likelihood
        ``"zinb"``, ``"nb"`` or ``"poisson"``.
    batch_size, learning_rate
        Cells in a batch, and learning rate.
    """

    name = "scvi"
    framework = "scvi-tools"
    licence = "BSD-3-Clause"
    paper = "doi:10.1038/s41592-018-0229-2"
    default_budgets: ClassVar[dict[str, str]] = {
        "smoke": "4epochs",
        "quick": "40epochs",
        "paper": "400epochs",
    }

    def __init__(
        self,
        *,
        prior: Literal["normal", "mixture"] = "normal",
        n_latent: int = 10,
        n_hidden: int = 128,
        n_layers: int = 1,
        gene_likelihood: Literal["zinb", "nb", "poisson"] = "zinb",
        batch_size: int = 128,
        learning_rate: float = 1e-3,
    ) -> None:
        sizes = {"n_latent": n_latent, "n_hidden": n_hidden, "n_layers": n_layers, "batch_size": batch_size}
        for name, size in sizes.items():
            if size < 1:
                raise GeneratorError(f"{name} is {size}; give at least 1")
        self.prior, self.gene_likelihood = prior, gene_likelihood
        self.n_latent, self.n_hidden, self.n_layers = n_latent, n_hidden, n_layers
        self.batch_size, self.learning_rate = batch_size, learning_rate

    @classmethod
    def missing(cls) -> str | None:
        """Return how to install scvi-tools where it is not."""
        if find_spec("scvi") is None:
            return "scvi-tools is not installed: pip install 'scgenbench[scvi]', or '.[scvi]' in a checkout"
        return None

    @classmethod
    def skip(cls, train: AnnData) -> str | None:
        """Return how to install scvi-tools where it is not; a reason if there are fewer than two cells."""
        return cls.missing() or ("fewer than two training cells" if train.n_obs < 2 else None)

    def prepare(self, train: AnnData) -> None:
        """Import scvi-tools (several seconds)."""
        import scvi  # noqa: F401
        import sklearn.mixture  # noqa: F401

    def _learn(self, train: TrainingSet, *, seed: int, device: str, budget: Budget, monitor: Monitor) -> None:
        import numpy as np
        import torch
        from anndata import AnnData
        from scvi.model import SCVI

        from models.baselines.shared import library_sizes
        from models.counts.libraries import LibrarySizes
        from models.counts.mixtures import TypeMixtures

        cells = AnnData(train.counts)
        cells.obs["type"] = train.types.astype(str)
        cells.obs["type"] = (
            cells.obs["type"]
            .astype("category")
            .cat.set_categories([str(code) for code in range(train.n_types)])
        )
        sizes = library_sizes(train.counts)
        self._libraries = LibrarySizes.fit(sizes, train.types, n_types=train.n_types, seed=seed)
        with _seeded(seed, device):
            SCVI.setup_anndata(cells, batch_key="type")
            model = SCVI(
                cells,
                n_latent=self.n_latent,
                n_hidden=self.n_hidden,
                n_layers=self.n_layers,
                gene_likelihood=self.gene_likelihood,
            )
            _train(self, model, budget=budget, monitor=monitor, device=device)
            self._module = model.module.eval()
            for name, tensor in self._module.state_dict().items():
                if not torch.isfinite(tensor).all():
                    raise Diverged(f"{name} holds NaN or infinite values; lower the learning rate")
            self._prior = None
            if self.prior == "mixture":
                codes = np.asarray(model.get_latent_representation(cells, give_mean=False))
                self._prior = TypeMixtures.fit(
                    codes, train.types, n_types=train.n_types, most_components=MOST_COMPONENTS, seed=seed
                )

    def _tensors(self) -> dict[str, Tensor]:
        parts = {
            "libraries": self._libraries.mixtures.tensors(),
            "module": self._module.state_dict(),
            "prior": self._prior.tensors() if self._prior is not None else {},
        }
        return {f"{part}.{name}": tensor for part, of in parts.items() for name, tensor in of.items()}

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        from scvi.module import VAE

        from models.counts.libraries import LibrarySizes
        from models.counts.mixtures import TypeMixtures
        from models.counts.training import under

        self._libraries = LibrarySizes(TypeMixtures(**under(tensors, "libraries.")))
        prior = under(tensors, "prior.")
        self._prior = TypeMixtures(**prior) if prior else None
        self._module = VAE(
            n_input=len(self.facts["genes"]),
            n_batch=len(self.facts["cell_types"]),
            n_latent=self.n_latent,
            n_hidden=self.n_hidden,
            n_layers=self.n_layers,
            gene_likelihood=self.gene_likelihood,
        ).to(self._device)
        self._module.load_state_dict(under(tensors, "module."))
        self._module.eval()

    def _draw(self, types: Tensor, *, generator: torch.Generator) -> Tensor:
        import torch

        if self._prior is None:
            codes = torch.randn((len(types), self.n_latent), generator=generator, device=types.device)
        else:
            codes = self._prior.draw(types, generator=generator)
        library = self._libraries.draw_log(types, generator=generator)[:, None]
        # scvi-tools draws from PyTorch's own generator.
        seed = int(torch.randint(2**31, (1,), generator=generator, device=types.device))
        with _seeded(seed, self._device):
            px = self._module.generative(z=codes, library=library, batch_index=types[:, None])["px"]
            return px.sample()


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Seed PyTorch's and NumPy's own generators, which scvi-tools draws from, and put them back."""
    import numpy as np
    import torch

    state = np.random.get_state()  # noqa: NPY002 - scvi-tools draws from it
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - as above
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002 - as above


def _train(settings: ScVI, model: Any, *, budget: Budget, monitor: Monitor, device: str) -> None:
    """Have scvi-tools train its model, told by a callback how far the budget is used and when to stop."""
    from lightning.pytorch.callbacks import Callback

    from models.activa.cells import batches_per_epoch

    n_cells = model.adata.n_obs
    progress = Progress(budget, batches_per_epoch(n_cells, settings.batch_size))

    class Watch(Callback):  # type: ignore[misc]
        def on_train_batch_start(self, trainer: Any, plan: Any, *_: Any) -> None:
            plan.max_kl_weight = min(1.0, progress.fraction / WARM_UP)

        def on_train_batch_end(self, trainer: Any, plan: Any, outputs: Any, *_: Any) -> None:
            progress.steps += 1
            loss = float(outputs["loss"])
            if loss != loss:
                raise Diverged(f"the loss is {loss} at step {progress.steps}; lower the learning rate")
            monitor.advance(progress.fraction)
            if progress.steps % LOG_EVERY == 1:
                monitor.log(progress.steps, loss=loss, kl_weight=plan.max_kl_weight)
            trainer.should_stop = progress.finished

    with monitor.phase("train"):
        model.train(
            # The callback ends it.
            max_epochs=10**6,
            accelerator="gpu" if device.startswith("cuda") else "cpu",
            devices=1,
            train_size=1.0,
            # Shuffled by a seed of scvi-tools' own it would be; every cell is for training.
            shuffle_set_split=False,
            batch_size=settings.batch_size,
            datasplitter_kwargs={"drop_last": n_cells % settings.batch_size == 1 and n_cells > 1},
            plan_kwargs={
                "lr": settings.learning_rate,
                "n_epochs_kl_warmup": None,
                "max_kl_weight": 0.0,
            },
            callbacks=[Watch()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
