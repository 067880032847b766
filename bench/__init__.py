"""The harness: a request becomes Jobs, Jobs become Records, Records become tables.

>>> import bench
>>> result = bench.run(models=["activa"], dataset=adata)   # doctest: +SKIP
>>> result.table                                            # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import RunResult as RunResult
    from bench.api import run as run

__all__ = ["RunResult", "run"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `python -m bench --help` does not pay for pandas and pydantic.
    if name in __all__:
        from bench import api

        return getattr(api, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
