"""ACTIVA (Heydari et al. 2022): an introspective VAE of single cells, conditioned by a classifier.

`Activa` is the generator that the harness lists; it speaks AnnData. Behind it lies an array-level
core that needs only PyTorch, NumPy and SciPy::

    from models.activa.sampling import sample_cells
    from models.activa.training import train

    networks = train(matrix, types, n_cell_types=8, seed=0, budget=Budget.parse("500epochs"))
    drawn = sample_cells(networks, 1000, seed=1)
"""

from models.activa.generator import Activa

__all__ = ["Activa"]
