"""The adapter for a program that lives in another environment: a container, a conda environment.

The program is driven through files: two commands named in a small TOML file, cells in and out
as .h5ad. docs/external.md describes the file contract.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, ClassVar, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from scipy.sparse import csr_matrix

from models.base import Budget, Generator, GeneratorError, Monitor, Source, Space, Unsupported

if TYPE_CHECKING:
    from anndata import AnnData

LOGGER = logging.getLogger(__name__)
FIT_PLACEHOLDERS = ("train", "model", "seed", "budget_amount", "budget_unit", "device")
SAMPLE_PLACEHOLDERS = ("model", "n_cells", "cell_types", "seed", "output")

# Runs beside the program: when this process is killed outright its end of the pipe closes,
# and the program's whole process group is killed with it.
_WATCHER = "import os, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), 9)"


def _checked_command(command: str, *, placeholders: Sequence[str]) -> str:
    """Return `command` if it can be split and filled in, else raise a ValueError."""
    tokens = shlex.split(command)
    if not tokens:
        raise ValueError("the command is empty")
    used = {name for token in tokens for _, name, _, _ in string.Formatter().parse(token) if name is not None}
    for name in sorted(used.difference(placeholders)):
        raise ValueError(f"unknown {{{name}}}; choose from {', '.join(f'{{{p}}}' for p in placeholders)}")
    return command


class Program(BaseModel):
    """The ``[program]`` table of a configuration; docs/external.md says what each key means."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    space: Space
    fit: Annotated[str, AfterValidator(partial(_checked_command, placeholders=FIT_PLACEHOLDERS))]
    sample: Annotated[str, AfterValidator(partial(_checked_command, placeholders=SAMPLE_PLACEHOLDERS))]
    conditional: bool = False
    draws_from: Source = "model"
    environment: dict[str, str] = {}
    working_directory: str = "."


class _Configuration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    program: Program


def read_configuration(path: Path) -> Program:
    """Read and check a configuration; its working directory is taken from the file's own folder.

    Raises
    ------
    GeneratorError
        If the file cannot be read, is not TOML, or has a key that is missing, unknown or wrong.
    """
    try:
        program = _Configuration.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).program
    except OSError as error:
        raise GeneratorError(f"external: cannot read {path}: {error.strerror}; check the path") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise GeneratorError(f"external: {path}: {key}: {first['msg']}; see docs/external.md") from None
    except ValueError as error:
        raise GeneratorError(f"external: {path} is not valid TOML: {error}") from None
    folder = (path.parent / program.working_directory).resolve()
    if not folder.is_dir():
        raise GeneratorError(f"external: {path}: working_directory {folder} is no folder; create it")
    return program.model_copy(update={"working_directory": str(folder)})


