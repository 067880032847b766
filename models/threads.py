"""One thread for many small products of NumPy: more of them wait for each other, and spin while they do."""

from __future__ import annotations

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits


def one_blas_thread() -> AbstractContextManager[object]:
    """Have the libraries of linear algebra that are loaded use one thread, for as long as this is open."""
    return threadpool_limits(limits=1, user_api="blas")
