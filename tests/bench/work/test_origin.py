"""Whose modules a worker has imported."""

import sys
from types import ModuleType

import pytest

from bench.work.origin import require_own
from tests.places import REPOSITORY


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Pretend that a module was imported from a file below the test's folder."""

    def pretend(file):
        module = ModuleType("pretended")
        module.__file__ = str(tmp_path / file)
        monkeypatch.setitem(sys.modules, "pretended", module)

    return pretend


@pytest.mark.parametrize(
    ("own", "other", "file", "allowed"),
    [
        ("base", "head", "base/a.py", True),
        ("base", "head", "head/a.py", False),
        ("base", "head", "elsewhere/a.py", True),
        ("base", "head", "head/.venv/a.py", True),
        # A base that lies in head's checkout, and the other way round.
        ("head/base", "head", "head/base/a.py", True),
        ("head/base", "head", "head/a.py", False),
        ("head", "head/base", "head/base/a.py", False),
        ("head", "head/base", "head/a.py", True),
    ],
)
def test_only_modules_of_the_other_checkout_are_refused(
    tmp_path, monkeypatch, imported, own, other, file, allowed
):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "head" / ".venv"))
    imported(file)
    if allowed:
        require_own(tmp_path / own, tmp_path / other)
    else:
        with pytest.raises(ImportError, match=f"module pretended comes from the other checkout, .*{file}"):
            require_own(tmp_path / own, tmp_path / other)


def test_this_package_is_not_borrowed_from_the_other_checkout():
    home = REPOSITORY
    # Which of its modules is named hangs on what other tests have imported.
    with pytest.raises(ImportError, match=r"module \S+ comes from the other checkout"):
        require_own(home / "elsewhere", home)
