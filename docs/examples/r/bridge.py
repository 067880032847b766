"""Between the .h5ad files of the generator `external` and text that any program can read; NumPy and h5py.

    python bridge.py fit TRAIN MODEL SEED COMMAND...
    python bridge.py sample MODEL N_CELLS SEED OUTPUT CELL_TYPES COMMAND...

fit runs ``COMMAND fit FOLDER MODEL SEED``; FOLDER holds counts.txt (gene, cell and count of each that is
not 0, numbers from 1), types.txt and genes.txt (a line for each cell and each gene). sample runs
``COMMAND sample FOLDER MODEL SEED N_CELLS``, with types.txt in FOLDER where types are asked for; the program
writes counts.txt of the same form there and, where it knows them, types.txt. FOLDER is gone afterwards.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np


def fit(train, model, seed, *command):
    """Write the training cells as text and have the program learn from them."""
    with tempfile.TemporaryDirectory() as folder, h5py.File(train, "r") as cells:
        stored = cells["layers/counts"]
        n_each = np.diff(stored["indptr"][:])
        triplets = [
            stored["indices"][:] + 1,
            np.repeat(np.arange(len(n_each)), n_each) + 1,
            stored["data"][:],
        ]
        np.savetxt(Path(folder, "counts.txt"), np.column_stack(triplets), fmt="%d")
        names = cells["obs/cell_type/categories"].asstr()[:]
        write_lines(Path(folder, "types.txt"), names[cells["obs/cell_type/codes"][:]])
        write_lines(Path(model, "genes.txt"), cells["var/_index"].asstr()[:])
        shutil.copy(Path(model, "genes.txt"), folder)
        subprocess.run([*command, "fit", folder, model, seed], check=True)


def sample(model, n_cells, seed, output, cell_types, *command):
    """Have the program draw cells and write them as .h5ad."""
    genes = read_lines(Path(model, "genes.txt"))
    with tempfile.TemporaryDirectory() as folder:
        types = Path(folder, "types.txt")
        if cell_types:
            shutil.copy(cell_types, types)
        subprocess.run([*command, "sample", folder, model, seed, n_cells], check=True)
        gene, cell, count = np.loadtxt(Path(folder, "counts.txt"), ndmin=2, dtype=np.int64).reshape(-1, 3).T
        labels = read_lines(types) if types.exists() else None
    order = np.lexsort((gene, cell))
    with h5py.File(output, "w") as file:
        matrix = file.create_group("X")
        mark(matrix, "csr_matrix", "0.1.0")
        matrix.attrs["shape"] = int(n_cells), len(genes)
        matrix["data"], matrix["indices"] = count[order].astype("float32"), gene[order] - 1
        per_cell = np.bincount(cell - 1, minlength=int(n_cells))
        matrix["indptr"] = np.append(0, np.cumsum(per_cell))
        known = {} if labels is None else {"cell_type": labels}
        write_table(file, "obs", [str(row) for row in range(int(n_cells))], **known)
        write_table(file, "var", genes)


def mark(element, kind, version):
    """Say what an element of the file is, as anndata does."""
    element.attrs["encoding-type"], element.attrs["encoding-version"] = kind, version


def write_table(file, name, index, **columns):
    """Write obs or var."""
    table, text = file.create_group(name), h5py.string_dtype()
    mark(table, "dataframe", "0.2.0")
    table.attrs["_index"] = "_index"
    table.attrs.create("column-order", list(columns), dtype=text, shape=(len(columns),))
    for column, values in (columns | {"_index": index}).items():
        table.create_dataset(column, data=np.array(values, dtype=object), dtype=text)
        mark(table[column], "string-array", "0.2.0")


def read_lines(path):
    """Return the lines of a text file."""
    return path.read_text(encoding="utf-8").splitlines()


def write_lines(path, lines):
    """Write one line for each."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    {"fit": fit, "sample": sample}[sys.argv[1]](*sys.argv[2:])
