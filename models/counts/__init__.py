"""What generators of counts share: likelihood, batches, networks, training, mixtures, drawing, storing.

A further count model is a `models.counts.generator.CountGenerator` that says how it learns and how it draws.
"""
