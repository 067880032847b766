"""Cells whose matrices stay on disk, in the formats that generators may meet."""

import anndata
import h5py
import numpy as np
import pandas as pd
import zarr

KINDS = ["plain", "h5ad", "dense_h5ad", "zarr"]
"""A file of ours, AnnData's own (in chunks), one with a dense matrix, a Zarr store."""


def as_stored(matrix, kind, folder):
    """The same cells as an AnnData whose X stays on disk."""
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(np.array(["a", "b", "c"])[np.arange(matrix.shape[0]) % 3])},
        index=[f"cell {row}" for row in range(matrix.shape[0])],
    )
    adata = anndata.AnnData(matrix, obs=obs)
    if kind in ("h5ad", "dense_h5ad"):
        stored = adata if kind == "h5ad" else anndata.AnnData(matrix.toarray(), obs=obs)
        stored.write_h5ad(folder / "cells.h5ad")
        return anndata.read_h5ad(folder / "cells.h5ad", backed="r")
    if kind == "plain":
        with h5py.File(folder / "cells.h5", "w") as file:
            for part in ("data", "indices", "indptr"):
                file[f"X/{part}"] = getattr(matrix, part)
            file["X"].attrs.update(
                {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": matrix.shape}
            )
        group = h5py.File(folder / "cells.h5")["X"]
    else:
        adata.write_zarr(folder / "cells.zarr")
        group = zarr.open_group(folder / "cells.zarr", mode="r")["X"]
    return anndata.AnnData(anndata.io.sparse_dataset(group), obs=obs, var=adata.var)
