"""Honest cheap baselines: count models that a network has to beat before its score means anything.

`models.baselines.poisson_factors`, `models.baselines.nb_copula` and `models.baselines.knn_poisson`
hold one generator each; `models.baselines.shared` holds what they share. All return whole counts
of requested types, run on the CPU, and import scikit-learn only when they fit.
"""
