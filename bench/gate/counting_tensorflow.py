"""TensorFlow's operators: those called one by one, and those that graphs are made of."""

from __future__ import annotations

from typing import Any, Self

from tensorflow.python.framework import op_callbacks


class OperatorCounter:
    """Counts operators through the hook that TensorFlow's own debugger uses.

    A graph is counted once, while it is traced, and each of its calls as one operator: an operator more in a
    training step is one more in the graph. What a call of a graph writes and takes is not seen.
    """

    def __init__(self) -> None:
        self._in_graphs = self._called = 0

    def totals(self) -> dict[str, int]:
        """Return ``graph operators`` and ``called operators`` so far."""
        return {"graph operators": self._in_graphs, "called operators": self._called}

    def peaks(self) -> dict[str, int]:
        """Return nothing: TensorFlow tells no peak on the CPU."""
        return {}

    def _note(
        self, op_type: str, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None
    ) -> None:
        if graph is None:
            self._called += 1
        else:
            self._in_graphs += 1

    def __enter__(self) -> Self:
        op_callbacks.add_op_callback(self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        op_callbacks.remove_op_callback(self._note)
