"""Asks one generator for its promises, in a process of its own: ``python -m bench.promises.worker``."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from bench.promises.findings import Broken, Finding, NotAsked
from bench.promises.promises import STAGES
from bench.promises.workbench import Promise, Workbench, names_here
from bench.request.registry import resolve_model
from bench.results.files import read_json, write_json
from bench.work.resources import die_with_parent


def main(arguments: list[str]) -> int:
    """Ask for the promises of a stage; ``STAGE.jsonl`` gets a line for each."""
    folder, stage = Path(arguments[0]), arguments[1]
    die_with_parent(int(arguments[2]))
    # As a Job's worker: the user's own modules are found, but shadow none of ours.
    sys.path.append(str(Path.cwd()))
    request, before = read_json(folder / "request.json"), set(sys.modules)
    generator_class = resolve_model(request.pop("reference")).generator
    imported = {name.partition(".")[0] for name in set(sys.modules) - before}
    bench = Workbench(generator_class, folder=folder, imported=imported, beside=names_here(), **request)
    digests = folder / "digests.json"
    if digests.exists():
        bench.digests = read_json(digests)
    with (folder / f"{stage}.jsonl").open("w", encoding="utf-8") as lines:
        for finding in ask(STAGES[stage], bench):
            # Flushed: whatever ends this process next, it is known how far it came.
            print(json.dumps(asdict(finding), ensure_ascii=False), file=lines, flush=True)
    write_json(digests, bench.digests)
    return 0


def ask(promises: Iterable[Promise], bench: Workbench) -> Iterator[Finding]:
    """Ask for one promise after another, until one that the others need is broken or cannot be asked for."""
    for promise in promises:
        finding = _asked(promise, bench)
        yield finding
        if finding.status in ("broken", "not asked") and promise.needed:
            return


def _asked(promise: Promise, bench: Workbench) -> Finding:
    try:
        told = promise.ask(bench) or ""
    except NotAsked as reason:
        return Finding(promise.words, "not asked", str(reason))
    except Broken as seen:
        return Finding(promise.words, "broken", str(seen), promise.remedy)
    except Exception as error:  # noqa: BLE001 - the process boundary: whatever a generator raises breaks a promise
        traceback.print_exc()
        return Finding(promise.words, "broken", f"{type(error).__name__}: {error}", promise.remedy)
    return Finding(promise.words, "noted" if told else "kept", told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
