"""``bench test`` and ``bench new-model``: what an author of a generator needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Device
from bench.console import plain_console
from bench.errors import DONE, SOME_FAILED, RequestError
from bench.progress import Progress


def test(
    model: Annotated[str, typer.Argument(metavar="MODEL", show_default=False)],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Hyper-parameter, as for run.")] = None,
    device: Device = "auto",
) -> int:
    """Hold a generator (a name, file.py:Class) to every promise of the interface, on tiny cells."""
    from bench.hardware.environment import resolve_device
    from bench.promises import check_promises
    from bench.promises.table import print_checklist
    from bench.request.registry import resolve_model
    from bench.request.spec import parse_settings

    settings, device = parse_settings(set_ or []), resolve_device(device)
    name = resolve_model(model).name
    if unlike := [given for given in settings if given != name]:
        raise RequestError(f"--set {unlike[0]}: the model that is tested is {name}")
    progress = Progress(plain_console())
    findings = check_promises(model, settings=settings.get(name), device=device, say=progress.say)
    print_checklist(name, findings, progress.console)
    return SOME_FAILED if any(finding.status == "broken" for finding in findings) else DONE


def new_model(
    name: Annotated[str, typer.Argument(show_default=False)],
    external: Annotated[
        bool, typer.Option("--external", help="A program with an environment of its own, in any language.")
    ] = False,
) -> int:
    """Write ./NAME: a small generator that keeps every promise, its test, and a CI file."""
    from bench.new_model import write_new_model

    console = plain_console()
    for path in write_new_model(name, Path(), external=external):
        console.print(str(path), soft_wrap=True)
    console.print(f"{name}/README.md says how to install, test and run it.")
    return DONE
