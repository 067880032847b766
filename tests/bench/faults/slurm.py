"""Slurm's commands, as far as bench uses them: tasks of an array are real processes in the background.

The first argument is the command: sbatch, sacct, squeue, scancel or srun. SLURM_FAKE names a folder: in
it ``JOB/INDEX`` holds a task's state, ``JOB/INDEX.pid`` the first of its processes, ``calls`` each command.
A file ``end-JOB_INDEX`` that holds a state (TIMEOUT, OUT_OF_MEMORY) has this task ended so, once
there is a file ``begun``; while there is one called ``hold``, no task begins.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

HOME = Path(os.environ["SLURM_FAKE"])


def sbatch(script):
    text = Path(script).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", text, re.MULTILINE))
    if options.get("partition") == "closed":
        sys.exit("sbatch: error: invalid partition specified: closed")
    number = 1 + sum(path.is_dir() for path in HOME.iterdir())
    (HOME / str(number)).mkdir()
    (HOME / str(number) / "script").write_text(text)
    last = int(re.match(r"0-(\d+)", options["array"])[1]) if "array" in options else None
    for index in [0] if last is None else range(last + 1):
        (HOME / str(number) / str(index)).write_text("PENDING")
        name = f"{number}" if last is None else f"{number}_{index}"
        output = options["output"].strip("'").replace("%A_%a", name).replace("%j", name).replace("%t", "0")
        command = [sys.executable, __file__, "task", str(number), str(index), script, output, str(last)]
        # Nobody waits for it, nor for the end of its output.
        nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        subprocess.Popen(command, start_new_session=True, **nothing)
    sys.stdout.write(f"Submitted batch job {number}\n")


def task(number, index, script, output, last):
    """Watch one task: what ends it becomes its state."""
    state = HOME / number / index
    while (HOME / "hold").exists():
        time.sleep(0.05)
        if state.read_text().startswith("CANCELLED"):
            return
    environment = os.environ | {"SLURM_JOB_ID": f"{number}{index}" if last != "None" else number}
    if last != "None":
        environment |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
    with Path(output).open("a") as log:
        process = subprocess.Popen(
            ["bash", script], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    (HOME / number / f"{index}.pid").write_text(str(process.pid))
    state.write_text("RUNNING")
    wanted = HOME / f"end-{number}_{index}"
    while process.poll() is None:
        if wanted.exists() and (HOME / "begun").exists():
            state.write_text(wanted.read_text())
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        time.sleep(0.02)
    if state.read_text() == "RUNNING":
        state.write_text("COMPLETED" if process.returncode == 0 else "FAILED")


def states():
    for folder in sorted(path for path in HOME.iterdir() if path.is_dir()):
        array = "--array=" in (folder / "script").read_text()
        for file in sorted(folder.glob("[0-9]*")):
            if file.suffix != ".pid":
                yield f"{folder.name}_{file.name}" if array else folder.name, file.read_text()


def sacct(*_options):
    sys.stdout.write("JobID|State|NodeList\n")
    for name, state in states():
        sys.stdout.write(f"{name}|{state}|node1\n")


def scancel(*numbers):
    for file in (file for number in numbers for file in (HOME / number).glob("[0-9]*")):
        if file.suffix == ".pid":
            continue
        if file.read_text() in ("PENDING", "RUNNING"):
            file.write_text("CANCELLED by 0")
        pid = file.with_name(f"{file.name}.pid")
        if pid.exists():
            with suppress(ProcessLookupError):
                os.killpg(int(pid.read_text()), signal.SIGKILL)


def squeue(*_options):
    for name, state in states():
        sys.stdout.write(f"{name} {state}\n")


def srun(*_options):
    sys.exit("srun: error: no step is started here")


if __name__ == "__main__":
    called, *given = sys.argv[1:]
    if called == "task":
        task(*given)
    else:
        with (HOME / "calls").open("a") as calls:
            calls.write(f"{called} {' '.join(given)}\n")
        {"sbatch": sbatch, "sacct": sacct, "scancel": scancel, "squeue": squeue, "srun": srun}[called](*given)
