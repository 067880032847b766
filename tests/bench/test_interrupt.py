"""Ctrl-C at awkward moments: exit code 130 and one line, never a traceback."""

import subprocess
import sys

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
from bench import cli

def interrupted_while_it_ends(**_):
    sys.stderr = Pressing(sys.stderr)
    raise KeyboardInterrupt

class Pressing:
    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        os.kill(os.getpid(), signal.SIGINT)
        return self.stream.write(text)

    def flush(self):
        self.stream.flush()

cli.app = interrupted_while_it_ends
cli.main()
"""


def run(script):
    # As a shell starts it: a parent that ignores Ctrl-C would have its children ignore it, too.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + script
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_ctrl_c_while_the_command_line_is_imported():
    assert run(INTERRUPTED_IMPORT) == (130, "bench: interrupted\n")


def test_ctrl_c_pressed_again_while_it_ends():
    assert run(PRESSED_TWICE) == (130, "bench: interrupted; what was finished is kept\n")
