import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from bench.hardware.gpus import process_bytes
from bench.work import resources
from bench.work.resources import ResourceSampler, die_with_parent, framework_peak_bytes, own_peak_rss_bytes
from reports.curves import read_resources
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

MIB = 2**20
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="a Linux facility")

ALLOCATE = "memory = bytearray(b'x') * (200 * 2**20)\n"


def test_memory_is_told_by_phase():
    phase = "load"
    before = psutil.Process().memory_info().rss
    with ResourceSampler(lambda: phase, interval=0.005) as sampler:
        wait_until(lambda: "load" in sampler.result()["by_phase"])
        phase = "fit/warm_up"
        memory = bytearray(b"x") * (200 * MIB)
        wait_until(lambda: sampler.result()["by_phase"].get("fit", 0) > before + 190 * MIB)
        del memory
        phase = "sample"
        wait_until(lambda: "sample" in sampler.result()["by_phase"])
    result = sampler.result()
    peaks = result["by_phase"]
    assert set(peaks) == {"load", "fit", "fit/warm_up", "sample"}
    assert 190 * MIB < peaks["fit"] - before < 260 * MIB
    assert peaks["fit"] == peaks["fit/warm_up"]
    assert peaks["load"] < peaks["fit"] - 150 * MIB
    assert peaks["sample"] < peaks["fit"] - 150 * MIB
    assert result["peak_rss_bytes"] >= peaks["fit"]


def test_memory_outside_of_phases_counts_for_the_whole_alone(monkeypatch):
    monkeypatch.setattr(resources, "own_peak_rss_bytes", lambda: 5)
    sampler = ResourceSampler(lambda: "")
    sampler._peaks.update({"": 900, "fit": 300, "fit/a": 700, "fit/b": 400})
    assert sampler.result()["by_phase"] == {"fit": 700, "fit/a": 700, "fit/b": 400}
    assert sampler.result()["peak_rss_bytes"] == 900


def test_memory_of_a_grandchild_counts():
    grandchild = f"{ALLOCATE}print('ready', flush=True)\ninput()"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {grandchild!r}])"
    own = psutil.Process().memory_info().rss
    with ResourceSampler(lambda: "fit", interval=0.005, tree_interval=0.01) as sampler:
        process = subprocess.Popen(
            [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        wait_until(lambda: sampler.result()["by_phase"].get("fit", 0) > own + 150 * MIB)
        process.communicate("\n")
    result = sampler.result()
    assert result["peak_rss_bytes"] >= result["by_phase"]["fit"]


@linux_only
def test_own_peak_survives_the_memory_but_is_not_the_parents():
    script = (
        f"import subprocess, sys\n{ALLOCATE}del memory\n"
        "from bench.work.resources import own_peak_rss_bytes\n"
        "show = 'from bench.work.resources import own_peak_rss_bytes; print(own_peak_rss_bytes())'\n"
        "print(own_peak_rss_bytes(), flush=True)\n"
        "subprocess.run([sys.executable, '-c', show])"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    parent, child = map(int, output.split())
    assert parent > 200 * MIB
    assert child < 100 * MIB


def test_own_peak_without_proc(monkeypatch):
    def no_such_file(*_):
        raise FileNotFoundError

    exact = own_peak_rss_bytes()
    monkeypatch.setattr(resources.Path, "read_text", no_such_file)
    assert own_peak_rss_bytes() >= 0.9 * exact
    assert resources.oom_kills() == 0


@linux_only
def test_oom_kills_is_the_kernels_counter(monkeypatch):
    monkeypatch.setattr(resources.Path, "read_text", lambda _: "pgfault 12\noom_kill 3\noom_kill_other 9\n")
    assert resources.oom_kills() == 3


def test_framework_peak_comes_from_the_framework_in_use(monkeypatch):
    def torch(peak):
        return SimpleNamespace(
            cuda=SimpleNamespace(is_available=lambda: True, max_memory_allocated=lambda: peak)
        )

    def tensorflow(devices):
        experimental = SimpleNamespace(
            get_memory_info=lambda device: {"GPU:0": {"current": 1, "peak": 77}}[device]
        )
        return SimpleNamespace(
            config=SimpleNamespace(list_physical_devices={"GPU": devices}.get, experimental=experimental)
        )

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    assert framework_peak_bytes() is None
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow([]))
    assert framework_peak_bytes() is None
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow(["one"]))
    assert framework_peak_bytes() == 77
    monkeypatch.setitem(sys.modules, "torch", torch(0))
    assert framework_peak_bytes() == 77
    monkeypatch.setitem(sys.modules, "torch", torch(55))
    assert framework_peak_bytes() == 55


def fake_nvml(used_by_pid):
    class NVMLError(Exception):
        pass

    def processes(device):
        if device == "lost":
            raise NVMLError
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in used_by_pid]

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: f"gpu{index}",
        nvmlDeviceGetComputeRunningProcesses=processes,
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=42, memory=7),
    )


