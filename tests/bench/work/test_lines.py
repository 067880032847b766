"""A process that is asked by lines."""

import os

import psutil
import pytest

from bench.work.lines import Server, WorkerFailed
from tests.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.slow

ANSWERS = """
import json, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "hang":
        time.sleep(600)
    if order["do"] == "end":
        print("last words", file=sys.stderr, flush=True)
        sys.exit(7)
    print(json.dumps({"child": child.pid, "twice": 2 * order["number"]}), flush=True)
"""


@pytest.fixture
def process(tmp_path):
    (tmp_path / "answers.py").write_text(ANSWERS)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with Server(
        "answers", environment=environment, log=tmp_path / "log", limit_seconds=LIMIT_SECONDS
    ) as asked:
        yield asked


def test_answers_come_and_the_end_ends_what_was_started_too(process):
    answer = process.ask("double", number=21)
    assert answer["twice"] == 42
    child = psutil.Process(answer["child"])
    process.close()
    assert not psutil.wait_procs([child], timeout=LIMIT_SECONDS)[1]


def test_last_words_are_the_reason(process):
    with pytest.raises(WorkerFailed, match=r"^ended with exit code 7: last words$"):
        process.ask("end")


def test_a_process_that_hangs_is_not_waited_for(process):
    process.ask("double", number=1)
    process._limit = 0.2
    with pytest.raises(WorkerFailed, match=r"^hang: no answer within 0\.2 s, the limit of an answer$"):
        process.ask("hang")
