"""What scores are computed from: the evidence of a run's real and stored cells, one of each at a time."""

from __future__ import annotations

import hashlib
import json
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.request.plan import Experiment, Job
from bench.request.scored import MOST_SCORED, scored_rows
from bench.results.files import named_if_damaged
from bench.results.records import versions
from bench.results.run_folder import RunFolder
from bench.scoring.comparison import METRICS_SEED, Comparison
from bench.work.training import training_cells
from datasets.cache import sha256_of
from datasets.code import imported_with, meaning_of
from metrics.declaration import NotApplicable
from metrics.shared_cost import EVIDENCE
from reports.view import AugmenterScore

if TYPE_CHECKING:
    from anndata import AnnData

    from metrics.augmentation import AugmentationSetting
    from metrics.declaration import Metric, Score
    from metrics.donor_attack import DonorSetting
    from metrics.evidence import RealEvidence, SampleEvidence
    from metrics.synthetic_cells import SyntheticCells


@cache
def metrics_code(*modules: str) -> str:
    """Hash of modules of the package `metrics`, of what metrics look at, and of what these import."""
    import metrics

    home = Path(metrics.__path__[0])
    files = {file for name in (*modules, "evidence") for file in imported_with(home / f"{name}.py")}
    return meaning_of(sorted(files))


MOST_EVIDENCE_BYTES = 2 * 1024**3
"""What may be kept of real cells, over all data sets, protocols and versions."""


def evidence_folder() -> Path:
    """Return where what was computed of real cells is kept, for this version of metrics and libraries.

    Once there is too much of it, what was used the longest ago is deleted.
    """
    from datasets import cache_folder
    from metrics.evidence_cache import remove_least_recently_used

    folder = cache_folder() / "evidence"
    remove_least_recently_used(folder, most_bytes=MOST_EVIDENCE_BYTES)
    text = json.dumps([metrics_code(), versions()], sort_keys=True)
    return folder / hashlib.sha256(text.encode()).hexdigest()[:16]


