"""Ctrl-C at awkward moments: exit code 130 and one line, never a traceback."""

import subprocess
import sys

import pytest

INTERRUPTED_IMPORT = """
import importlib.abc, runpy, sys

class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupts())
runpy.run_module("bench", run_name="__main__")
"""

PRESSED_TWICE = """
import os, signal, sys
from bench import __main__, cli

def interrupted_while_it_ends(**_):
    sys.stderr = Pressing(sys.stderr)
    os.kill(os.getpid(), signal.SIGINT)

class Pressing:
    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        os.kill(os.getpid(), signal.SIGINT)
        return self.stream.write(text)

    def flush(self):
        self.stream.flush()

cli.app = interrupted_while_it_ends
__main__.main()
"""

IN_A_COMMAND = """
import os, signal, sys, threading, time
from bench import __main__, hardware

def press():
    os.kill(os.getpid(), signal.SIGINT)

def works():
    try:
        press()
        time.sleep(60)
    finally:
        # It ends what it has started.
        press()

hardware.describe = works
# As the interpreter ends, it waits for threads.
threading.Thread(target=lambda: (threading.main_thread().join(), press())).start()
sys.argv = ["bench", "hardware"]
__main__.main()
"""

LOST = """
import os, signal, sys, time
from bench import __main__, cli

class Destroyed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)

def works(**_):
    Destroyed()
    time.sleep(60)

cli.app = works
__main__.main()
"""

TURNED_INTO_ANOTHER = """
import os, signal, time
from bench import __main__, cli

def works(**_):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        raise SystemError("import of a compiled module")

cli.app = works
__main__.main()
"""


def run(script):
    # As a shell starts it: a parent that ignores Ctrl-C would have its children ignore it, too.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + script
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "script", [INTERRUPTED_IMPORT, PRESSED_TWICE, IN_A_COMMAND, LOST, TURNED_INTO_ANOTHER]
)
def test_ctrl_c_at_any_moment(script):
    assert run(script) == (130, "bench: interrupted; what was finished is kept\n")


def test_without_ctrl_c_an_error_stays_an_error():
    script = "from bench import __main__, cli\ncli.app = lambda **_: 1 / 0\n__main__.main()"
    returncode, error = run(script)
    assert returncode == 1
    assert error.endswith("ZeroDivisionError: division by zero\n")
