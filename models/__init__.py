"""Generators of single-cell RNA-seq counts: the interface, the models, controls and the external adapter.

Nothing here imports ``bench``, ``metrics`` or ``datasets``: a model is usable alone, in a
notebook, on an AnnData object or on plain arrays.
"""
