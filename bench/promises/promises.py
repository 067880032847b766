"""The promises, in the order in which they are asked for."""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, get_args

import numpy as np

from bench.promises.findings import Broken, NotAsked
from bench.promises.workbench import N_CELLS, OTHER_SEED, SAMPLE_SEED, Promise, Workbench, digest, names_here
from bench.request.hyperparameters import hyperparameters
from bench.request.profiles import PROFILES
from bench.work.contract import BrokenContract, checksum, require_unchanged
from datasets.stored import copy_cells, opened
from models.base import Budget, Role, SamplingExhausted, Space, Unsupported

FRAMEWORKS: Final = frozenset({"jax", "keras", "scanpy", "scvi", "tensorflow", "torch"})
PICKLES: Final = (".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
SECONDS: Final = 2.0
"""A budget that shows whether the clock is looked at."""
LATE: Final = 10.0
"""Times that budget: a slow machine, and what a framework compiles, break no promise."""
UNKNOWN: Final = "a type that no cell has"
CHUNK: Final = 25
MIXTURE, TYPES = "the own mixture", "types that were asked for"
"""Samples that another process draws again."""

TRAINED: Final[list[Promise]] = []
"""What the process that trains is asked, in this order."""

LOADED: Final[list[Promise]] = []
"""What a fresh process is asked once the training cells are gone."""

STAGES: Final = {"train": TRAINED, "load": LOADED}

Ask = Callable[[Workbench], str | None]


def _promise(
    words: str, remedy: str, *, needed: bool = False, stage: list[Promise] = TRAINED
) -> Callable[[Ask], Ask]:
    """Make a function the next promise that a process asks for; see `Promise`."""

    def add(ask: Ask) -> Ask:
        stage.append(Promise(words, remedy, ask, needed))
        return ask

    return add


@_promise("imports without its framework", "import torch, TensorFlow and the like inside the methods")
def imports_quickly(bench: Workbench) -> None:
    """Importing the module brings no framework."""
    if heavy := sorted(FRAMEWORKS & bench.imported):
        raise Broken(f"importing its module imports {', '.join(heavy)}")


@_promise("class attributes", "see models.base.Generator for what each may be", needed=True)
def declares(bench: Workbench) -> str:
    """Class attributes have values that the harness knows."""
    kind = bench.generator_class
    for attribute, known in (("role", get_args(Role)), ("space", get_args(Space))):
        if (value := getattr(kind, attribute)) not in known:
            raise Broken(f"{attribute} is {value!r}, not one of {', '.join(known)}")
    budgets = kind.default_budgets
    if unlike := sorted(PROFILES.keys() ^ budgets.keys()) if budgets else []:
        raise Broken(f"default_budgets must name {', '.join(PROFILES)}; look at {', '.join(unlike)}")
    for profile, text in budgets.items():
        try:
            Budget.parse(text)
        except (ValueError, AttributeError) as error:
            raise Broken(f"default_budgets[{profile!r}]: {error}") from error
    empty = [name for name in ("licence", "paper") if not getattr(kind, name)]
    return f"{' and '.join(empty)} left empty" if empty else ""


@_promise(
    "hyper-parameters in the signature",
    "write them as keyword arguments, each with an annotation and a plain default",
)
def has_settings_in_its_signature(bench: Workbench) -> None:
    """Hyper-parameters are annotated keyword arguments with defaults that JSON can hold."""
    for name, parameter in inspect.signature(bench.generator_class).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            raise Broken(f"the constructor takes {parameter}, whose names nobody can read")
        if parameter.annotation is parameter.empty:
            raise Broken(f"hyper-parameter {name} has no annotation")
        if parameter.default is parameter.empty:
            raise Broken(f"hyper-parameter {name} has no default")
    try:
        json.dumps(hyperparameters(bench.generator_class))
    except TypeError as error:
        raise Broken(f"a default is no plain value: {error}") from error


@_promise("prepare and fit", "mend what the error names", needed=True)
def trains(bench: Workbench) -> str:
    """`prepare` and `fit` run through."""
    if reason := bench.generator_class.skip(bench.train):
        raise NotAsked(reason)
    bench.checksum = checksum(bench.train)
    bench.fitted = bench.trained()
    return ", ".join(f"{phase} {seconds:.2g} s" for phase, seconds in bench.seconds.items())


@_promise("training cells unchanged", "copy what you change: train is not yours")
def leaves_the_training_cells(bench: Workbench) -> None:
    """Training cells are what they were."""
    try:
        require_unchanged(bench.checksum, bench.train)
    except BrokenContract as error:
        raise Broken(str(error)) from error


@_promise("progress", "call monitor.advance(share) with the share of the budget, from 0 to 1")
def tells_its_progress(bench: Workbench) -> str:
    """`advance` tells shares of the budget from 0 to 1, never fewer than before."""
    _require_budget(bench)
    told = bench.fractions
    if not told:
        return "it never calls monitor.advance: nobody sees how long is left"
    if min(told) < 0 or max(told) > 1:
        raise Broken(f"monitor.advance was told a share of {min(told) if min(told) < 0 else max(told):g}")
    if any(later < earlier - 1e-9 for earlier, later in pairwise(told)):
        raise Broken("monitor.advance was told a smaller share than before")
    if bench.budget.unit != "seconds" and told[-1] < 1 - 1e-6:
        raise Broken(f"training ended at {told[-1]:.0%} of its budget of {bench.budget}")
    return ""


def _require_budget(bench: Workbench) -> None:
    if not bench.generator_class.default_budgets:
        raise NotAsked("it declares no budget")


@_promise("cells as promised", "look at Generator.sample in models/base.py", needed=True)
def draws_cells(bench: Workbench) -> str:
    """Cells are as `models.base.Generator.sample` says."""
    cells, notes = bench.held(bench.generator.sample(N_CELLS, seed=SAMPLE_SEED), N_CELLS)
    bench.digests[MIXTURE] = digest(cells)
    return "; ".join(notes)


@_promise(
    "types in the order asked for",
    "return obs['cell_type'] as asked; raise models.base.Unsupported for what you cannot draw",
)
def draws_types(bench: Workbench) -> str:
    """Types that are asked for come in that order; others are refused."""
    wanted = bench.wanted_types
    if not bench.generator.conditional:
        _require_unsupported(bench, wanted, "types are asked of a generator that is not conditional")
        return "not conditional, and says so"
    try:
        cells = bench.draw(bench.generator, len(wanted), cell_types=wanted)
    except SamplingExhausted as error:
        return f"so little trained it does not give each type: {error}"
    finally:
        _require_unsupported(bench, [UNKNOWN] * 3, "a type is asked for that it never saw")
    bench.digests[TYPES] = digest(cells)
    return ""


def _require_unsupported(bench: Workbench, cell_types: list[str], when: str) -> None:
    try:
        bench.generator.sample(len(cell_types), cell_types=cell_types, seed=SAMPLE_SEED)
    except Unsupported:
        return
    except Exception as error:
        raise Broken(f"{type(error).__name__} instead of Unsupported when {when}: {error}") from error
    raise Broken(f"no Unsupported when {when}")


@_promise(
    "samples repeat by their seed",
    "draw everything random from the seed that sample is given, such as numpy.random.default_rng(seed)",
)
def repeats_a_sample(bench: Workbench) -> None:
    """The same seed gives the same cells, another one others, whatever NumPy's own seed is."""
    drawn = []
    for number, seed in enumerate((SAMPLE_SEED, SAMPLE_SEED, OTHER_SEED)):
        np.random.seed(number)  # noqa: NPY002 - a generator must not hang on it
        drawn.append(digest(bench.draw(bench.generator, seed=seed)))
    if drawn[0] != drawn[1]:
        raise Broken("one seed gave two samples")
    if drawn[0] == drawn[2]:
        raise Broken("two seeds gave one sample")


@_promise(
    "sampling in pieces",
    "inherit sample_chunks, or yield pieces of at most chunk_size, each with a seed of its own",
)
def draws_in_pieces(bench: Workbench) -> None:
    """`sample_chunks` yields pieces one by one, none larger than asked for."""
    pieces = bench.generator.sample_chunks(N_CELLS, seed=SAMPLE_SEED, chunk_size=CHUNK)
    if not isinstance(pieces, Iterator):
        raise Broken(f"sample_chunks returned {type(pieces).__name__}, which holds all pieces at once")
    sizes, digests = [], set()
    for piece in pieces:
        sizes.append(piece.n_obs)
        digests.add(digest(bench.held(piece, piece.n_obs)[0]))
    if max(sizes) > CHUNK or sum(sizes) != N_CELLS:
        raise Broken(f"{N_CELLS} cells in pieces of {CHUNK} came as {', '.join(map(str, sizes))}")
    if len(digests) < len(sizes):
        raise Broken("two pieces hold the same cells")


@_promise("cells of its own", 'draw from the model, or declare draws_from = "training cells"')
def draws_its_own_cells(bench: Workbench) -> str:
    """Cells are not those that it was trained on."""
    from metrics.copied_share import METRIC, copied_share
    from metrics.duplicates import duplicates
    from metrics.evidence import RealEvidence, SampleEvidence

    generator = bench.generator
    if generator.role not in ("model", "baseline"):
        raise NotAsked(f"it is a control ({generator.role})")
    if generator.draws_from != "model":
        raise NotAsked(f"it declares that it draws from {generator.draws_from}")
    real = RealEvidence.from_adata(bench.adata, seed=0)
    sample = SampleEvidence(real, bench.draw(generator, real.n_cells).X, space=generator.space)
    share = max(copied_share(real, sample).headline, duplicates(real, sample).headline)
    assert METRIC.alarm is not None
    if share >= METRIC.alarm:
        raise Broken(f"{share:.0%} of its cells are copies of training cells (alarm at {METRIC.alarm:.0%})")
    return f"{share:.1%} copies"


@_promise("stored without pickle", "write .safetensors, .npz of plain arrays, .keras or JSON")
def stores_without_pickle(bench: Workbench) -> str:
    """`save` writes files that can be read without running anything."""
    target = bench.folder / "model"
    target.mkdir()
    bench.generator.save(target)
    files = [file for file in target.rglob("*") if file.is_file()]
    if not files:
        raise Broken("save wrote nothing")
    if pickled := [file.name for file in files if _is_pickle(file)]:
        raise Broken(f"save wrote a pickle: {', '.join(sorted(pickled))}")
    return f"{sum(file.stat().st_size for file in files) / 1e6:.2g} MB"


def _is_pickle(file: Path) -> bool:
    start = file.read_bytes()[:2]
    if file.suffix in PICKLES or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"):
        return True
    if file.suffix == ".npy":
        return _holds_objects(lambda: np.load(file, allow_pickle=False))
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        if any(name.endswith(".pkl") for name in archive.namelist()):
            return True
    return file.suffix == ".npz" and _holds_objects(lambda: dict(np.load(file, allow_pickle=False)))


def _holds_objects(read: Callable[[], Any]) -> bool:
    try:
        read()
    except ValueError:
        return True
    return False


@_promise(
    "trainings repeat by their seed",
    "draw everything random from the seed that fit is given, and set your framework's, too",
)
def repeats_a_training(bench: Workbench) -> None:
    """Two trainings with one seed draw the same cells."""
    if bench.budget.unit == "seconds":
        raise NotAsked("a budget of seconds ends where the clock says")
    np.random.seed(OTHER_SEED)  # noqa: NPY002 - a generator must not hang on it
    if digest(bench.draw(bench.trained())) != bench.digests[MIXTURE]:
        raise Broken("two trainings with one seed draw other cells")


@_promise(
    "training from disk",
    "read train.X and train.layers['counts'] as models.streaming does, or set streams = False",
)
def learns_from_disk(bench: Workbench) -> None:
    """What declares that it streams learns from cells on disk what it learns from them in memory."""
    if not bench.generator_class.streams:
        raise NotAsked("it does not declare that it streams")
    if bench.budget.unit == "seconds":
        raise NotAsked("a budget of seconds ends where the clock says")
    with TemporaryDirectory() as home:
        file = Path(home) / "train.h5ad"
        with opened(bench.folder / "cells.h5ad") as cells:
            copy_cells(cells, (cells.obs["split"] == "train").to_numpy(), file)
        with opened(file) as train:
            drawn = digest(bench.draw(bench.trained(train=train)))
    if drawn != bench.digests[MIXTURE]:
        raise Broken("trained on cells that are on disk it draws other cells")


@_promise("budget of seconds", "stop when models.base.Progress(budget, …).finished says so")
def keeps_to_the_clock(bench: Workbench) -> str:
    """A budget of seconds ends a training."""
    _require_budget(bench)
    budget = Budget(SECONDS, "seconds")
    bench.trained(budget=budget)
    taken = bench.seconds["fit"]
    if taken > LATE * SECONDS:
        raise Broken(f"trained for {taken:.0f} s with a budget of {budget}")
    return f"{taken:.1f} s of {budget}"


@_promise("no files beside", "write into the folder that save is given, or a temporary one")
def leaves_no_files(bench: Workbench) -> None:
    """Nothing is written but what `save` is told to write."""
    if left := sorted(names_here() - bench.beside):
        raise Broken(f"it left {', '.join(left[:3])} in the working folder")


@_promise(
    "the same when loaded",
    "store all that sample needs, and read it back in load; the training cells may be gone",
    stage=LOADED,
)
def is_the_same_when_loaded(bench: Workbench) -> None:
    """Another process draws the same cells from the stored model; the training file is gone."""
    bench.fitted = bench.generator_class.load(bench.folder / "model", device=bench.device)
    if not isinstance(bench.fitted, bench.generator_class):
        raise Broken(f"load returned {type(bench.fitted).__name__}")
    for what, before in bench.digests.items():
        types = None if what == MIXTURE else bench.wanted_types
        cells = bench.draw(bench.fitted, N_CELLS if types is None else len(types), cell_types=types)
        if digest(cells) != before:
            raise Broken("the stored model draws other cells than the trained one did")
