"""A run in one file, to be sent or kept: Records, scores and digests; with its cells, if asked for.

Without cells it is JSON (what scores keep for figures is left out), with them a ZIP archive of the run's
files, the same JSON first. What was changed since it was written is refused; who means to deceive can write
another digest.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from bench.errors import RequestError
from bench.request.plan import Job
from bench.results.files import (
    damaged,
    digest_of,
    read_json,
    seal_of,
    sealed,
    whole_folder,
    write_json,
    write_sealed,
    write_text,
)
from bench.results.run_folder import JobFolder, RunFolder
from datasets.cache import sha256_of
from reports.view import Record, Score

PACK: Final = 1
"""Version of what is written."""
CONTENT: Final = "pack.json"
REMEDY: Final = "get another copy"
PATH: Final = re.compile(r"(?<![\w:/.~])/(?:[^\s/'\";,]+/)*([^\s/'\";,]+)")
"""An absolute path; no address, and no fraction."""
NAME: Final = re.compile(r"[^/\\\0]+")
NO_PACK: Final = (KeyError, TypeError, ValueError, AttributeError, zlib.error, zipfile.BadZipFile)
"""What reading a file raises that is none."""
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
        File in which the run is written.
    with_cells
        Whether the file includes real and generated cells, and all that figures are drawn from.

    Raises
    ------
    RequestError
        If no Job has ended, if the file is there, or cannot be written.
    """
    if not any((record := run.job_folder(job).read_record()) and record.has_ended for job in run.jobs()):
        raise RequestError(f"publish {str(run.path)!r}: no Job of it has ended")
    require_unchanged(run)
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


def require_unchanged(run: RunFolder) -> None:
    """Refuse a run of which a file was changed, or cut off, since it was written.

    Raises
    ------
    DamagedFile
        Naming the first.
    """
    for file in run.sealed_files():
        if seal_of(file) == "broken":
            raise damaged(file, "changed since it was written", "bench verify says what differs")


def _content(run: RunFolder) -> dict[str, Any]:
    """Return what a pack says of a run; where anything lies on this machine is nobody's concern."""
    request = run.read_request()
    told = [(job, as_told(job)) for job in run.jobs()]
    jobs = {plain.key: (plain, _job(run.job_folder(job), plain.key)) for job, plain in told}
    content = {
        "pack": PACK,
        "name": run.path.name,
        "request": _elsewhere(request) | {"metrics": request["metrics"]},
        "plan": [job.model_dump(mode="json") for job, _ in jobs.values()],
        "jobs": {key: _elsewhere(parts) for key, (_, parts) in jobs.items()},
        "augmenters": {file.stem: read_json(file) for file in sorted(run.baselines.glob("*.json"))},
    }
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def as_told(job: Job) -> Job:
    """Return what a pack tells of a Job: where a generator's file lies is part of a Job's key."""
    return Job(**_elsewhere(job.model_dump(mode="json")))


def _job(folder: JobFolder, key: str) -> dict[str, Any]:
    record = folder.read_record()
    scores = [score.but(details={}).plain() for score in folder.read_scores()]
    return {"record": None if record is None else record.but(key=key).plain(), "scores": scores}


def _elsewhere(value: Any) -> Any:
    """Return the same with the last part of each absolute path in it."""
    if isinstance(value, dict):
        return {name: _elsewhere(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_elsewhere(part) for part in value]
    return PATH.sub(r"\1", value) if isinstance(value, str) else value


def _as_text(content: Mapping[str, Any]) -> str:
    # A line for each score: small, and a change shows as the line that changed.
    text = json.dumps(sealed(content), separators=(",", ":"))
    return text.replace('{"metric"', '\n{"metric"') + "\n"


def _write_archive(run: RunFolder, file: Path) -> None:
    found = [path for pattern in KEPT_WITH_CELLS for path in sorted(run.path.glob(pattern))]
    keys = {job.key: as_told(job).key for job in run.jobs()}
    names = {_renamed(path.relative_to(run.path), keys): path for path in found if path.is_file()}
    # Scores with their details, too, tell no folder of this machine.
    texts = {
        name: _as_text(_elsewhere(read_json(path))) for name, path in names.items() if path.suffix == ".json"
    }
    checksums = {
        name: hashlib.sha256(texts[name].encode()).hexdigest() if name in texts else sha256_of(path)
        for name, path in names.items()
    }
    content = _content(run) | {"files": checksums}
    temporary = file.with_name(f".{file.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(CONTENT, _as_text(content))
            for name, path in names.items():
                archive.writestr(name, texts[name]) if name in texts else archive.write(path, name)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _renamed(path: Path, keys: Mapping[str, str]) -> str:
    return "/".join(keys.get(part, part) for part in path.parts)


def unpack(file: Path, home: Path) -> RunFolder:
    """Make a run folder of a pack.

    Parameters
    ----------
    file
        File that `publish` wrote.
    home
        Folder in which the run folder is made, under the name that the run had.

    Raises
    ------
    DamagedFile
        If the file is no pack, or was changed since it was written.
    """
    try:
        if not zipfile.is_zipfile(file):
            return _laid_out(_checked(json.loads(file.read_bytes()), file), home)
        with zipfile.ZipFile(file) as archive:
            return _laid_out(_checked(json.loads(archive.read(CONTENT)), file), home, archive)
    except NO_PACK as error:
        raise damaged(file, f"no pack of a run: {(str(error).splitlines() or [''])[0]}", REMEDY) from error


def _checked(content: Any, file: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or not content.keys() >= {"pack", "name", "request", "plan", "jobs"}:
        raise damaged(file, "no pack of a run", REMEDY)
    if content["pack"] != PACK:
        raise RequestError(f"{file} is a pack of version {content['pack']}; this is version {PACK}: upgrade")
    if content.get("digest") != digest_of(content):
        raise damaged(file, "it was changed since it was written", REMEDY)
    if not isinstance(content["plan"], list) or not content["plan"]:
        raise damaged(file, "a run without Jobs", REMEDY)
    return content


def _laid_out(content: Mapping[str, Any], home: Path, archive: zipfile.ZipFile | None = None) -> RunFolder:
    target = home / _name(content["name"])
    with whole_folder(target) as folder:
        run = RunFolder(folder)
        write_sealed(run.request, content["request"])
        for key, parts in content["jobs"].items():
            _lay_out(JobFolder(folder / "jobs" / _name(key)), parts)
        for stem, scores in content["augmenters"].items():
            write_sealed(run.baselines / f"{_name(stem)}.json", scores)
        if archive is not None:
            _extract(archive, content["files"], folder)
        write_json(run.plan, content["plan"])
        run.view()
    return RunFolder(target)


def _name(text: Any) -> str:
    if not isinstance(text, str) or not NAME.fullmatch(text) or text in (".", ".."):
        raise ValueError(f"{text!r} is no name of a file")
    return text


def _lay_out(job: JobFolder, parts: Mapping[str, Any]) -> None:
    job.path.mkdir(parents=True)
    if parts["record"] is not None:
        job.write_record(Record.model_validate(parts["record"]))
    for score in map(Score.model_validate, parts["scores"]):
        name = _name(f"{score.sample_seed}-{score.protocol}-{score.metric}.json")
        write_sealed(job.scores / name, score.plain())


def _extract(archive: zipfile.ZipFile, checksums: Mapping[str, str], folder: Path) -> None:
    for name, checksum in checksums.items():
        target = folder.joinpath(*map(_name, PurePosixPath(name).parts))
        content = archive.read(name)
        if hashlib.sha256(content).hexdigest() != checksum:
            raise ValueError(f"{name} was changed")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
