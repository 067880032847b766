"""The command line of `benchmarks.activa`, its workload, and what it may import."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from bench.errors import WRONG_REQUEST
from benchmarks.activa.__main__ import MEASURES, main, parse
from benchmarks.activa.memory import peak_rss_above
from benchmarks.activa.rates import measured_precisions
from benchmarks.activa.workload import ActivaShape, activa_networks, plain_networks, training_cells
from models.activa.reference import sample_plainly
from models.activa.settings import Settings
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow

TINY = [
    *("--cells", "200", "--genes", "60", "--types", "2", "--sample-cells", "300", "--on-demand-cells", "3"),
    *("--repeats", "2", "--limit", "5", "--device", "cpu"),
]
NOT_NEEDED = (
    *("anndata", "h5py", "igraph", "leidenalg", "matplotlib", "mlflow", "pandas", "platformdirs"),
    *("psutil", "pydantic", "pynvml", "safetensors", "scanpy", "sklearn", "tensorflow", "typer"),
)
BARE = f"""
import sys
sys.modules |= dict.fromkeys({NOT_NEEDED!r})  # None: importing it fails as if it were not installed
from benchmarks.activa.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


PLAIN = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""PyTorch's and oneDNN's own switches: what they let a CPU do has no bf16 units."""


@pytest.mark.parametrize("switches", [{}, PLAIN], ids=["this CPU", "a CPU without bf16 units"])
def test_a_bare_machine_measures_everything_it_has_units_for(tmp_path, switches):
    file = tmp_path / "speed.json"
    done = subprocess.run(
        [sys.executable, "-c", BARE, *TINY, "--json", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | switches,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    kinds = ("fp32",) if switches else measured_precisions("cpu")
    assert ("has no bf16 units" in done.stdout) == (kinds == ("fp32",))
    found = json.loads(file.read_text())
    assert len(found["machine"]["fingerprint"]) == 12
    assert found["shape"]["n_genes"] == 60 and found["shape"]["batch_size"] == 128
    names = [(row["measure"], row["name"]) for row in found["rows"]]
    assert names == [
        *[("step", f"{objective}, {kind}") for objective in ("paper", "release") for kind in kinds],
        ("step, streamed", f"paper, {kinds[-1]}"),
        *[("epoch", f"paper, {kind}") for kind in kinds],
        *[(f"sampling{how}", kind) for how in ("", ", streamed") for kind in kinds],
        *[("on demand", kind) for kind in kinds],
    ]
    (streamed,) = [row for row in found["rows"] if row["measure"] == "step, streamed"]
    assert streamed["failed"] == "all cells fit on the device: give more --cells"
    for row in found["rows"]:
        if row is streamed:
            continue
        assert row["median_seconds"] > 0 and row["floor_seconds"] > row["wide_floor_seconds"] > 0
        assert (row["ratio"] is None) == (row["measure"] == "sampling, streamed")


def test_options_replace_the_shapes_numbers():
    asked = parse(["--quick", "--genes=500", "--repeats=2", "--measures=sampling, step", "--device=cpu"])
    assert asked.shape == ActivaShape(n_cells=1_280, n_genes=500, sample_cells=4_000, on_demand_cells=60)
    assert (asked.effort.repeats, asked.effort.limit_seconds) == (2, 10.0)
    assert asked.names == ("sampling", "step")
    full = parse(["--device=cpu"])
    assert full.shape == ActivaShape(20_000, 17_970, 8, 100_000, 1_500, 0.01)
    assert full.names == tuple(MEASURES)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--measures=speed"], "--measures 'speed': choose from step, streamed_step, epoch"),
        (["--measures= , "], "--measures ' , ' names nothing"),
        (["--on-demand-cells=0"], "--on-demand-cells 0 is too small: give at least 1"),
        (["--device=tpu"], "--device 'tpu': choose from auto, cpu, cuda"),
        (["--json=nowhere/speed.json"], "--json 'nowhere/speed.json': give a file in a folder that exists"),
    ],
)
def test_wrong_requests_are_named_in_one_line(capsys, options, words):
    assert main(options) == WRONG_REQUEST
    told = capsys.readouterr().err
    assert told.startswith(f"benchmarks.activa: {words}") and told.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused(capsys):
    assert main(["--device", "cuda"]) == WRONG_REQUEST
    assert "PyTorch sees no GPU" in capsys.readouterr().err


def test_training_cells_have_the_papers_library_and_their_density():
    matrix, types = training_cells(ActivaShape(n_cells=400, n_genes=2_000, n_types=4))
    assert matrix.shape == (400, 2_000) and matrix.dtype == np.float32
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)).ravel(), 20_000, rtol=1e-5)
    assert set(types) == {0, 1, 2, 3}
    assert 0.05 < matrix.nnz / (400 * 2_000) < 0.5


def test_networks_draw_the_density_and_the_share_of_the_rare_type_that_were_asked_for():
    shape = ActivaShape(n_genes=200, n_types=4, rare_share=0.05)
    plain = plain_networks(shape, density=0.06, device="cpu", seed=3)
    cells = sample_plainly(plain, 4_000, seed=11)
    assert cells.nnz / (4_000 * 200) == pytest.approx(0.06, abs=0.005)
    calls = plain.classifier(torch.from_numpy(cells.toarray())).argmax(dim=1)
    # Four standard errors of 4000 draws, and as much again for the pilot's.
    assert float((calls == 0).float().mean()) == pytest.approx(0.05, abs=0.02)


def test_activas_networks_have_the_plain_ones_weights():
    shape = ActivaShape(n_genes=80, n_types=3)
    plain = plain_networks(shape, density=0.06, device="cpu")
    networks = activa_networks(plain, Settings(precision="fp32"), n_types=3)
    latent = torch.randn(10, 128)
    with torch.no_grad():
        cells = networks.decoder(latent)
        torch.testing.assert_close(cells, plain.decoder(latent))
        torch.testing.assert_close(networks.conditioner(cells), plain.classifier(cells))
        torch.testing.assert_close(networks.encoder(cells)[0], plain.encode(cells)[0])


def test_the_peak_of_a_stretch_of_work_is_what_it_held_at_most():
    def work():
        passing = np.ones(25_000_000)  # 200 MB, gone before the end
        del passing
        return np.ones(6_250_000)  # 50 MB

    peak = peak_rss_above(work)
    if peak is None:
        pytest.skip("this kernel keeps no mark of the peak that could be set back")
    assert 190e6 < peak < 260e6
