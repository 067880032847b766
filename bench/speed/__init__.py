"""How fast generators are on this machine, beside each other.

``bench speed --model a,b`` times any of them, in turns (`bench.speed.command`). ACTIVA alone has floors and
the released code beside it: ``benchmarks/activa`` at the repository's top, which uses of this package what
imports on a bare GPU machine. ``bench loaders FILE`` times what reads batches of cells from disk
(`bench.speed.loaders`).
"""
