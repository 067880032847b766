"""Scores of synthetic cells: pure functions from arrays to numbers, one idea per file.

`metrics.evidence` prepares real and synthetic cells once for all metrics; each metric's module
holds a pure function and a `Metric` declaration of what the number means.
"""
