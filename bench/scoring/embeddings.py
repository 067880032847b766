"""Maps of stored cells beside the test cells, kept beside the scores for the figures."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np

from bench.request.plan import Job
from bench.results.run_folder import RunFolder
from bench.scoring.comparison import Comparison
from bench.scoring.scorer import Scorer, metrics_code

MAPPED_ROLES = ("model", "baseline", "ceiling")
UNMAPPABLE = (ArithmeticError, RuntimeError, TypeError, ValueError)
"""What t-SNE, UMAP and the eigenvalue searches beneath them raise of cells that they cannot lay out."""


def store_embeddings(
    run: RunFolder,
    scorer: Scorer,
    *,
    share: int = 0,
    n_shares: int = 1,
    begin: Callable[[str, str], None] = lambda title, phase: None,
) -> None:
    """Compute the maps that are missing or out of date: of each generator's first stored sample.

    The run's first protocol says in which genes and space; controls other than ``real`` get no map. A map
    that cannot be made is a line of output: the scores stand without it. Of so many shares this one is made;
    `begin` is told of which Job a map is begun, and that it is one.
    """
    from metrics.declaration import NotApplicable
    from metrics.embedding import joint_maps

    request, protocol = run.read_request(), run.read_spec().protocol[0]
    for job, sample_seed in _first_samples(run)[share::n_shares]:
        comparison = Comparison.of_job(job, sample_seed, protocol, request=request)
        file = run.job_folder(job).path / f"embedding-{sample_seed}.npz"
        facts = json.dumps([job.key, sample_seed, comparison.protocol.name, metrics_code("embedding")])
        key = hashlib.sha256(facts.encode()).hexdigest()[:16]
        if _stored_key(file) == key:
            continue
        begin(job.title, "map")
        try:
            maps = joint_maps(*scorer.evidence(job, sample_seed, comparison))
        except (NotApplicable, *UNMAPPABLE) as reason:
            print(f"{job.title} no map: {reason}", flush=True)  # noqa: T201
            continue
        temporary = file.with_name(f".{file.stem}.{uuid4().hex}.npz")
        try:
            np.savez_compressed(temporary, **maps, key=np.array(key))  # type: ignore[arg-type]
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


def _first_samples(run: RunFolder) -> list[tuple[Job, int]]:
    found: dict[str, tuple[Job, int]] = {}
    for job in run.jobs():
        first = job.sample_seeds[0]
        wanted = job.experiment.kind == "main" and job.role in MAPPED_ROLES
        if wanted and run.job_folder(job).cells(first).exists():
            found.setdefault(job.model, (job, first))
    return list(found.values())


def _stored_key(file: Path) -> str | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            return str(stored["key"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
