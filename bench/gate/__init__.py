"""The gate tells whether a change made a generator slower, hungrier or worse.

Three tiers, by what they compare. *Wall clock* (`bench.gate.wall_clock`): base and head run in turns on this
machine. *Counts* (`bench.gate.counts`): what does not depend on the machine's load, against a stored
baseline. *Quality* (`bench.gate.quality`): scores of a run against those of its baseline's seeds. Files of
pytest-benchmark (`bench.gate.benchmark_files`) are judged like the wall clock. What each finds is a
`bench.gate.findings.Finding`; `bench.gate.command` puts them together.
"""