class External(Generator):
    """A program in another environment, trained and sampled through files.

    Timed are, within `fit`, writing the training cells and the whole run of the program, and,
    within `sample`, its run and reading the cells back. The start of the program (a
    container, an interpreter, a framework that loads) is therefore part of both figures; the
    phases ``exchange`` and ``program`` keep files and run apart. `sample_chunks` runs the
    program once for all chunks. Peak memory is seen only where the program runs as a
    descendant of this process, which a container started by a daemon does not.

    ``name``, ``space``, ``conditional`` and ``draws_from`` of an instance are those of its configuration.

    Parameters
    ----------
    config
        Path of the TOML file with the ``[program]`` table.

    Raises
    ------
    GeneratorError
        If the configuration is wrong.
    """

    name = "external"
    framework = "external"
    licence = "that of the program"
    paper = "that of the program"
    configured_by = "config"
    default_budgets: ClassVar[dict[str, str]] = {"smoke": "5s", "quick": "60s", "paper": "24h"}

    def __init__(self, config: str = "") -> None:
        self.config = config
        self._genes: list[str] = []
        self._cell_types: list[str] = []
        self._model_folder: tempfile.TemporaryDirectory[str] | None = None
        self._program: Program | None = None
        if config:
            self._use(read_configuration(Path(config)))

    def content(self) -> str:
        """Return the configuration's text: editing it makes another Job. The program itself is not seen."""
        return Path(self.config).read_text(encoding="utf-8") if self.config else ""

    def fit(
        self, train: AnnData, *, seed: int, device: str = "cpu", budget: Budget, monitor: Monitor
    ) -> None:
        """Write the training cells and run the ``fit`` command, which is told the budget and has to keep it.

        Raises
        ------
        GeneratorError
            If no program is configured, or if it cannot be started or fails.
        """
        program = self._configured
        self._genes = [str(gene) for gene in train.var_names]
        self._cell_types = sorted({str(cell_type) for cell_type in train.obs["cell_type"]})
        self._model_folder = _new_folder()
        amount = int(budget.amount) if budget.amount == int(budget.amount) else budget.amount
        with _new_folder() as exchange:
            cells = Path(exchange) / "train.h5ad"
            with monitor.phase("exchange"):
                _write_training_cells(train, cells)
            values = {
                "train": cells,
                "model": self._model,
                "seed": seed,
                "budget_amount": amount,
                "budget_unit": budget.unit,
                "device": device,
            }
            with monitor.phase("program"):
                self._run(program, "fit", values)

    def sample(self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int) -> AnnData:
        """Run the ``sample`` command and return its cells.

        Raises
        ------
        Unsupported
            If types are asked of an unconditional program, or a type it never saw.
        GeneratorError
            If the program fails, or its cells are missing, unreadable, of a wrong number, of
            other genes or types than asked, or not finite.
        """
        (cells,) = self.sample_chunks(n_cells, cell_types=cell_types, seed=seed, chunk_size=max(1, n_cells))
        return cells

    def sample_chunks(
        self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int, chunk_size: int = 2048
    ) -> Iterator[AnnData]:
        """Run the ``sample`` command once and yield, in pieces, the very cells that `sample` returns."""
        self._check_request(n_cells, cell_types)
        with _new_folder() as exchange:
            output = Path(exchange) / "cells.h5ad"
            values = {
                "model": self._model,
                "n_cells": n_cells,
                "cell_types": "",
                "seed": seed,
                "output": output,
            }
            if cell_types is not None:
                asked = Path(exchange) / "cell_types.txt"
                asked.write_text("".join(f"{name}\n" for name in cell_types), encoding="utf-8")
                values["cell_types"] = asked
            with self.monitor.phase("program"):
                self._run(self._configured, "sample", values)
            stored = self._open(output)
            with closing(stored.file):
                self._check_shape(stored, n_cells)
                for start in range(0, n_cells, chunk_size):
                    requested = None if cell_types is None else list(cell_types[start : start + chunk_size])
                    with self.monitor.phase("exchange"):
                        chunk = self._read(stored, range(start, min(start + chunk_size, n_cells)), requested)
                    yield chunk

    def save(self, folder: Path) -> None:
        """Copy the model folder, with the logs in it, and describe the rest in ``external.json``."""
        shutil.copytree(self._model, folder / "model")
        facts = {
            "config": self.config,
            "program": self._configured.model_dump(),
            "genes": self._genes,
            "cell_types": self._cell_types,
        }
        (folder / "external.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Read back what `save` wrote; sampling then runs the stored command, so load only what you trust."""
        facts = json.loads((folder / "external.json").read_text(encoding="utf-8"))
        generator = cls()
        generator.config = facts["config"]
        generator._use(Program(**facts["program"]))
        generator._genes = facts["genes"]
        generator._cell_types = facts["cell_types"]
        generator._model_folder = _new_folder()
        shutil.copytree(folder / "model", generator._model, dirs_exist_ok=True)
        return generator

    def _use(self, program: Program) -> None:
        self._program = program
        self.name = program.name  # type: ignore[misc]
        self.space = program.space  # type: ignore[misc]
        self.conditional = program.conditional  # type: ignore[misc]
        self.draws_from = program.draws_from  # type: ignore[misc]

    @property
    def _configured(self) -> Program:
        if self._program is None:
            raise GeneratorError(
                "external: no program is configured; set config to a TOML file (docs/external.md)"
            )
        return self._program

    @property
    def _model(self) -> Path:
        if self._model_folder is None:
            raise GeneratorError(f"{self.name}: nothing to draw from yet; call fit first")
        return Path(self._model_folder.name)

    def _check_request(self, n_cells: int, cell_types: Sequence[str] | None) -> None:
        if cell_types is None:
            return
        if not self.conditional:
            raise Unsupported(f"{self.name}: cannot draw cells of a given type; leave cell_types out")
        if len(cell_types) != n_cells:
            raise GeneratorError(
                f"{self.name}: {n_cells} cells, but {len(cell_types)} cell types; give as many"
            )
        for unknown in sorted(set(cell_types).difference(self._cell_types)):
            known = ", ".join(self._cell_types)
            raise Unsupported(
                f"{self.name}: cell type {unknown!r} was not in the training cells; choose from {known}"
            )

    def _run(self, program: Program, step: str, values: Mapping[str, object]) -> None:
        """Run the command of a step, its output in the model folder's ``fit.log`` or ``sample.log``."""
        arguments = [token.format_map(values) for token in shlex.split(getattr(program, step))]
        log = self._model / f"{step}.log"
        with log.open("wb") as stream:
            environment = os.environ | program.environment
            try:
                code = _run_in_group(arguments, program.working_directory, environment, stream)
            except OSError as error:
                reason = f"{error.strerror}; check the command"
                raise GeneratorError(
                    f"{self.name}: cannot start `{arguments[0]}` ({step}): {reason}"
                ) from None
        if code != 0:
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
            said = [line for line in lines if line.strip()] or ["(it wrote nothing)"]
            LOGGER.error("%s: the last lines of %s:\n%s", self.name, log.name, "\n".join(said[-20:]))
            raise GeneratorError(
                f"{self.name}: `{shlex.join(arguments)}` ended with code {code}: {said[-1].strip()}"
            )

    def _open(self, output: Path) -> AnnData:
        """Open the program's cells without reading them."""
        import anndata

        if not output.is_file():
            raise GeneratorError(
                f"{self.name}: the sample command ended well but wrote no file to {{output}}"
            )
        try:
            return anndata.read_h5ad(output, backed="r")
        except (OSError, KeyError, TypeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise GeneratorError(f"{self.name}: {{output}} is no readable .h5ad file: {reason}") from None

    def _check_shape(self, stored: AnnData, n_cells: int) -> None:
        if stored.n_obs != n_cells:
            raise GeneratorError(f"{self.name}: {n_cells} cells asked, {stored.n_obs} written to {{output}}")
        if list(stored.var_names) != self._genes:
            raise GeneratorError(
                f"{self.name}: the {stored.n_vars} var_names in {{output}} are not the {len(self._genes)} "
                "of the training cells in their order"
            )
        if stored.X is None:
            raise GeneratorError(f"{self.name}: X is missing from {{output}}")

    def _read(self, stored: AnnData, rows: range, requested: list[str] | None) -> AnnData:
        """Read some rows as CSR float32, and check their values and cell types."""
        import pandas as pd
        from anndata import AnnData

        chunk = stored[rows.start : rows.stop].to_memory()
        matrix = csr_matrix(chunk.X, dtype=np.float32)
        matrix.eliminate_zeros()
        if not np.isfinite(matrix.data).all():
            raise GeneratorError(f"{self.name}: X in {{output}} has NaN or infinite values")
        labels = requested
        if "cell_type" in chunk.obs:
            labels = [str(name) for name in chunk.obs["cell_type"]]
            if requested is not None and labels != requested:
                raise GeneratorError(
                    f'{self.name}: obs["cell_type"] in {{output}} is not as asked in {{cell_types}}'
                )
        obs = pd.DataFrame(index=pd.Index([str(row) for row in rows]))
        if labels is not None:
            for unknown in sorted(set(labels).difference(self._cell_types)):
                raise GeneratorError(
                    f"{self.name}: cell type {unknown!r} in {{output}} is none of the training cells"
                )
            obs["cell_type"] = pd.Categorical(labels, categories=self._cell_types)
        return AnnData(matrix, obs=obs, var=pd.DataFrame(index=pd.Index(self._genes)))


def _new_folder() -> tempfile.TemporaryDirectory[str]:
    # A container may leave files of another user behind, which cannot be removed here.
    return tempfile.TemporaryDirectory(prefix="external-", ignore_cleanup_errors=True)


def _write_training_cells(train: AnnData, path: Path) -> None:
    """Write X (``cp20k``), ``layers["counts"]``, ``obs["cell_type"]`` and the names, and nothing else."""
    import pandas as pd
    from anndata import AnnData

    cell_types = pd.Categorical([str(name) for name in train.obs["cell_type"]])
    obs = pd.DataFrame({"cell_type": cell_types}, index=train.obs_names)
    cells = AnnData(csr_matrix(train.X), obs=obs, var=pd.DataFrame(index=train.var_names))
    cells.layers["counts"] = csr_matrix(train.layers["counts"])
    cells.write_h5ad(path)


def _run_in_group(
    arguments: list[str], working_directory: str, environment: Mapping[str, str], output: BinaryIO
) -> int:
    """Run a command in a process group of its own, which never outlives this call; return the exit code."""
    program = subprocess.Popen(
        arguments,
        cwd=working_directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    watch = [sys.executable, "-I", "-S", "-c", _WATCHER, str(program.pid)]
    try:
        with subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True) as watcher:
            try:
                return program.wait()
            finally:
                watcher.kill()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
