"""A store that was moved, or copied, with its folder: its artifacts lie beside it, wherever that is now."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bench.tracking.store import artifacts_of, database_of

PLACES = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}
"""Table of MLflow's database → its column that holds an address."""


def follow_artifacts(out: Path) -> None:
    """Have the store of the runs under `out` look for its artifacts there, if it was made elsewhere.

    MLflow keeps whole addresses, and would write to the former place, or look for a run's figures there.

    Raises
    ------
    sqlite3.Error
        If the database cannot be written, or is none.
    """
    here = artifacts_of(out)
    if not database_of(out).is_file():
        return
    with closing(sqlite3.connect(database_of(out))) as database, database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return
        known = {str(place) for (place,) in database.execute("SELECT artifact_location FROM experiments")}
        for former in known - {here.as_uri()}:
            # Only what is ours: a user may have experiments whose artifacts lie elsewhere on purpose.
            if former.startswith("file:") and Path(url2pathname(urlsplit(former).path)).name == here.name:
                _move(database, former, here.as_uri())


def _move(database: sqlite3.Connection, former: str, now: str) -> None:
    for table, column in PLACES.items():
        database.execute(
            f"UPDATE {table} SET {column} = :now || substr({column}, 1 + length(:former)) "
            f"WHERE instr({column} || '/', :former || '/') = 1",
            {"now": now, "former": former},
        )
