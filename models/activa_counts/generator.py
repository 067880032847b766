"""The count ACTIVA as a generator of the harness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from models.activa_counts.settings import Settings
from models.base import AUTO, Budget, Monitor, Settled
from models.counts.generator import BLOCK, CountGenerator, TrainingSet
from models.precision import Precision, settle_precision
from models.streaming import row_sums

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from torch import Tensor

    from models.counts.marginals import ImposedMarginals


class ActivaCounts(CountGenerator):
    """ACTIVA over counts: the paper's own future work (sections 3.1, 5.3, 6).

    The generator's output is a distribution: negative-binomial counts whose means are a softmax over genes
    times the cell's library size, with a dispersion for each gene and type. Cells are drawn from what the
    encoder has learnt: each type has a mixture of Gaussians over latent vector and library size. What a
    random forest sees first is then right by construction: counts are mapped, through their randomised
    ranks, to the training cells' smoothed marginals (see `models.counts.marginals`).

    A sample needs no training cell: networks, mixtures and marginals are all that is stored.

    Phases of `fit`: ``classifier`` (only where the conditioner has a weight), ``networks``, ``prior``,
    ``marginals``. The networks take the whole budget, or four fifths of one in seconds; the two last phases
    come on top, and take as long as the data ask for.

    Parameters
    ----------
    latent_dim, hidden_sizes, batch_size, learning_rate, weight_kl, weight_conditioning, weight_adversarial
        See `models.activa_counts.settings.Settings`.
    margin, most_components, marginal_draws, prior_cells, strata, stratum_cells, precision
        See `models.activa_counts.settings.Settings`.

    Raises
    ------
    GeneratorError
        If a hyper-parameter lies outside its range.
    """

    name: ClassVar[str] = "activa_counts"
    streams: ClassVar[bool] = True
    paper: ClassVar[str] = "doi:10.1093/bioinformatics/btac095"
    settled_by: ClassVar[tuple[str, ...]] = ("precision", "hidden_sizes", "batch_size")
    default_budgets: ClassVar[dict[str, str]] = {
        "smoke": "2epochs",
        "quick": "40epochs",
        "paper": "40epochs",
    }

    def __init__(
        self,
        *,
        latent_dim: int = Settings.latent_dim,
        hidden_sizes: tuple[int, ...] = Settings.hidden_sizes,
        batch_size: int = Settings.batch_size,
        learning_rate: float = Settings.learning_rate,
        weight_kl: float = Settings.weight_kl,
        weight_conditioning: float = Settings.weight_conditioning,
        weight_adversarial: float = Settings.weight_adversarial,
        margin: float = Settings.margin,
        most_components: int = Settings.most_components,
        marginal_draws: int = Settings.marginal_draws,
        prior_cells: float = Settings.prior_cells,
        strata: int = Settings.strata,
        stratum_cells: int = Settings.stratum_cells,
        precision: Precision = Settings.precision,
    ) -> None:
        self.settings = Settings(
            latent_dim=latent_dim,
            hidden_sizes=hidden_sizes,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_kl=weight_kl,
            weight_conditioning=weight_conditioning,
            weight_adversarial=weight_adversarial,
            margin=margin,
            most_components=most_components,
            marginal_draws=marginal_draws,
            prior_cells=prior_cells,
            strata=strata,
            stratum_cells=stratum_cells,
            precision=precision,
        )

    def hyperparameters(self) -> dict[str, Any]:
        """Return what the constructor takes."""
        return vars(self.settings).copy()

    @classmethod
    def skip(cls, train: AnnData) -> str | None:
        """Return a reason if there are fewer than two cells, or a cell without a type."""
        if train.n_obs < 2:
            return "fewer than two training cells"
        if train.obs["cell_type"].isna().any():
            return "some training cells have no type"
        return None

    @classmethod
    def settle(cls, settings: Mapping[str, Any], *, n_genes: int, device: str) -> dict[str, Settled]:
        """Choose the precision of the hidden layers' products; see `Generator.settle`."""
        if settings["precision"] != AUTO:
            return {}
        hidden = tuple(settings["hidden_sizes"])
        found = settle_precision(
            AUTO, rows=settings["batch_size"], widest=[(hidden[0], n_genes)], device=device
        )
        return {"precision": found}

    def prepare(self, train: AnnData) -> None:
        """Import PyTorch and scikit-learn, with all that they import when first put to work."""
        import sklearn.mixture  # noqa: F401
        import torch._dynamo  # noqa: F401

        import models.activa_counts.training  # noqa: F401

    def _learn(self, train: TrainingSet, *, seed: int, device: str, budget: Budget, monitor: Monitor) -> None:
        from models.activa_counts import prior, training

        seeds = [int(child) for child in np.random.SeedSequence(seed).generate_state(3)]
        learnt = training.train(
            self.settings, train, seed=seeds[0], device=device, budget=budget, monitor=monitor
        )
        self._networks = learnt.networks
        with monitor.phase("prior"):
            self._prior = prior.fit(learnt, train, self.settings, seed=seeds[1])
        self._marginals = None
        if self.settings.marginal_draws:
            with monitor.phase("marginals"):
                self._marginals = self._learn_marginals(train, seed=seeds[2])

    def _learn_marginals(self, train: TrainingSet, *, seed: int) -> ImposedMarginals:
        import torch

        from models.counts.marginals import ImposedMarginals

        generator = torch.Generator(self._device).manual_seed(seed)
        log_library = np.log(np.maximum(row_sums(train.counts), 1))
        groups = self._prior.groups(
            torch.tensor(train.types, device=self._device),
            torch.tensor(log_library, dtype=torch.float32, device=self._device),
        )
        found = ImposedMarginals.fit(
            self._draws(train.n_types, generator),
            train.counts,
            groups.cpu().numpy(),
            n_groups=self._prior.n_groups,
            prior_cells=self.settings.prior_cells,
        )
        return found.to(self._device)

    def _draws(self, n_types: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield blocks of the networks' own counts, and their groups."""
        import torch

        n_cells = self.settings.marginal_draws * self._prior.strata_of_types()
        types = torch.arange(n_types, device=self._device).repeat_interleave(n_cells)
        with torch.inference_mode():
            for block in types.split(BLOCK):
                yield self._own(block, generator=generator)

    def _own(self, types: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw counts as the networks have them, and the groups that their marginals belong to."""
        from models.counts.likelihood import draw_nb

        log_mean, log_dispersion, groups = self._parameters(types, generator=generator)
        return draw_nb(log_mean, log_dispersion, generator=generator), groups

    def _parameters(self, types: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw cells' log means and log inverse dispersions, n_cells × n_genes, and their groups."""
        latent, log_library = self._prior.draw(types, generator=generator)
        shares = self._networks.log_shares(latent, self._networks.standardised(log_library))
        log_dispersion = self._networks.decoder.log_dispersion(types)
        return shares + log_library[:, None], log_dispersion, self._prior.groups(types, log_library)

    def _draw(self, types: Tensor, *, generator: torch.Generator) -> Tensor:
        from models.counts.likelihood import draw_entries

        if self._marginals is None:
            return self._own(types, generator=generator)[0]
        log_mean, log_dispersion, groups = self._parameters(types, generator=generator)
        drawn = draw_entries(
            log_mean, log_dispersion, generator=generator, stays_zero=self._marginals.stays_zero(groups)
        )
        return self._marginals.impose(drawn, groups)

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"networks.{name}": tensor for name, tensor in self._networks.state_dict().items()}
        tensors |= {f"prior.{name}": tensor for name, tensor in self._prior.tensors().items()}
        if self._marginals is not None:
            tensors |= {f"marginals.{name}": tensor for name, tensor in self._marginals.tensors().items()}
        return tensors

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        from models.activa_counts.objective import Networks
        from models.activa_counts.prior import Prior
        from models.counts.marginals import ImposedMarginals
        from models.counts.training import under

        genes, types = self.facts["genes"], self.facts["cell_types"]
        self._networks = Networks(self.settings, n_genes=len(genes), n_types=len(types)).to(self._device)
        self._networks.load_state_dict(under(tensors, "networks."))
        self._networks.eval().requires_grad_(False)
        self._prior = Prior(**under(tensors, "prior."))
        marginals = under(tensors, "marginals.")
        self._marginals = ImposedMarginals(**marginals) if marginals else None
