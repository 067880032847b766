"""What more cells than memory take: ``python benchmarks/large_data.py --models activa_counts --json FILE``.

Makes cells up, of several sizes and never in memory together; prepares each file and carries out one Job a
generator, as ``bench run --memory`` does. The peak of a Job is of its whole process tree, from its Record;
that of preparing is of the one process that does it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import sparse_dataset, write_elem
from rich.console import Console
from rich.table import Table

from bench.hardware import describe
from bench.results.run_folder import RunFolder

BLOCK, N_BLOCKS, N_TYPES = 10_000, 8, 20
"""So many different blocks of cells follow each other again and again: what is timed does not see that."""
GIB = 2**30


def made_up(n_genes, values_a_cell, *, seed=0):
    """Return blocks of Poisson counts with so many values above 0 a cell, and the types of their cells."""
    rng = np.random.default_rng(seed)
    means = rng.lognormal(0, 2, n_genes) * rng.lognormal(0, 0.6, (N_TYPES, n_genes))
    means /= means.sum(axis=1, keepdims=True)
    total = 2.0 * values_a_cell
    for _ in range(8):
        total *= values_a_cell / (1 - np.exp(-means * total)).sum(axis=1).mean()
    blocks = []
    for _ in range(N_BLOCKS):
        types, parts = rng.integers(0, N_TYPES, BLOCK), []
        for some in np.split(types, 10):
            libraries = total * rng.lognormal(0, 0.3, (len(some), 1))
            parts.append(sp.csr_matrix(rng.poisson(means[some] * libraries).astype(np.float32)))
        blocks.append((sp.csr_matrix(sp.vstack(parts, format="csr")), types))
    return blocks


def write(path, blocks, n_cells):
    """Write n_cells, a multiple of `BLOCK`, as an .h5ad."""
    order = [blocks[number % N_BLOCKS] for number in range(n_cells // BLOCK)]
    genes = pd.DataFrame(index=[f"gene{number}" for number in range(order[0][0].shape[1])])
    anndata.AnnData(order[0][0], var=genes).write_h5ad(path)
    with h5py.File(path, "a") as file:
        stored = sparse_dataset(file["X"])
        for counts, _ in order[1:]:
            stored.append(counts)
        codes = np.concatenate([types for _, types in order])
        types = pd.Categorical.from_codes(codes, [f"type{number:02}" for number in range(N_TYPES)])
        index = pd.RangeIndex(n_cells).astype(str)
        write_elem(file, "obs", pd.DataFrame({"cell_type": types}, index=index))


def called(*words):
    """Give a command to a process of its own; return its peak in bytes."""
    process = subprocess.Popen([sys.executable, "-m", "bench", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench {' '.join(words)} ended with {process.returncode}")
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def carry_out(cells, home, options):
    """Prepare and train; return a row of what each took."""
    n_cells, started = int(cells.stem), time.perf_counter()
    request = ["--dataset", str(cells), "--label-key", "cell_type", "--memory", options.memory]
    request += ["--models", options.models, "--budget", options.budget, "--metrics", "mmd"]
    peak = called("run", "--plan-only", "--out", str(home / "runs"), *request)
    seconds = time.perf_counter() - started
    (folder,) = (home / "runs").iterdir()
    run, jobs = RunFolder.open(folder), {}
    for job in run.jobs():
        if job.model not in options.models.split(","):
            continue
        called("job", str(folder), job.key)
        record = run.job_folder(job).read_record().plain()
        told = ("status", "reason", "wall_seconds", "phases", "steps", "training", "timing", "memory")
        facts = {name: record[name] for name in told}
        jobs[job.model] = {"batch_size": job.hyperparameters.get("batch_size")} | facts
    return {"n_cells": n_cells, "prepare": {"seconds": seconds, "peak_bytes": peak}, "jobs": jobs}


def table(rows):
    """Lay the rows out, a line for each generator and size."""
    found = Table("cells", "what", "seconds", "of these, its longest phases", "peak, GiB")
    for row in rows:
        seconds, peak = row["prepare"]["seconds"], row["prepare"]["peak_bytes"]
        found.add_row(f"{row['n_cells']}", "prepare", f"{seconds:.0f}", "", f"{peak / GIB:.2f}")
        for model, job in row["jobs"].items():
            longest = sorted(job["phases"].items(), key=lambda phase: -phase[1])[:5]
            words = ", ".join(f"{name} {seconds:.0f}" for name, seconds in longest)
            peak = (job["memory"] or {}).get("peak_rss_bytes") or float("nan")
            found.add_row("", model, f"{job['wall_seconds']:.0f}", words, f"{peak / GIB:.2f}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = "130000,400000,1300000"
    parser.add_argument("--cells", default=sizes, help="sizes, multiples of 10 000, ascending")
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--values", type=int, default=248, help="counts above 0 of a cell")
    parser.add_argument("--models", default="activa_counts")
    parser.add_argument("--budget", default="300steps")
    parser.add_argument("--memory", default="1GB", help="as for bench run")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console, rows = Console(soft_wrap=True, highlight=False), []
    blocks = made_up(options.genes, options.values)
    for n_cells in map(int, options.cells.split(",")):
        with tempfile.TemporaryDirectory() as home:
            os.environ["BENCH_CACHE"] = f"{home}/cache"
            cells = Path(home) / f"{n_cells}.h5ad"
            write(cells, blocks, n_cells)
            rows.append(carry_out(cells, Path(home), options))
        console.print(table(rows[-1:]))
    if options.json:
        known = {"machine": describe(os.environ), "options": vars(options) | {"json": None}, "rows": rows}
        options.json.write_text(json.dumps(known, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
