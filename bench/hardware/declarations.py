"""Declarations of what a machine should be: small TOML files, built in or the user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

_FOLDER = Path(__file__).parent
_GIB = 2**30


@dataclass(frozen=True)
class Declaration:
    """What a machine should be; None asks nothing.

    Attributes
    ----------
    name
        Name of the declaration (of its file, without the suffix).
    gpu_model
        Part of the model of every GPU, upper or lower case; at least one is needed.
    gpu_count
        Exact number of GPUs; 0 for timings on the CPU alone.
    min_gpu_memory_gib
        Least memory of every GPU.
    cpu_model
        Part of the CPU's model, upper or lower case.
    min_cores
        Least number of logical cores this process may use.
    min_memory_gib
        Least memory of the machine.
    """

    name: str
    gpu_model: str | None = None
    gpu_count: int | None = None
    min_gpu_memory_gib: float | None = None
    cpu_model: str | None = None
    min_cores: int | None = None
    min_memory_gib: float | None = None


_TYPES = {name: get_args(hint)[0] for name, hint in get_type_hints(Declaration).items() if name != "name"}
_IN_WORDS = {str: "text", int: "a whole number", float: "a number"}


def known_names() -> list[str]:
    """Return the names of the built-in declarations."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def declared(name_or_path: str | Path) -> Declaration:
    """Read a declaration.

    Parameters
    ----------
    name_or_path
        A built-in name, or a TOML file with one table ``[machine]`` whose keys are the attributes of
        `Declaration` other than its name.

    Raises
    ------
    ValueError
        If there is no such name or file, or the file holds anything unknown.
    """
    built_in = str(name_or_path) in known_names()
    path = _FOLDER / f"{name_or_path}.toml" if built_in else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(known_names())
        raise ValueError(f"hardware {str(name_or_path)!r} is unknown: use {known} or the path of a TOML file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    return Declaration(name=path.stem, **_machine(content, path))


def _machine(content: dict[str, Any], path: Path) -> dict[str, Any]:
    machine = content.get("machine")
    if list(content) != ["machine"] or not isinstance(machine, dict):
        has = ", ".join(content) or "nothing"
        raise ValueError(f"{path} has {has} at its top: it needs [machine] and no more")
    for key, value in machine.items():
        if key not in _TYPES:
            raise ValueError(f"{path}: unknown key {key!r} in [machine]: use {', '.join(_TYPES)}")
        kind = _TYPES[key]
        if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
            raise ValueError(f"{path}: {key} = {value!r} in [machine] should be {_IN_WORDS[kind]}")
    return machine


def check(declaration: Declaration, description: Mapping[str, Any]) -> list[str]:
    """Return what of a machine's description is not as declared, one line each.

    Parameters
    ----------
    declaration
        Declaration of what the machine should be.
    description
        Description of the machine, from `bench.hardware.describe`.
    """
    return [*_check_gpus(declaration, description["gpus"]), *_check_machine(declaration, description)]


def _check_gpus(declaration: Declaration, gpus: list[dict[str, Any]]) -> Iterator[str]:
    models = ", ".join(gpu["model"] for gpu in gpus) or "none"
    model = declaration.gpu_model
    if model is not None and not (gpus and all(model.lower() in gpu["model"].lower() for gpu in gpus)):
        yield f"gpu_model: declared {model!r}, this machine has {models}"
    if declaration.gpu_count is not None and declaration.gpu_count != len(gpus):
        has = f"{len(gpus)} (CUDA_VISIBLE_DEVICES chooses among them)"
        yield f"gpu_count: declared {declaration.gpu_count}, this machine has {has}"
    smallest = min((gpu["memory_bytes"] for gpu in gpus), default=0) / _GIB
    least = declaration.min_gpu_memory_gib
    if least is not None and smallest < least:
        has = f"a GPU with {smallest:.1f}" if gpus else "none"
        yield f"min_gpu_memory_gib: declared {least:g}, this machine has {has}"


def _check_machine(declaration: Declaration, description: Mapping[str, Any]) -> Iterator[str]:
    model = declaration.cpu_model
    if model is not None and model.lower() not in description["cpu_model"].lower():
        yield f"cpu_model: declared {model!r}, this machine has {description['cpu_model']}"
    cores, memory = description["logical_cores"], description["memory_bytes"] / _GIB
    if declaration.min_cores is not None and cores < declaration.min_cores:
        yield f"min_cores: declared {declaration.min_cores}, this process may use {cores}"
    if declaration.min_memory_gib is not None and memory < declaration.min_memory_gib:
        yield f"min_memory_gib: declared {declaration.min_memory_gib:g}, this machine has {memory:.1f}"
