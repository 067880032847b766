"""Negative-binomial autoencoder whose codes a flow draws, type by type: the idea of CFGen (Palma 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from models.base import Budget, GeneratorError, Monitor
from models.counts.generator import CountGenerator, TrainingSet

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from torch import Tensor

FIRST_STAGE = 0.7
"""Share of the budget that the autoencoder gets."""
MOST_GRADIENT = 1.0
AT_LEAST_ONE = "latent_dim", "flow_width", "flow_blocks", "solver_steps", "batch_size"
FASTER = 30
"""Times the learning rate of the networks that dispersions learn at."""


class LatentFlow(CountGenerator):
    """Counts decoded from codes that a flow carries from noise, given the type.

    First stage: an autoencoder of log1p of the counts, n_genes → 512 → 256 → 50 and back, with BatchNorm; the
    decoder gives each gene's share of the cell's counts, and counts are negative binomial around share ×
    library size, with an inverse dispersion for each gene and type (exp of a parameter whose gene's part
    starts from N(0, 1), learning 30 times as fast as the networks); there is no KL term. Second stage: the
    codes of the training cells, each dimension scaled to mean 0 and variance 1, are what a flow leads to from
    N(0, I): flow matching on straight paths, x_t = (1 − t) x₀ + t x₁ + σ ε with σ = 1e-4, times in antithetic
    pairs t and 1 − t. The velocity is a residual MLP that is told the time (sinusoidal), the log library size
    and the type, which is left out for a fifth of the cells. A cell is drawn from its type's mixture of
    log-normal library sizes (the source: one log-normal a type) by solving the flow's equation from noise, in
    equal steps of the classical Runge–Kutta method, decoding, and drawing counts.

    Constants are the source's, but for the flow's width and learning rate (32 in its small setting, and 1e-4,
    are for budgets many times ours), shares that start at the mean ones, learning rates that fall to 0 over
    each stage as a cosine, the pace of the dispersions, and the frequencies that embed the time: they are low
    enough for twenty steps to give the codes of an adaptive solver (dopri5 at 1e-5) to 1e-3.

    Parameters
    ----------
    latent_dim, hidden_sizes
        Width of a code; widths of the encoder's hidden layers, which the decoder has in reverse.
    flow_width, flow_blocks
        Width and number of the velocity's residual blocks.
    coupling
        Noise that a code is paired with in training: ``"independent"``, as in the source, or ``"ot"``: the
        pairing of the batch's cells of a type whose squared distances sum to least (Tong et al. 2024,
        arXiv:2302.00482).
    guidance
        Weight w of the type in sampling: v = v₀ + w (v_type − v₀), with v₀ the velocity without type; 1 is
        v_type.
    solver_steps
        Runge–Kutta steps from noise to code, four evaluations each.
    batch_size, learning_rate, flow_learning_rate
        Cells in a batch; learning rates of the autoencoder and of the flow: AdamW with weight decay 1e-5, and
        1e-6 for the flow.

    Raises
    ------
    GeneratorError
        If a size is below 1.
    """

    name = "latent_flow"
    streams = True
    paper = "arXiv:2407.11734"
    default_budgets: ClassVar[dict[str, str]] = {
        "smoke": "4epochs",
        "quick": "60epochs",
        "paper": "430epochs",
    }

    def __init__(
        self,
        *,
        latent_dim: int = 50,
        hidden_sizes: tuple[int, ...] = (512, 256),
        flow_width: int = 128,
        flow_blocks: int = 3,
        coupling: Literal["independent", "ot"] = "independent",
        guidance: float = 1.0,
        solver_steps: int = 20,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        flow_learning_rate: float = 1e-3,
    ) -> None:
        self.latent_dim, self.hidden_sizes = latent_dim, tuple(hidden_sizes)
        self.flow_width, self.flow_blocks, self.coupling = flow_width, flow_blocks, coupling
        self.guidance, self.solver_steps, self.batch_size = guidance, solver_steps, batch_size
        self.learning_rate, self.flow_learning_rate = learning_rate, flow_learning_rate
        sizes = {name: getattr(self, name) for name in AT_LEAST_ONE}
        sizes["hidden_sizes"] = min(hidden_sizes, default=0)
        for name, size in sizes.items():
            if size < 1:
                raise GeneratorError(f"{name} is {size}; give at least 1")

    @classmethod
    def skip(cls, train: AnnData) -> str | None:
        """Return a reason if there are fewer than two cells: BatchNorm has nothing to norm by."""
        return "fewer than two training cells" if train.n_obs < 2 else None

    def prepare(self, train: AnnData) -> None:
        """Import PyTorch, the networks and the mixture's library."""
        import sklearn.mixture  # noqa: F401

        import models.counts.flow
        import models.counts.training  # noqa: F401

    def _networks(self, n_genes: int, n_types: int) -> Any:
        from torch import nn

        from models.counts.flow import VelocityNetwork
        from models.counts.networks import CountDecoder, hidden_layers

        hidden, norm = self.hidden_sizes, nn.BatchNorm1d
        encoder = hidden_layers([n_genes, *hidden], norm=norm).append(nn.Linear(hidden[-1], self.latent_dim))
        decoder = CountDecoder(self.latent_dim, hidden[::-1], n_genes, n_types=n_types, norm=norm)
        nn.init.normal_(decoder.gene_dispersion)
        velocity = VelocityNetwork(
            self.latent_dim, n_types, width=self.flow_width, n_blocks=self.flow_blocks, n_given=1
        )
        networks = {"encoder": encoder, "decoder": decoder, "velocity": velocity}
        return nn.ModuleDict(networks).to(self._device)

    def _learn(self, train: TrainingSet, *, seed: int, device: str, budget: Budget, monitor: Monitor) -> None:
        import torch

        from models.counts.flow import antithetic_times, matching_loss, paired
        from models.counts.libraries import LibrarySizes
        from models.counts.likelihood import nb_log_likelihood
        from models.counts.training import Trainer
        from models.streaming import column_sums, row_sums

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._net = net = self._networks(train.counts.shape[1], train.n_types)
        sizes = row_sums(train.counts)
        self._libraries = LibrarySizes.fit(sizes, train.types, n_types=train.n_types, seed=seed)
        encoder, decoder, velocity = net["encoder"], net["decoder"], net["velocity"]
        coder, flow = [*encoder.parameters(), *decoder.parameters()], list(velocity.parameters())
        # At the networks' pace shares and dispersions would be thousands of steps on their way.
        totals = torch.tensor(column_sums(train.counts)) + 1
        decoder.output.bias.data = (totals / totals.sum()).log().float().to(device)
        dispersions = [weight for name, weight in decoder.named_parameters() if "dispersion" in name]
        slow = [weight for weight in coder if all(weight is not fast for fast in dispersions)]
        groups: list[Any] = [{"params": slow}, {"params": dispersions, "lr": FASTER * self.learning_rate}]
        optimisers = {
            "coder": torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=1e-5),
            "flow": torch.optim.AdamW(flow, lr=self.flow_learning_rate, weight_decay=1e-6),
        }
        trainer = Trainer(
            net,
            optimisers,
            train.counts,
            train.types,
            batch_size=self.batch_size,
            budget=budget,
            monitor=monitor,
            seed=seed,
            device=torch.device(device),
        )

        rates = {which: [group["lr"] for group in of.param_groups] for which, of in optimisers.items()}
        stages = {"coder": (0.0, FIRST_STAGE), "flow": (FIRST_STAGE, 1.0)}

        def descend(loss: Tensor, which: str, weights: list[torch.nn.Parameter]) -> dict[str, Tensor]:
            begin, end = stages[which]
            share = min(1.0, (trainer.progress.fraction - begin) / (end - begin))
            for group, rate in zip(optimisers[which].param_groups, rates[which], strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * share)) / 2
            optimisers[which].zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, MOST_GRADIENT)
            optimisers[which].step()
            return {f"loss_{which}": loss.detach()}

        def decode_step(batch: Any) -> dict[str, Tensor]:
            log_mean = decoder(encoder(batch.counts.log1p()))
            log_mean = log_mean + batch.counts.sum(dim=1, keepdim=True).clamp_min(1).log()
            fit = nb_log_likelihood(batch.counts, log_mean, decoder.log_dispersion(batch.types))
            return descend(-fit.sum(dim=1).mean(), "coder", coder)

        def flow_step(batch: Any) -> dict[str, Tensor]:
            rows = batch.rows.to(codes.device)
            ends = codes[rows]
            starts = torch.randn(ends.shape, generator=trainer.noise, device=ends.device)
            if self.coupling == "ot":
                starts = paired(starts, ends, batch.types)
            times = antithetic_times(len(ends), generator=trainer.noise, device=ends.device)
            loss = matching_loss(
                velocity, starts, ends, times, batch.types, given[rows], generator=trainer.noise
            )
            return descend(loss, "flow", flow)

        with closing(trainer):
            with monitor.phase("autoencoder"):
                net.train()
                trainer.run(decode_step, until=FIRST_STAGE)
            net.eval()
            with torch.no_grad():
                codes = trainer.cells.of_all(lambda counts: encoder(counts.log1p()), batch_size=1024)
            self._scale = _scale_of(codes, sizes)
            codes = self._scaled(codes, "")
            given = self._scaled(_log_sizes(sizes, codes.device), "log_")
            with monitor.phase("flow"):
                trainer.run(flow_step)

    def _scaled(self, values: Tensor, which: str) -> Tensor:
        """Return values at mean 0 and variance 1 over the training cells."""
        return (values - self._scale[f"{which}mean"]) / self._scale[f"{which}deviation"]

    def _tensors(self) -> dict[str, Tensor]:
        parts = {
            "libraries": self._libraries.mixtures.tensors(),
            "scale": self._scale,
            "networks": self._net.state_dict(),
        }
        return {f"{part}.{name}": tensor for part, of in parts.items() for name, tensor in of.items()}

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        from models.counts.libraries import LibrarySizes
        from models.counts.mixtures import TypeMixtures
        from models.counts.training import under

        self._libraries = LibrarySizes(TypeMixtures(**under(tensors, "libraries.")))
        self._scale = under(tensors, "scale.")
        self._net = self._networks(len(self.facts["genes"]), len(self.facts["cell_types"]))
        self._net.load_state_dict(under(tensors, "networks."))
        self._net.eval()

    def _draw(self, types: Tensor, *, generator: torch.Generator) -> Tensor:
        import torch

        from models.counts.flow import guided, solve
        from models.counts.likelihood import draw_nb

        log_sizes = self._libraries.draw_log(types, generator=generator)[:, None]
        starts = torch.randn((len(types), self.latent_dim), generator=generator, device=types.device)
        given, decoder = self._scaled(log_sizes, "log_"), self._net["decoder"]
        velocity = guided(self._net["velocity"], types, self.guidance, given=given)
        codes = solve(velocity, starts, n_steps=self.solver_steps)
        log_mean = decoder(codes * self._scale["deviation"] + self._scale["mean"]) + log_sizes
        return draw_nb(log_mean, decoder.log_dispersion(types), generator=generator)


def _log_sizes(sizes: NDArray[np.float64], device: torch.device) -> Tensor:
    """Return log library sizes, n_cells × 1; an empty cell counts as one of a single count."""
    import torch

    return torch.tensor(np.log(np.maximum(sizes, 1)), dtype=torch.float32, device=device)[:, None]


def _scale_of(codes: Tensor, sizes: NDArray[np.float64]) -> dict[str, Tensor]:
    """Return mean and deviation, over the training cells, of codes and log library sizes."""
    logs = _log_sizes(sizes, codes.device)
    return {
        "mean": codes.mean(dim=0),
        "deviation": codes.std(dim=0).clamp_min(1e-6),
        "log_mean": logs.mean(dim=0),
        "log_deviation": logs.std(dim=0).clamp_min(1e-6),
    }
