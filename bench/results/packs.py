"""A run in one file, to be sent or kept: Records, scores and digests; with its cells, if asked for.

Without cells it is JSON (what scores keep for figures is left out), with them a ZIP archive of the run's
files, the same JSON first. What was changed since it was written is refused; who means to deceive can write
another digest.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from bench.errors import RequestError
from bench.results.files import (
    damaged,
    digest_of,
    read_json,
    sealed,
    whole_folder,
    write_json,
    write_sealed,
    write_text,
)
from bench.results.run_folder import JobFolder, RunFolder
from reports.view import Record, Score
from reports.words import without_folder

PACK: Final = 1
"""Version of what is written."""
CONTENT: Final = "pack.json"
REMEDY: Final = "get another copy"
KEPT_WITH_CELLS: Final = (
    "dataset.h5ad",
    "figures/*",
    "jobs/*/cells-*.h5ad",
    "jobs/*/embedding-*.npz",
    "jobs/*/curves.jsonl",
    "jobs/*/scores/*.json",
)


def publish(run: RunFolder, file: Path, *, with_cells: bool) -> None:
    """Write a run into one file.

    Parameters
    ----------
    run
        A run with at least one Job that has ended.
    file
        Where to.
    with_cells
        Whether real and generated cells, and all that figures are drawn from, go with it.

    Raises
    ------
    RequestError
        If no Job has ended, if the file is there, or cannot be written.
    """
    if not any((record := run.job_folder(job).read_record()) and record.has_ended for job in run.jobs()):
        raise RequestError(f"publish {str(run.path)!r}: no Job of it has ended")
    if file.exists():
        raise RequestError(f"--out {str(file)!r} exists: name another file, or delete it")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if with_cells:
            _write_archive(run, file)
        else:
            write_text(file, _as_text(_content(run)))
    except OSError as error:
        raise RequestError(f"--out {str(file)!r}: {error.strerror}") from error


def _content(run: RunFolder) -> dict[str, Any]:
    """Return what a pack says of a run; where anything lies on this machine is nobody's concern."""
    jobs = {job.key: _job(run.job_folder(job)) for job in run.jobs()}
    content = {
        "pack": PACK,
        "name": run.path.name,
        "request": run.read_request(),
        "plan": read_json(run.plan),
        "jobs": jobs,
        "augmenters": {file.stem: read_json(file) for file in sorted(run.baselines.glob("*.json"))},
    }
    folders = {str(run.path): run.path.name, str(Path.home()): "~"}
    plain: dict[str, Any] = _elsewhere(json.loads(json.dumps(content)), folders)
    return plain


def _job(folder: JobFolder) -> dict[str, Any]:
    record = folder.read_record()
    scores = [score.but(details={}).plain() for score in folder.read_scores()]
    return {"record": None if record is None else record.plain(), "scores": scores}


def _elsewhere(value: Any, folders: Mapping[str, str]) -> Any:
    """Return the same without this machine's folders."""
    if isinstance(value, dict):
        return {name: _elsewhere(part, folders) for name, part in value.items()}
    if isinstance(value, list):
        return [_elsewhere(part, folders) for part in value]
    if not isinstance(value, str):
        return value
    for folder, name in folders.items():
        value = value.replace(folder, name)
    return without_folder(value)


def _as_text(content: Mapping[str, Any]) -> str:
    # A line for each score: small, and a change shows as the line that changed.
    return (
        json.dumps(sealed(content), indent=None, separators=(",", ":")).replace('{"metric"', '\n{"metric"')
        + "\n"
    )


def _write_archive(run: RunFolder, file: Path) -> None:
    found = [path for pattern in KEPT_WITH_CELLS for path in sorted(run.path.glob(pattern))]
    names = {path.relative_to(run.path).as_posix(): path for path in found if path.is_file()}
    content = _content(run) | {"files": {name: _sha256(path) for name, path in names.items()}}
    temporary = file.with_name(f".{file.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(CONTENT, _as_text(content))
            for name, path in names.items():
                archive.write(path, name)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(file: Path, home: Path) -> RunFolder:
    """Make a run folder of a pack.

    Parameters
    ----------
    file
        What `publish` wrote.
    home
        Folder in which it is made, under the name that the run had.

    Raises
    ------
    DamagedFile
        If the file is no pack, or was changed since it was written.
    """
    if not zipfile.is_zipfile(file):
        return _laid_out(read_pack(file), home)
    try:
        with zipfile.ZipFile(file) as archive:
            content = _checked(json.loads(archive.read(CONTENT)), file)
            run = _laid_out(content, home)
            for name, checksum in _files(content, file):
                target = run.path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
                if _sha256(target) != checksum:
                    raise damaged(file, f"{name} was changed", REMEDY)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise damaged(file, error, REMEDY) from error
    return run


def read_pack(file: Path) -> dict[str, Any]:
    """Return what a pack without cells says.

    Raises
    ------
    DamagedFile
        If the file is no pack, or was changed since it was written.
    """
    try:
        return _checked(json.loads(file.read_bytes()), file)
    except ValueError as error:
        raise damaged(file, "no pack of a run", REMEDY) from error


def _checked(content: Any, file: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or not content.keys() >= {"pack", "name", "request", "plan", "jobs"}:
        raise damaged(file, "no pack of a run", REMEDY)
    if content["pack"] != PACK:
        raise RequestError(f"{file} is a pack of version {content['pack']}; this is version {PACK}: upgrade")
    if content.get("digest") != digest_of(content):
        raise damaged(file, "it was changed since it was written", REMEDY)
    return content


def _files(content: Mapping[str, Any], file: Path) -> Iterator[tuple[str, str]]:
    for name, checksum in content.get("files", {}).items():
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts:
            raise damaged(file, f"{name} lies outside of it", REMEDY)
        yield name, checksum


def _laid_out(content: Mapping[str, Any], home: Path) -> RunFolder:
    name = str(content["name"])
    if Path(name).name != name:
        raise RequestError(f"a pack of a run called {name!r}: no name of a folder")
    with whole_folder(home / name) as folder:
        run = RunFolder(folder)
        write_sealed(run.request, content["request"])
        for key, parts in content["jobs"].items():
            _lay_out(JobFolder(folder / "jobs" / Path(key).name), parts)
        for stem, scores in content["augmenters"].items():
            write_sealed(run.baselines / f"{Path(stem).name}.json", scores)
        write_json(run.plan, content["plan"])
    return RunFolder(home / name)


def _lay_out(job: JobFolder, parts: Mapping[str, Any]) -> None:
    job.path.mkdir(parents=True)
    if parts["record"] is not None:
        job.write_record(Record.model_validate(parts["record"]))
    for score in map(Score.model_validate, parts["scores"]):
        file = job.score_file(score.sample_seed, score.metric, score.protocol)
        write_sealed(job.scores / file.name, score.plain())
