"""A third party's generator: independent Poisson counts at the mean of each gene."""

import numpy as np
from scipy.sparse import csr_matrix

from models.base import Generator, Unsupported


class TinyGenerator(Generator):
    """Every count is Poisson at its gene's mean count over all training cells.

    Parameters
    ----------
    scale
        Factor on the mean counts.
    """

    name = "tiny"
    licence = "MIT"
    paper = "none"

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        """Take the means; see `Generator.fit`."""
        self.means = np.asarray(train.layers["counts"].mean(axis=0), dtype=np.float64).ravel()
        self.genes = np.asarray(train.var_names, dtype=np.str_)

    def sample(self, n_cells, *, cell_types=None, seed):
        """Draw counts; see `Generator.sample`."""
        import pandas as pd
        from anndata import AnnData

        if cell_types is not None:
            raise Unsupported("tiny: cannot draw cells of a given type; leave cell_types out")
        rng = np.random.default_rng(seed)
        counts = rng.poisson(self.scale * self.means, (n_cells, len(self.means)))
        obs = pd.DataFrame(index=pd.RangeIndex(n_cells).astype(str))
        return AnnData(
            csr_matrix(counts, dtype=np.float32), obs=obs, var=pd.DataFrame(index=list(self.genes))
        )

    def save(self, folder):
        """Write ``tiny.npz``."""
        np.savez(folder / "tiny.npz", scale=self.scale, means=self.means, genes=self.genes)

    @classmethod
    def load(cls, folder, *, device="cpu"):
        """Read back what `save` wrote."""
        with np.load(folder / "tiny.npz", allow_pickle=False) as stored:
            tiny = cls(scale=float(stored["scale"]))
            tiny.means, tiny.genes = stored["means"], stored["genes"]
        return tiny
