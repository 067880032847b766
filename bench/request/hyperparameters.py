"""Hyper-parameters: read from a generator's constructor, validated once, kept as plain JSON."""

from __future__ import annotations

import inspect
import json
from contextlib import suppress
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from bench.errors import RequestError
from models.base import Generator


def hyperparameters(generator: type[Generator], given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Validate `given` against the constructor and fill in its defaults.

    Parameters
    ----------
    generator
        The class whose constructor's keyword arguments are the hyper-parameters.
    given
        Values as typed on a command line (text) or as read from TOML or JSON.

    Returns
    -------
    dict
        Every hyper-parameter of the constructor with its value, ready for ``generator(**values)``.

    Raises
    ------
    RequestError
        For a name the constructor does not know or a value of the wrong kind.
    """
    schema = _schema(generator)
    values = {name: _from_text(value) for name, value in (given or {}).items()}
    try:
        checked = schema(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{generator.name}.{'.'.join(str(part) for part in first['loc'])}"
        if first["type"] == "extra_forbidden":
            known = ", ".join(schema.model_fields) or "none"
            raise RequestError(f"unknown hyper-parameter {where}: {generator.name} has {known}") from error
        raise RequestError(f"hyper-parameter {where}={first['input']!r}: {first['msg']}") from error
    return {name: getattr(checked, name) for name in schema.model_fields}


def _schema(generator: type[Generator]) -> type[BaseModel]:
    signature = inspect.signature(generator)
    hints = get_type_hints(generator.__init__)
    fields: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints.get(name, Any), default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    return create_model(f"{generator.__name__}Hyperparameters", __config__=config, **fields)


def _from_text(value: Any) -> Any:
    """Read ``[256, 128]`` typed on a command line as a list; leave every other text to pydantic."""
    if isinstance(value, str) and value.startswith("["):
        with suppress(json.JSONDecodeError):
            return json.loads(value)
    return value
