"""Where a worker's modules come from: its own checkout, and none of the other's."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

PACKAGES = ("datasets", "metrics", "models", "reports")
"""Beside this one."""


def import_from(root: Path | None) -> None:
    """Have modules imported from a checkout first, if one is given, and from the current folder last.

    The packages of this distribution are imported before, so that no folder of that name is taken for one.
    """
    first = []
    if root is not None:
        for name in PACKAGES:
            import_module(name)
        first = [str(root), str(root / "src")]
    sys.path[:] = [*first, *sys.path, str(Path.cwd())]


def require_own(own: Path, other: Path) -> None:
    """Refuse modules of the other checkout, such as those that an editable installation of it lends.

    Parameters
    ----------
    own, other
        Root folders of the two checkouts; one may lie within the other.

    Raises
    ------
    ImportError
        If one has been imported; the message names it and the file.
    """
    own, other = own.resolve(), other.resolve()
    # An environment, or this package, may lie in a checkout and still be what both sides share.
    shared = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parents[2]} - {other}
    within = [folder for folder in (own, *shared) if folder.is_relative_to(other)]
    for name, module in sorted(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or sys.executable).resolve()
        if file.is_relative_to(other) and not any(map(file.is_relative_to, within)):
            raise ImportError(
                f"module {name} comes from the other checkout, {file}: each side must find it in its own, "
                "at the top or in src"
            )