class Scorer:
    """Holds what many scores of one run share.

    Only the latest evidence of either side is kept: scores are asked for protocol by protocol and Job by
    Job, and memory must not grow with their number.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._real: tuple[Comparison, RealEvidence] | None = None
        self._sample: tuple[tuple[str, int, Comparison], SampleEvidence] | None = None

    @cached_property
    def leaves_out_training_cells(self) -> bool:
        """Whether scores look at some of the training cells only."""
        n_train, _ = self.run.read_request()["train_shape"]
        return bool(n_train > MOST_SCORED["train"])

    @cached_property
    def adata(self) -> AnnData:
        """Counts and labels of the prepared cells that scores look at."""
        from anndata import AnnData

        from datasets.stored import opened, rows_of

        with named_if_damaged(self.run.dataset, "start a new run"), opened(self.run.dataset) as cells:
            rows = scored_rows(cells.obs)
            counts = rows_of(cells, np.flatnonzero(rows))
        return AnnData(obs=cells.obs[rows], var=cells.var, layers={"counts": counts})

    def compute(self, metric: Metric, job: Job, sample_seed: int, comparison: Comparison) -> Score:
        """Compute one score.

        Raises
        ------
        NotApplicable
            If the metric does not score this Job, or cannot.
        """
        if job.model in metric.exempt:
            raise NotApplicable("exempt: how this control draws decides the answer")
        if metric.group == "memorisation" and self.leaves_out_training_cells:
            # A copy of one that is left out would pass for a new cell.
            raise NotApplicable("compares with each training cell, and scores look at a sample of them")
        with EVIDENCE.running():
            settings = {"augmentation": self.setting, "donors": self.donors}
            if (setting := settings.get(job.experiment.kind)) is not None:
                cells: tuple[Any, Any] = setting(job.experiment), self._stored(job, sample_seed)
            else:
                cells = self.evidence(job, sample_seed, comparison)
        return metric.compute(*cells)

    def evidence(
        self, job: Job, sample_seed: int, comparison: Comparison
    ) -> tuple[RealEvidence, SampleEvidence]:
        """Return the real cells of a comparison, and beside them those that a Job has stored."""
        from metrics.evidence import SampleEvidence

        real, wanted = self.real(comparison), (job.key, sample_seed, comparison)
        if self._sample is None or self._sample[0] != wanted:
            self._sample = None
            halves = comparison.real == "halves"
            cells = self._other_half(comparison) if halves else self._stored(job, sample_seed)
            evidence = SampleEvidence(real, cells.matrix, space=cells.space, cell_types=cells.cell_types)
            self._sample = (wanted, evidence)
        return real, self._sample[1]

    def real(self, comparison: Comparison) -> RealEvidence:
        """Return the real cells of a comparison."""
        from metrics.evidence import RealEvidence

        if self._real is None or self._real[0] != comparison:
            # Let go first: two would be there at once.
            self._real = self._sample = None
            evidence = RealEvidence.from_adata(
                self.adata,
                test=comparison.test_cells(self.adata.obs),
                n_cells=comparison.n_cells,
                seed=METRICS_SEED,
                protocol=comparison.protocol.name,
                cache_folder=evidence_folder(),
            )
            self._real = (comparison, evidence)
        return self._real[1]

    @lru_cache(maxsize=1)  # noqa: B019 - one experiment's cells are enough
    def setting(self, experiment: Experiment) -> AugmentationSetting:
        """The augmentation experiment's cells: what is left of the training cells, and the test cells."""
        from metrics.augmentation import AugmentationSetting

        train = training_cells(experiment, self.adata)
        test = self.adata[self.adata.obs["split"] == "test"]
        return AugmentationSetting(
            train_counts=train.layers["counts"],
            train_types=train.obs["cell_type"].to_numpy(dtype=str),
            test_counts=test.layers["counts"],
            test_types=test.obs["cell_type"].to_numpy(dtype=str),
            cell_type=str(experiment.cell_type),
            seed=METRICS_SEED,
        )

    @lru_cache(maxsize=1)  # noqa: B019 - as above
    def donors(self, experiment: Experiment) -> DonorSetting:
        """The attack on donors: training cells of those that the attacker knows, and of those in question."""
        from metrics.donor_attack import DonorSetting

        train = self.adata[self.adata.obs["split"] == "train"]
        donors = train.obs["donor"].to_numpy(dtype=str)
        types, counts = train.obs["cell_type"].to_numpy(dtype=str), train.layers["counts"]
        known = np.isin(donors, experiment.reference_donors)
        asked = np.isin(donors, [*experiment.trained_donors, *experiment.left_out_donors])
        return DonorSetting(
            reference_counts=counts[np.flatnonzero(known)],
            reference_types=types[known],
            candidate_counts=counts[np.flatnonzero(asked)],
            candidate_types=types[asked],
            candidate_donors=donors[asked],
            trained_donors=frozenset(experiment.trained_donors),
            seed=METRICS_SEED,
        )

    def baselines(self, experiment: Experiment) -> tuple[AugmenterScore, ...]:
        """Score no augmentation and the cheap augmenters in one augmentation experiment."""
        from metrics.augmentation import augmentation_baselines

        facts = {name: getattr(experiment, name) for name in ("cell_type", "fraction", "subsample_seed")}
        try:
            scores = augmentation_baselines(self.setting(experiment), n_added=experiment.added_cells or 0)
        except NotApplicable:
            # The same reason stands beside the models' own scores.
            return ()
        return tuple(
            AugmenterScore.model_validate(facts | {"augmenter": name, "values": score.values})
            for name, score in scores.items()
        )

    def _stored(self, job: Job, sample_seed: int) -> SyntheticCells:
        import anndata

        from metrics.synthetic_cells import SyntheticCells

        folder = self.run.job_folder(job)
        path, checksum = folder.cells(sample_seed), folder.cells_checksum(sample_seed)
        with named_if_damaged(path, "bench run --resume draws it again"):
            if checksum not in (None, sha256_of(path)):
                raise ValueError("its checksum is not that of the cells as they were drawn")
            cells = anndata.read_h5ad(path)
            types = cells.obs["cell_type"].to_numpy(dtype=str) if "cell_type" in cells.obs else None
            return SyntheticCells(cells.X, space=cells.uns["bench"]["space"], cell_types=types)

    def _other_half(self, comparison: Comparison) -> SyntheticCells:
        from metrics.synthetic_cells import SyntheticCells

        rows = comparison.other_half(self.adata.obs)
        types = self.adata.obs["cell_type"].to_numpy(dtype=str)[rows]
        return SyntheticCells(self.adata.layers["counts"][rows], space="counts", cell_types=types)
