"""The stored baseline: a small JSON file in the repository, with the reason for every number in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.errors import RequestError
from bench.results.files import write_json

SCHEMA: Final = 1
DEFAULT: Final = Path("baselines") / "gate.json"


@dataclass
class Baseline:
    """What was accepted, when and why.

    Attributes
    ----------
    counts
        What is stored of each model: ``accepted`` (date and reason), ``workload``, ``settings`` (those
        that it leaves to the machine, as they were), ``versions``, ``counts``, ``loss``.
    quality
        What is stored of each model and protocol: ``accepted`` and what `bench.gate.quality.quality_of`
        returns.
    """

    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    quality: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read a baseline.

        Raises
        ------
        RequestError
            If there is none, or it is of another version.
        """
        if not path.exists():
            raise RequestError(
                f"--baseline {path}: there is none yet; store one with bench gate --baseline {path} "
                "--accept --reason 'first baseline'"
            )
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.get("gate_baseline") != SCHEMA:
            raise RequestError(f"--baseline {path}: not a baseline of version {SCHEMA}: accept it anew")
        return cls(stored["counts"], stored["quality"])

    def write(self, path: Path) -> None:
        """Write the baseline, whole or not at all."""
        write_json(path, {"gate_baseline": SCHEMA, "counts": self.counts, "quality": self.quality})


def acceptance(reason: str) -> dict[str, str]:
    """Return what is kept beside every accepted number: the date and the reason."""
    return {"date": datetime.now(UTC).date().isoformat(), "reason": reason}
