"""New cells from a model that a run has trained: ``bench sample``."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.errors import RequestError, named
from bench.progress import Progress
from bench.request.plan import Job
from bench.request.registry import resolve_model
from bench.request.seeds import derive
from bench.results.cells import write_cells
from bench.results.disk import is_disk_full
from bench.results.records import facts_of_cells
from bench.results.run_folder import RunFolder
from models.base import Generator, GeneratorError

if TYPE_CHECKING:
    from anndata import AnnData


def sample_from_run(
    run: RunFolder,
    *,
    model: str,
    n_cells: int,
    cell_type: str | None,
    seed: int,
    out: Path,
    device: str,
    console: Console,
) -> dict[str, Any]:
    """Draw cells from a stored model and write them, piece by piece.

    Parameters
    ----------
    run
        A run in which `model` was trained; of several seeds the first is taken.
    model, n_cells, cell_type, seed
        Name of the model, number of cells, their type (None for the model's own mixture), and sample seed.
    out
        The ``.h5ad`` to write; it appears when it is whole.
    device
        ``"cpu"`` or ``"cuda"``.
    console
        Terminal on which progress is shown.

    Returns
    -------
    dict
        Result of `bench.results.cells.write_cells`.

    Raises
    ------
    RequestError
        If the model is not there, cannot give such cells, or the file cannot be written.
    """
    trained = {
        job.model: job
        for job in reversed(run.jobs())
        if job.experiment.kind == "main" and run.job_folder(job).model.is_dir()
    }
    if model not in trained:
        raise RequestError(f"--model {model!r}: this run holds {', '.join(sorted(trained)) or 'no model'}")
    if not out.parent.is_dir() or out.is_dir():
        raise RequestError(f"--out {str(out)!r}: give a file in a folder that exists")
    job = trained[model]
    try:
        with native_noise_silenced():
            generator = _stored_generator(run, job, device)
            pieces = pieces_of(generator, n_cells=n_cells, cell_type=cell_type, seed=seed)
            facts = facts_of_cells(job, space=generator.space, sample_seed=seed)
            return write_cells(out, _watched(pieces, n_cells, console), facts=facts)
    except GeneratorError as error:
        raise RequestError(named(model, error)) from error
    except (OSError, RuntimeError) as error:
        if is_disk_full(error):
            raise RequestError(f"--out {str(out)!r}: no space left on its disk") from error
        if isinstance(error, RuntimeError):
            raise
        raise RequestError(f"--out {str(out)!r}: {error.strerror or error}") from error


def _stored_generator(run: RunFolder, job: Job, device: str) -> Generator:
    folder = run.job_folder(job).model
    try:
        return resolve_model(job.reference).generator.load(folder, device=device)
    except (GeneratorError, RequestError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise RequestError(
            f"--model {job.model!r}: what is stored in {folder} cannot be loaded ({type(error).__name__}: "
            f"{reason}): train it again"
        ) from error


def pieces_of(generator: Generator, *, n_cells: int, cell_type: str | None, seed: int) -> Iterator[AnnData]:
    """Yield the cells that ``bench sample`` draws, whoever asks for them; see `sample_from_run`."""
    return generator.sample_chunks(
        n_cells,
        cell_types=None if cell_type is None else [cell_type] * n_cells,
        seed=derive(seed, "bench sample"),
    )


@contextmanager
def native_noise_silenced() -> Iterator[None]:
    """Keep what native libraries write to the error stream out of the user's sight.

    TensorFlow greets on stderr whatever its log level is. Python's own messages come after this block.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as elsewhere:
        os.dup2(elsewhere.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _watched(pieces: Iterator[AnnData], n_cells: int, console: Console) -> Iterator[AnnData]:
    """Pass pieces on and show how far they are."""
    with Progress(console).transfers() as report:
        done = 0
        report("sampling", done, n_cells)
        for piece in pieces:
            done += piece.n_obs
            report("sampling", done, n_cells)
            yield piece
