"""The harness from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.console import plain_console
from bench.draft import draft
from bench.flow import carry_out, start
from bench.progress import Progress
from bench.request.registry import resolve_model
from bench.request.spec import IN_MEMORY, RunSpec
from bench.results.reopen import open_whole
from bench.results.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from models.base import Generator
    from reports.view import Record


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes
    ----------
    folder
        Run folder with records, models, cells, scores and figures.
    """

    folder: Path

    @property
    def records(self) -> list[Record]:
        """The Record of every Job."""
        return list(RunFolder.open(self.folder).view().records)

    @property
    def table(self) -> pd.DataFrame:
        """One row per model, the columns of the printed table and more."""
        from reports.table import results_frame

        return results_frame(open_whole(self.folder).view())

    def __str__(self) -> str:
        return f"RunResult({self.folder})"


def run(
    models: Sequence[str | type[Generator]] = (),
    dataset: str | Path | AnnData = "pbmc68k_reduced",
    *,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Train, sample, time and score generators beside controls.

    Parameters
    ----------
    models
        Registered names, ``file.py:Class``, ``module:Class`` or `models.base.Generator` classes; empty
        means activa, scgan and cscgan.
    dataset
        Name of a data set, path of a file, ``synthetic:CELLSxGENES``, or AnnData that holds counts.
    quiet
        Whether to print nothing.
    **options
        The other attributes of `bench.request.spec.RunSpec`: ``profile``, ``budget``, ``seeds``,
        ``settings``, ``label_key``, ``layer``, ``gene_names``, ``genome``, ``split_from``,
        ``drop_unlabelled``, ``out``…

    Returns
    -------
    RunResult
        Its ``table`` is a DataFrame.

    Raises
    ------
    bench.errors.RequestError
        If the request cannot be carried out.
    """
    names = tuple(model if isinstance(model, str) else resolve_model(model).reference for model in models)
    in_memory = None if isinstance(dataset, str | Path) else dataset
    spec = RunSpec.checked(
        models=names, dataset=IN_MEMORY if in_memory is not None else str(dataset), **options
    )
    progress = Progress(plain_console(quiet=quiet))
    folder = start(draft(spec, adata=in_memory, progress=progress))
    carry_out(folder, progress)
    return RunResult(folder.path)
