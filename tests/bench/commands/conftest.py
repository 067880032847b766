"""What tests of commands share."""

import sys

import pytest

from bench import cli


@pytest.fixture
def answer(tmp_path, monkeypatch, capfd):
    """Return a function that gives a command to this process: exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capfd.readouterr()

    return call
