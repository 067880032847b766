"""How fast ACTIVA is on this machine, beside its release and the machine's own floor.

``python -m benchmarks.activa`` from the repository's top needs only PyTorch, NumPy, SciPy and Rich, so that
it runs on a bare GPU machine. ``pytest benchmarks`` times the same with pytest-benchmark, for ``bench gate``.
"""
