"""What scores are computed from: the evidence of a run's real and stored cells, one of each at a time."""

from __future__ import annotations

import hashlib
import json
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.request.plan import Experiment, Job
from bench.request.seeds import derive
from bench.results.records import versions
from bench.results.run_folder import RunFolder, named_if_damaged
from bench.work.worker import training_cells
from datasets.cache import sha256_of
from datasets.code import imported_with, meaning_of
from metrics.protocols import Protocol
from metrics.shared_cost import EVIDENCE
from reports.view import AugmenterScore

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from metrics.augmentation import AugmentationSetting
    from metrics.declaration import Metric, Score
    from metrics.evidence import RealEvidence, SampleEvidence
    from metrics.synthetic_cells import SyntheticCells

METRICS_SEED = derive(0, "metrics")
"""The metrics' branch of the seed tree: the same test cells for every run on a data set."""


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
        self.wanted_cells = run.read_spec().cells is not None
        self._real: tuple[tuple[Any, ...], RealEvidence] | None = None
        self._sample: tuple[tuple[Any, ...], SampleEvidence] | None = None

    @cached_property
    def adata(self) -> AnnData:
        """Counts and labels of the run's data set; its normalised matrix is not read."""
        import anndata
        import h5py

        with named_if_damaged(self.run.dataset, "start a new run"), h5py.File(self.run.dataset) as file:
            parts = {name: anndata.io.read_elem(file[name]) for name in ("obs", "var", "layers/counts")}
        return anndata.AnnData(obs=parts["obs"], var=parts["var"], layers={"counts": parts["layers/counts"]})

    def compute(self, metric: Metric, job: Job, sample_seed: int, protocol: Protocol) -> tuple[Score, int]:
        """Compute one score; return it with the number of cells a side that it rests on.

        Raises
        ------
        NotApplicable
            If the metric does not score this Job, or cannot.
        """
        from metrics.declaration import NotApplicable

        if job.model in metric.exempt:
            raise NotApplicable("exempt: how this control draws decides the answer")
        if job.experiment.kind == "augmentation":
            with EVIDENCE.running():
                setting, cells = self.setting(job.experiment), self._stored(job, sample_seed)
            return metric.compute(setting, cells), job.n_cells
        with EVIDENCE.running():
            real = self.real(job, sample_seed, protocol)
            sample = self.sample(job, sample_seed, real)
        return metric.compute(real, sample), real.n_cells

    def real(self, job: Job, sample_seed: int, protocol: Protocol) -> RealEvidence:
        """Return the real cells that a Job's sample is compared with under a protocol.

        They are equally many for all models and controls, though one half of the test split may be fewer than
        the protocol or the request asks for.
        """
        from metrics.evidence import RealEvidence

        side = real_side(job, sample_seed, protocol)
        n_cells = protocol.in_reach_of_control(
            cells_a_side(job, protocol, wanted=self.wanted_cells),
            n_test=int((self.adata.obs["split"] == "test").sum()),
        )
        wanted = (protocol.name, n_cells, side)
        if self._real is None or self._real[0] != wanted:
            # Let go first: two would be there at once.
            self._real = self._sample = None
            evidence = RealEvidence.from_adata(
                self.adata,
                test=self._test_mask(side),
                n_cells=n_cells,
                seed=METRICS_SEED,
                protocol=protocol.name,
                cache_folder=evidence_folder(),
            )
            self._real = (wanted, evidence)
        return self._real[1]

    def sample(self, job: Job, sample_seed: int, real: RealEvidence) -> SampleEvidence:
        """Return the evidence of a Job's stored cells beside those real ones."""
        from metrics.evidence import SampleEvidence

        wanted = (job.key, sample_seed, real.protocol.name)
        if self._sample is None or self._sample[0] != wanted:
            self._sample = None
            side = real_side(job, sample_seed, real.protocol)
            cells = self._stored(job, sample_seed) if side[0] != "halves" else self._second_half(side)
            evidence = SampleEvidence(real, cells.matrix, space=cells.space, cell_types=cells.cell_types)
            self._sample = (wanted, evidence)
        return self._sample[1]

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

    def baselines(self, experiment: Experiment) -> tuple[AugmenterScore, ...]:
        """Score no augmentation and the cheap augmenters in one augmentation experiment."""
        from metrics.augmentation import augmentation_baselines
        from metrics.declaration import NotApplicable

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

    def _test_mask(self, side: tuple[str, int]) -> NDArray[np.bool_] | None:
        if side[0] == "test":
            return None
        if side[0] == "null":
            return np.asarray(self.adata.obs["null_half"] == 1)
        return self._halves(side[1]) == 1

    def _halves(self, seed: int) -> NDArray[np.int8]:
        """Return 1 and 2 for two random halves of the test cells, 0 for all other cells."""
        cells = np.random.default_rng(seed).permutation(np.flatnonzero(self.adata.obs["split"] == "test"))
        halves, size = np.zeros(self.adata.n_obs, dtype=np.int8), len(cells) // 2
        halves[cells[:size]], halves[cells[size : 2 * size]] = 1, 2
        return halves

    def _second_half(self, side: tuple[str, int]) -> SyntheticCells:
        from metrics.synthetic_cells import SyntheticCells

        rows = np.flatnonzero(self._halves(side[1]) == 2)
        types = self.adata.obs["cell_type"].to_numpy(dtype=str)[rows]
        return SyntheticCells(self.adata.layers["counts"][rows], space="counts", cell_types=types)


def cells_a_side(job: Job, protocol: Protocol, *, wanted: bool) -> int:
    """Return how many of a Job's cells are asked for under a protocol.

    Parameters
    ----------
    job, protocol
        What is scored, and how.
    wanted
        Whether the request gave a number of cells: then it holds for every protocol.
    """
    every_cell = wanted or job.experiment.kind == "augmentation"
    return job.n_cells if every_cell else protocol.cells_a_side(job.n_cells)


def real_side(job: Job, sample_seed: int, protocol: Protocol) -> tuple[str, int]:
    """Say which real cells stand as test cells for a Job, and the seed that chooses them.

    ``test``: the test split. ``null``: the half of the control pool that the control ``null`` does not draw
    from. ``halves``: one half of the test split, for the control ``real`` of a protocol that compares it
    with the other half; a split of its own for each seed, so that seeds differ as models' do.
    """
    if job.role == "null":
        return "null", 0
    if job.role == "ceiling" and protocol.control == "test_halves":
        return "halves", derive(job.seed, "test halves", sample_seed)
    return "test", 0
