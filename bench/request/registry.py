"""Names to plugins, through entry points. The built-ins use the same door as everybody else."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import RequestError
from bench.request.names import require_name
from datasets.code import imported_with, meaning_of
from metrics.declaration import Metric
from models.base import Generator

MODELS = "bench.models"
METRICS = "bench.metrics"
DATASETS = "bench.datasets"


def plugins(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, sorted.

    Raises
    ------
    RequestError
        If two distributions claim the same name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        if point.name in found and found[point.name].value != point.value:
            raise RequestError(
                f"the name {point.name!r} in {group} is claimed by {found[point.name].value} and "
                f"{point.value}: uninstall one of them"
            )
        found[point.name] = point
    return found


def load(group: str, name: str) -> Any:
    """Load the plugin called `name`.

    Raises
    ------
    RequestError
        If there is none, naming those there are, or if it cannot be imported.
    """
    known = plugins(group)
    if name not in known:
        kind = group.removeprefix("bench.").removesuffix("s")
        raise RequestError(f"unknown {kind} {name!r}: choose from {', '.join(known)}")
    try:
        return known[name].load()
    except Exception as error:
        raise RequestError(f"{name} ({known[name].value}) cannot be imported: {error}") from error


@dataclass(frozen=True)
class ModelChoice:
    """A generator class and the words by which a worker process finds it again.

    Attributes
    ----------
    reference
        A registered name, ``/path/file.py:Class`` or ``package.module:Class``.
    generator
        The class of the generator.
    """

    reference: str
    generator: type[Generator]

    @property
    def name(self) -> str:
        """The generator's own name, used in tables."""
        return self.generator.name

    @property
    def version(self) -> str:
        """Version of the distribution it comes from, or ``"unpackaged"``."""
        top = self.generator.__module__.partition(".")[0]
        try:
            return version(_distributions().get(top, [top])[0])
        except PackageNotFoundError:
            return "unpackaged"

    @property
    def source_hash(self) -> str:
        """Hash of what its file says and all that it imports of its package (its folder) and of `models`."""
        import models

        packages = {"models": Path(models.__path__[0]).parent}
        files = imported_with(Path(inspect.getfile(self.generator)), packages=packages)
        return meaning_of(files)


def resolve_model(choice: str | type[Generator]) -> ModelChoice:
    """Find a generator by registered name, ``file.py:Class``, ``module:Class``, or the class itself.

    Raises
    ------
    RequestError
        If it cannot be found, or is no `Generator`.
    """
    if isinstance(choice, type):
        return ModelChoice(_reference_of(choice), _checked(choice, str(choice)))
    if ":" not in choice:
        return ModelChoice(choice, _checked(load(MODELS, choice), choice))
    where, _, class_name = choice.rpartition(":")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    if not hasattr(module, class_name):
        raise RequestError(f"model {choice!r}: {where} defines no {class_name}")
    reference = f"{Path(where).resolve()}:{class_name}" if where.endswith(".py") else choice
    return ModelChoice(reference, _checked(getattr(module, class_name), choice))


def resolve_metric(name: str) -> Metric:
    """Load the metric called `name`."""
    metric: Metric = load(METRICS, name)
    return metric


def _checked(candidate: Any, words: str) -> type[Generator]:
    if not (isinstance(candidate, type) and issubclass(candidate, Generator)):
        raise RequestError(f"model {words!r} is not a subclass of models.base.Generator")
    if inspect.isabstract(candidate):
        missing = ", ".join(sorted(candidate.__abstractmethods__))
        raise RequestError(f"model {words!r} does not define {missing}")
    if not isinstance(getattr(candidate, "name", None), str):
        raise RequestError(f"model {words!r} has no class attribute `name`")
    require_name(candidate.name, of=f"model {words!r}")
    return candidate


def _reference_of(generator: type) -> str:
    """Return words by which another process can import a class given as an object."""
    try:
        file = Path(inspect.getfile(generator))
    except (TypeError, OSError) as error:
        raise RequestError(
            f"{generator.__name__} was defined interactively, where a worker process cannot import it: "
            f"put it into a .py file"
        ) from error
    # A worker finds what is installed; a module beside the user's script it finds by its file alone.
    if generator.__module__.partition(".")[0] in _distributions():
        return f"{generator.__module__}:{generator.__qualname__}"
    return f"{file.resolve()}:{generator.__qualname__}"


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Return what is installed, by the name that is imported; reading it takes about a second."""
    return packages_distributions()


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise RequestError(f"model file {name!r} must end in .py (or give package.module:Class)")
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise RequestError(f"module {name!r} cannot be imported: {error}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise RequestError(f"model file {str(path)!r} does not exist")
    name = "_bench_file_" + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"model file {str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if (folder := str(path.resolve().parent)) not in sys.path:
        # Last, not first: modules beside the file are found, but shadow none of ours.
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RequestError(f"model file {str(path)!r} cannot be imported: {error}") from error
    return module
