import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import numpy
import psutil
import pytest

from bench import hardware
from bench.hardware import check, declared, describe, fingerprint, has_cuda, known_names, load

GIB = 2**30

MACHINE = {
    "cpu_model": "Intel(R) Xeon(R) Gold 6148",
    "cpu_features": ["avx2", "avx512f"],
    "physical_cores": 20,
    "logical_cores": 40,
    "cpu_quota": None,
    "governor": "performance",
    "memory_bytes": 192 * GIB,
    "gpus": [{"model": "Tesla V100-SXM2-16GB", "memory_bytes": int(15.78 * GIB)}],
    "driver": "550.54",
    "operating_system": "Linux",
    "python": "3.11.7",
    "versions": {"torch": "2.13.0"},
    "threads": {},
}


class FakeError(Exception):
    pass


def fake_nvml(names=("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe"), **replaced):
    def init():
        if not names:
            raise FakeError("no driver")

    def mig(uuid):
        if uuid != "MIG-7":
            raise FakeError(uuid)
        return "slice"

    def memory(device):
        return SimpleNamespace(total=(80 + device) * GIB, used=GIB)

    functions = {
        "NVMLError": FakeError,
        "nvmlInit": init,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(names),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetHandleByUUID": mig,
        "nvmlDeviceGetUUID": lambda device: f"GPU-{device}abc",
        "nvmlDeviceGetName": lambda device: names[device],
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetUtilizationRates": lambda device: SimpleNamespace(gpu=30 + device),
        "nvmlSystemGetDriverVersion": lambda: "570.1",
    }
    return SimpleNamespace(**functions | replaced)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(()))


def test_description_agrees_with_the_machine(no_driver):
    description = describe({"OMP_NUM_THREADS": "3", "HOME": "/"})
    assert description["memory_bytes"] == psutil.virtual_memory().total
    assert 1 <= description["physical_cores"] <= description["logical_cores"] <= os.cpu_count()
    assert description["cpu_model"]
    assert description["python"] == platform.python_version()
    assert description["versions"]["numpy"] == numpy.__version__
    assert description["threads"] == {"OMP_NUM_THREADS": "3"}
    assert (description["gpus"], description["driver"]) == ([], None)
    assert not has_cuda()
    assert load()["gpu_utilisation_percent"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_only_usable_cores_count():
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from bench.hardware import describe; d = describe(); print(d['logical_cores'], d['physical_cores'])"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["1", "1"]


def test_linux_files_are_read(monkeypatch):
    files = {
        "/proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC 9\nflags\t\t: fpu avx2 avx512_bf16\n\n"
        "processor\t: 1\nmodel name\t: AMD EPYC 9\nflags\t\t: fpu avx2 avx512_bf16\n",
        "/proc/self/cgroup": "0::/box/job\n",
        "/sys/fs/cgroup/box/job/cpu.max": "max 100000\n",
        "/sys/fs/cgroup/box/cpu.max": "250000 100000\n",
        "/sys/fs/cgroup/cpu.max": "800000 100000\n",
        "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave\n",
        "/proc/pressure/cpu": "some avg10=12.34 avg60=0.00 avg300=0.09 total=4289055\n",
    } | {
        f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list": f"{core % 2},{core % 2 + 2}\n"
        for core in range(4)
    }
    monkeypatch.setattr(hardware, "_read", lambda path: files.get(str(path), ""))
    monkeypatch.setattr(hardware, "_usable_cores", lambda: [1, 2, 3])
    description = describe({})
    assert description["cpu_model"] == "AMD EPYC 9"
    assert description["cpu_features"] == ["avx2", "avx512_bf16"]
    assert (description["logical_cores"], description["physical_cores"]) == (3, 2)
    assert description["cpu_quota"] == 2.5
    assert description["governor"] == "powersave"
    assert load()["cpu_pressure_percent"] == 12.34


def test_without_those_files_the_machine_is_still_described(monkeypatch):
    monkeypatch.setattr(hardware, "_read", lambda path: "")
    description = describe({})
    assert description["cpu_model"]
    assert description["cpu_features"] == []
    assert (description["cpu_quota"], description["governor"]) == (None, None)
    assert load()["cpu_pressure_percent"] is None


def test_gpus_come_from_nvml(two_gpus):
    description = describe({})
    assert description["gpus"] == [
        {"model": "NVIDIA H100 80GB HBM3", "memory_bytes": 80 * GIB},
        {"model": "NVIDIA H100 PCIe", "memory_bytes": 81 * GIB},
    ]
    assert description["driver"] == "570.1"
    assert has_cuda()
    assert load()["gpu_utilisation_percent"] == [30, 31]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("", []),
        ("-1", []),
        ("1", [81]),
        ("1, 0", [81, 80]),
        ("0,5,1", [80]),
        ("GPU-1a", [81]),
        ("GPU-", []),
        ("MIG-7", [10]),
        ("MIG-8", []),
    ],
)
def test_hidden_gpus_do_not_count(monkeypatch, visible, expected):
    sizes = {0: 80, 1: 81, "slice": 10}
    nvml = fake_nvml(
        nvmlDeviceGetName=str,
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(total=sizes[device] * GIB),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu["memory_bytes"] / GIB for gpu in describe()["gpus"]] == expected
    assert has_cuda() == bool(expected)