def test_gpu_memory_of_given_processes():
    nvml = fake_nvml([(10, 100), (11, 40), (12, 7), (13, None)])
    assert process_bytes(nvml, ["gpu0", "lost", "gpu1"], {10, 12, 13}) == 214
    assert process_bytes(nvml, ["gpu0"], {13, 99}) is None
    assert process_bytes(None, [], {10}) is None


def test_sampler_reports_gpu_memory_of_this_process(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml([(os.getpid(), 300), (1, 4000)]))
    for framework, expected in ((None, 300), (200, 200)):
        monkeypatch.setattr(resources, "framework_peak_bytes", lambda peak=framework: peak)
        with ResourceSampler(lambda: "fit", interval=0.005) as sampler:
            wait_until(lambda: sampler.result()["by_phase"])
        result = sampler.result()
        assert result["peak_device_bytes"] == expected
        assert result["device"] == {"framework_bytes": framework, "nvml_bytes": 300}


def test_sampler_writes_how_busy_the_gpu_is(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml([(os.getpid(), 3 * 2**29)]))
    path = tmp_path / "resources.jsonl"
    with ResourceSampler(lambda: "fit", interval=0.005, series=path):
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    _, curves = read_resources(path)
    assert (curves["gpu_percent"], curves["gpu_gib"]) == ([(0, 42)], [(0, 1.5)])


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@linux_only
def test_a_worker_dies_with_its_killed_parent():
    worker = (
        "import os, time\nfrom bench.work.resources import die_with_parent\n"
        "die_with_parent(os.getppid())\nprint(os.getpid(), flush=True)\ntime.sleep(600)"
    )
    bystander = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)"
    parent = (
        "import subprocess, sys\n"
        f"started = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)"
        f" for code in ({worker!r}, {bystander!r})]\n"
        "for process in started:\n    print(process.stdout.readline(), end='', flush=True)\n"
        "for process in started:\n    process.wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    worker_pid, bystander_pid = int(process.stdout.readline()), int(process.stdout.readline())
    try:
        assert not gone(worker_pid)
        process.kill()
        process.communicate()
        wait_until(lambda: gone(worker_pid))
        assert not gone(bystander_pid)
    finally:
        os.kill(bystander_pid, signal.SIGKILL)


@linux_only
def test_a_worker_whose_parent_is_gone_already_ends_at_once():
    script = "from bench.work.resources import die_with_parent\ndie_with_parent(2**22 + 1)\nprint('alive')"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "")


def test_die_with_parent_is_nothing_elsewhere(monkeypatch):
    monkeypatch.setattr(resources.sys, "platform", "darwin")
    monkeypatch.delattr(resources.ctypes, "CDLL")
    die_with_parent(2**22 + 1)


@pytest.mark.parametrize(("left", "expected"), [(None, 900), (300, 300), (2000, 900), (-5, 0)])
def test_available_memory_is_what_machine_and_control_group_leave(monkeypatch, left, expected):
    monkeypatch.setattr(resources.psutil, "virtual_memory", lambda: SimpleNamespace(available=900))
    monkeypatch.setattr(resources, "memory_left", lambda: left)
    assert resources.available_bytes() == expected
