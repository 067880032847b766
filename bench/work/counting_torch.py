"""PyTorch's operators, counted where they are dispatched: forward, backward and optimiser alike."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class OperatorCounter(TorchDispatchMode):
    """Counts operator calls, the bytes they write, the memory they take and the most held at once.

    Views count as calls; they write and take nothing. Memory is that of storages which operators made while
    this was open: what they asked for, without the allocator's rounding and reserve, and not what a library
    takes for itself. Other threads than the one that opened it, and replayed CUDA graphs, are not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._totals = {"operators": 0, "bytes written": 0, "allocations": 0}
        self._held: dict[int, int] = {}
        self._holding = self._peak = 0

    def totals(self) -> dict[str, int]:
        """Return ``operators``, ``bytes written`` and ``allocations`` so far."""
        return self._totals.copy()

    def peaks(self) -> dict[str, int]:
        """Return ``peak bytes`` held at once since the last call."""
        peak, self._peak = self._peak, self._holding
        return {"peak bytes": peak}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do as asked, and count."""
        result = func(*args, **(kwargs or {}))
        self._totals["operators"] += 1
        schema = func._schema
        for place, argument in enumerate(schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else (kwargs or {}).get(argument.name)
                self._totals["bytes written"] += sum(tensor.nbytes for tensor in _tensors(value))
        results = result if len(schema.returns) > 1 else (result,)
        for declared, value in zip(schema.returns, results, strict=False):
            if declared.alias_info is None:
                for tensor in _tensors(value):
                    self._totals["bytes written"] += tensor.nbytes
                    self._hold(tensor.untyped_storage())
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        address = storage._cdata
        if address in self._held or not storage.nbytes():
            return
        self._held[address] = storage.nbytes()
        self._totals["allocations"] += 1
        self._holding += storage.nbytes()
        self._peak = max(self._peak, self._holding)
        weakref.finalize(storage, self._let_go, address)

    def _let_go(self, address: int) -> None:
        self._holding -= self._held.pop(address)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
