"""How fast ACTIVA (or any generator) is on this machine, beside the release and the machine's own floor.

``python -m bench.speed`` needs only PyTorch, NumPy, SciPy and Rich, so that it runs on a bare GPU machine;
``bench speed`` wraps it and compares any registered generator.
"""