def test_a_gpu_without_memory_of_its_own_has_the_machines(monkeypatch):
    def unsupported(device):
        raise FakeError("not supported")

    nvml = fake_nvml(
        ("NVIDIA GB10",), nvmlDeviceGetMemoryInfo=unsupported, nvmlDeviceGetUtilizationRates=unsupported
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert describe()["gpus"] == [
        {"model": "NVIDIA GB10", "memory_bytes": psutil.virtual_memory().total},
    ]
    assert load()["gpu_utilisation_percent"] == []


def test_nvml_is_closed_as_often_as_opened(monkeypatch):
    opened = []
    nvml = fake_nvml(nvmlInit=lambda: opened.append(1), nvmlShutdown=opened.pop)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    describe()
    load()
    has_cuda()
    assert opened == []


def test_fingerprint_is_stable_and_knows_no_load(monkeypatch):
    before = describe()["fingerprint"]
    monkeypatch.setattr(psutil, "getloadavg", lambda: (99.0, 99.0, 99.0))
    assert load()["load_average"] == [99.0, 99.0, 99.0]
    assert describe()["fingerprint"] == before
    assert len(before) == 12


@pytest.mark.parametrize(
    ("key", "value", "changes"),
    [
        ("cpu_model", "AMD EPYC", True),
        ("cpu_features", ["avx2"], True),
        ("physical_cores", 10, True),
        ("logical_cores", 20, True),
        ("cpu_quota", 2.0, True),
        ("governor", "powersave", True),
        ("memory_bytes", 96 * GIB, True),
        ("memory_bytes", 192 * GIB - 1000, False),
        ("gpus", [], True),
        ("gpus", MACHINE["gpus"] * 2, True),
        ("gpus", [{"model": "Tesla V100-SXM2-16GB", "memory_bytes": 31 * GIB}], True),
        ("driver", "560.1", True),
        ("threads", {"OMP_NUM_THREADS": "1"}, True),
        ("versions", {"torch": "2.14.0"}, False),
        ("python", "3.12.0", False),
        ("operating_system", "Linux 7", False),
    ],
)
def test_fingerprint_covers_what_makes_timings_unlike(key, value, changes):
    assert (fingerprint(MACHINE | {key: value}) != fingerprint(MACHINE)) == changes


def test_a_machine_as_declared_has_no_mismatch(tmp_path):
    assert check(declared("v100"), MACHINE) == []
    path = tmp_path / "ours.toml"
    path.write_text(
        '[machine]\ngpu_model = "v100-sxm2"\ngpu_count = 1\nmin_gpu_memory_gib = 15.5\n'
        'cpu_model = "xeon(r) gold"\nmin_cores = 40\nmin_memory_gib = 192\n'
    )
    assert declared(str(path)).name == "ours"
    assert check(declared(path), MACHINE) == []


def test_every_mismatch_is_a_line(tmp_path):
    path = tmp_path / "ours.toml"
    path.write_text(
        '[machine]\ngpu_model = "H100"\ngpu_count = 2\nmin_gpu_memory_gib = 75\n'
        'cpu_model = "EPYC"\nmin_cores = 41\nmin_memory_gib = 192.5\n'
    )
    assert check(declared(path), MACHINE) == [
        "gpu_model: declared 'H100', this machine has Tesla V100-SXM2-16GB",
        "gpu_count: declared 2, this machine has 1 (CUDA_VISIBLE_DEVICES chooses among them)",
        "min_gpu_memory_gib: declared 75, this machine has a GPU with 15.8",
        "cpu_model: declared 'EPYC', this machine has Intel(R) Xeon(R) Gold 6148",
        "min_cores: declared 41, this process may use 40",
        "min_memory_gib: declared 192.5, this machine has 192.0",
    ]


def test_no_gpu_where_one_is_declared_and_the_reverse():
    bare = MACHINE | {"gpus": []}
    assert check(declared("v100"), bare) == [
        "gpu_model: declared 'V100', this machine has none",
        "min_gpu_memory_gib: declared 15, this machine has none",
    ]
    assert check(declared("cpu"), bare) == []
    assert [line.split(":")[0] for line in check(declared("cpu"), MACHINE)] == ["gpu_count"]


@pytest.mark.parametrize(
    ("name", "model", "memory_gib", "fits"),
    [
        ("v100", "Tesla V100-PCIE-32GB", 31.7, True),
        ("h100", "NVIDIA H100 80GB HBM3", 79.6, True),
        ("h100", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9.6, False),
        ("h200", "NVIDIA H200", 140.4, True),
        ("h200", "NVIDIA GH200 480GB", 140.4, False),
        ("h100", "NVIDIA H200", 140.4, False),
    ],
)
def test_built_in_declarations(name, model, memory_gib, fits):
    gpus = [{"model": model, "memory_bytes": int(memory_gib * GIB)}]
    assert (check(declared(name), MACHINE | {"gpus": gpus}) == []) == fits


def test_every_gpu_must_be_as_declared():
    odd = [*MACHINE["gpus"], {"model": "Tesla T4", "memory_bytes": 15 * GIB}]
    assert check(declared("v100"), MACHINE | {"gpus": odd}) == [
        "gpu_model: declared 'V100', this machine has Tesla V100-SXM2-16GB, Tesla T4"
    ]


def test_unknown_names_list_the_known_ones():
    assert known_names() == ["cpu", "h100", "h200", "v100"]
    with pytest.raises(ValueError, match=r"'v1000' is unknown: use cpu, h100, h200, v100 or the path"):
        declared("v1000")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[machine]\ngpus = 1\n", "unknown key 'gpus'"),
        ("[machine]\ngpu_count = 1\n[model]\nx = 1\n", r"has machine, model at its top"),
        ("gpu_count = 1\n", r"it needs \[machine\]"),
        ("", "has nothing at its top"),
        ("machine = 3\n", r"it needs \[machine\]"),
        ('[machine]\ngpu_count = "two"\n', "gpu_count = 'two' in .* should be a whole number"),
        ("[machine]\nmin_cores = true\n", "min_cores = True in .* should be a whole number"),
        ("[machine]\nmin_memory_gib = []\n", "should be a number"),
        ("[machine]\ngpu_model = 100\n", "should be text"),
        ("[machine\n", "is not TOML"),
    ],
)
def test_declarations_that_cannot_be_read_are_named(tmp_path, text, message):
    path = tmp_path / "ours.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        declared(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_heavy_is_imported():
    script = (
        "import sys, bench.hardware, bench.work.resources, bench.work.clock\n"
        "bench.hardware.describe(); bench.hardware.load(); bench.work.resources.framework_peak_bytes()\n"
        "heavy = {'torch', 'tensorflow', 'numpy', 'pandas', 'anndata', 'mlflow', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (2.5, 2), (0.5, 1), (8.0, 4)])
def test_a_quota_leaves_fewer_cores(monkeypatch, quota, cores):
    monkeypatch.setattr(hardware, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert hardware.usable_cores() == cores
