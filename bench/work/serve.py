"""One generator in a process of its own, which does as it is asked, line by line.

``python -P -m bench.work.serve`` is what a `bench.work.lines.Server` starts. In this repository the gate has
base run base's version of this file, so the lines up to ``count`` are a contract between versions:

==============================================  ==========================================================
asked                                           answered
==============================================  ==========================================================
(nothing: on starting)                          ``{"gate_worker": 1}``, the protocol
``open`` parent, model, cells, device, budget,  ``{"file": …, "name": …, "settings": …}``, or
settings; of the gate sample_cells, root,       ``{"skip": reason}``
other
``fit``                                         ``{"seconds": {"fit": …, "step": …}}``, of a new generator
``sample``                                      ``{"seconds": {"sample": …}}``, of the one last trained
``calibrate``                                   ``{"seconds": {"kernel": …}}``
``count``                                       ``{"counts": …, "curve": …, "versions": …}``
``train`` steps                                 ``{"phase": …, "seconds": …}`` of a step, after so many; asked
                                                again it goes on, until ``{"trained": true}``
``draw`` n_cells                                ``{"seconds": …, "density": …}``, to CSR piece by piece
``settle`` parent, model, settings, n_genes,    ``{name: [value, why]}``, what takes the place of ``"auto"``
device
whatever goes wrong                             ``{"failed": "the error, in one line"}``
==============================================  ==========================================================

``settings`` are hyper-parameters; the answer adds to them what the model leaves to the machine, so that the
other side, or a later count, can be given the same.

A model comes from the checkout at ``root``, if one is named. So does this package where the checkout is one
of it; elsewhere it is the installed one, even if the checkout has a folder ``bench`` or ``models``. A module
that comes from the checkout at ``other`` is an error.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from functools import partial

from bench.request.registry import resolve_model
from bench.work.counting import count
from bench.work.lines import PROTOCOL
from bench.work.opened import Opened, Words
from bench.work.origin import import_from
from bench.work.processes import keep_output_for_answers
from bench.work.resources import die_with_parent


def settle(*, model: str, settings: Words, n_genes: int, device: str) -> Words:
    """Return what takes the place of each hyper-parameter that is ``"auto"``, and why."""
    import_from(None)
    return dict(resolve_model(model).generator.settle(settings, n_genes=n_genes, device=device))


class Orders:
    """Does what the lines say.

    Parameters
    ----------
    answer
        Function that sends the words of an answer.
    """

    def __init__(self, answer: Callable[[Words], None]) -> None:
        self._answer = answer
        self._opened: Opened | None = None

    def do(self, order: Words) -> Words:
        """Carry out one order and return its answer."""
        action, words = order["do"], {name: value for name, value in order.items() if name != "do"}
        if "parent" in words:
            die_with_parent(words.pop("parent"))
        if action == "settle":
            return settle(**words)
        if action == "open":
            self._opened = Opened(words)
            return self._opened.describe()
        opened = self._opened
        assert opened is not None
        actions = {name: getattr(opened, name) for name in ("fit", "sample", "draw", "calibrate")}
        actions |= {
            "count": partial(count, opened),
            "train": partial(opened.train_in_blocks, turn=self._turn),
        }
        done: Words = actions[action](**words)
        opened.require_own_modules()
        return done

    def _turn(self, phase: str, seconds: float) -> None:
        """Tell of a block of steps, and wait to be asked for the next."""
        self._answer({"phase": phase, "seconds": seconds})
        sys.stdin.readline()


def main() -> int:
    """Answer the lines of the standard input until it ends."""
    answers = keep_output_for_answers()

    def answer(words: Words) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    orders = Orders(answer)
    answer({"gate_worker": PROTOCOL})
    while line := sys.stdin.readline():
        try:
            answer(orders.do(json.loads(line)))
        except Exception as error:  # noqa: BLE001 - the process boundary: a failure becomes a row or a finding
            traceback.print_exc()
            message = (str(error).strip().splitlines() or [""])[0]
            answer({"failed": f"{type(error).__name__}: {message}"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
