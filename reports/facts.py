"""Plain facts, and those of machines: what the schema in `reports.view` is made of."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """Plain facts that nobody changes."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def but(self, **changes: Any) -> Self:
        """Return the same with some values changed, all of them checked."""
        if unknown := changes.keys() - type(self).model_fields.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        return type(self).model_validate(dict(self) | changes)

    def plain(self) -> dict[str, Any]:
        """Return the facts as JSON holds them."""
        return self.model_dump(by_alias=True)


class OpenFacts(Facts):
    """Facts of which reports name some, and keep the rest."""

    model_config = ConfigDict(extra="allow")


class Gpu(OpenFacts):
    """A GPU."""

    model: str
    memory_bytes: int


class Hardware(OpenFacts):
    """A machine, as `bench.hardware.describe` describes it."""

    cpu_model: str
    cpu_features: tuple[str, ...] = ()
    physical_cores: int
    logical_cores: int
    cpu_quota: float | None = None
    governor: str | None = None
    memory_bytes: int
    gpus: tuple[Gpu, ...]
    driver: str | None = None
    fingerprint: str


class Machine(OpenFacts):
    """Which machine a Job ran on, and how busy that was when it began.

    Attributes
    ----------
    fingerprint
        Fingerprint of the `Hardware`.
    hardware
        The machine itself; None in what an earlier version wrote.
    """

    fingerprint: str = ""
    hardware: Hardware | None = None


class Piece(Facts):
    """A run that became part of a merged one: its name, its machine, and what computed it."""

    name: str
    hardware: Hardware
    versions: dict[str, str]
    bench_version: str = ""
    git_commit: str | None = None
