"""Tensors and facts on disk: safetensors and JSON, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

_TENSORS, _FACTS = "tensors.safetensors", "facts.json"


def write_state(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write named tensors and JSON-able facts into an existing folder."""
    from safetensors.torch import save_file

    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / _TENSORS
    )
    (folder / _FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def read_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `write_state` wrote; the tensors are on the CPU."""
    from safetensors.torch import load_file

    return load_file(folder / _TENSORS), json.loads((folder / _FACTS).read_text(encoding="utf-8"))
