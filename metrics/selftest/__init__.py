"""Do the metrics see what they should? Real cells, made worse step by step, and traps that metrics fall into.

The cells to start from are real cells that no training cell is a copy of: what a perfect generator would
make. `ladder` names the ways in which they are made worse, `expectations` the metrics that must answer each,
`traps` the mistakes that metrics are known to make; `run.self_test` does it all and returns plain data.
"""
