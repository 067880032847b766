"""Who carries out the Jobs of a run: this machine, a Dask cluster, or Slurm."""

from __future__ import annotations

from dataclasses import dataclass

from bench.progress import Progress
from bench.request.resources import DEFAULTS, Requested
from bench.request.sharing import Sharing
from bench.results.run_folder import RunFolder
from bench.work.cluster import require_scheduler, run_jobs_on
from bench.work.executor import run_jobs
from bench.work.slurm import SLURM, require_slurm, run_jobs_on_slurm


@dataclass(frozen=True)
class Hands:
    """Who carries out the Jobs of a run.

    Attributes
    ----------
    scheduler
        Address of a Dask cluster, or ``slurm``; None for this machine.
    resources
        Resources that the Jobs ask a cluster for.
    sharing
        How Jobs share this machine; None for what the run's request says.
    """

    scheduler: str | None = None
    resources: Requested = DEFAULTS
    sharing: Sharing | None = None

    def require(self) -> None:
        """Raise a RequestError if there is no such scheduler: before anything is written."""
        if self.scheduler == SLURM:
            require_slurm()
        elif self.scheduler is not None:
            require_scheduler(self.scheduler)

    def run_jobs(self, run: RunFolder, progress: Progress) -> None:
        """Run every Job of a run that has not ended well yet."""
        spec, jobs = run.read_spec(), run.jobs()
        self.resources.require_for(jobs)
        if self.scheduler == SLURM:
            run_jobs_on_slurm(self.resources, run, jobs, timeout=spec.timeout, progress=progress)
        elif self.scheduler is not None:
            run_jobs_on(self.scheduler, self.resources, run, jobs, progress=progress)
        else:
            run_jobs(run, jobs, timeout=spec.timeout, progress=progress, sharing=self.sharing)


HERE = Hands()
