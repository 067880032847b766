"""Statistical simulators that the literature compares networks with, in small native versions.

One file each: `splatter`, `symsim`, `spsimseq`, `simseq`, `polyester`, `thinning`, `sugar`;
`models.simulators.shared` holds what they share. All are baselines, estimate their parameters from the
training cells, and run by name or with ``--models all``.
"""
