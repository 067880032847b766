import json

import pytest
from rich.console import Console

from bench.cli import app
from bench.errors import RequestError
from bench.progress import Progress
from bench.scoring import selftest
from metrics.declaration import Metric
from metrics.zero_fraction import METRIC as ZERO_FRACTION
from reports.metric_cards import NOT_MEASURED
from tests.conftest import make_prepared

pytestmark = pytest.mark.slow


def run(*arguments):
    return app(["test-metrics", *map(str, arguments)], standalone_mode=False)


def test_the_command_tests_the_embedded_cells_and_writes_page_and_numbers(tmp_path, capsys):
    page, numbers = tmp_path / "metrics.md", tmp_path / "metrics.json"
    code = run("--metrics", "zero_fraction_error", "--cells", 60, "--out", page, "--json", numbers)
    printed = capsys.readouterr().out
    assert code == 0
    assert "wrong_zeros 20 %" in printed
    found = json.loads(numbers.read_text())
    report = found["metrics"]["zero_fraction_error"]
    assert (found["dataset"], found["n_cells"], found["n_withdrawn"]) == ("pbmc68k_reduced", 60, 212)
    assert report["ladders"]["wrong_zeros"]["passed"] is True
    assert set(report["floors"]) == {"shuffle", "shuffle_within_type", "poisson"}
    cards = page.read_text()
    assert "must be" not in cards.partition("## Traps")[0]
    assert cards.count(NOT_MEASURED) == len(selftest.testable_metrics(())) - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "augmentation_f1"], "--metrics augmentation_f1: it scores a retraining"),
        (["--metrics", "fid"], "unknown metric 'fid'"),
        (
            ["--cells", 7, "--metrics", "mmd"],
            "--cells: n_cells is 7; ",
        ),
        (["--dataset", "missing.h5ad"], "missing.h5ad"),
    ],
)
def test_wrong_requests_name_the_option(arguments, message):
    with pytest.raises(RequestError, match=message):
        run(*arguments)


def test_a_metric_that_breaks_is_reported_and_loses_no_other():
    def breaks(real, sample):
        raise KeyError("no such gene")

    broken = Metric("broken", "…", breaks, "lower", 0.0, (0.0, 1.0), "doi:10/x", "none", group="use")
    progress = Progress(Console())
    found = selftest.run_self_test(
        make_prepared(n_cells=300), [broken, ZERO_FRACTION], cells=30, progress=progress
    )
    assert found["passed"] is False
    assert "KeyError" in found["metrics"]["broken"]["failure"]
    assert found["metrics"]["broken"]["clean"] == [None] * selftest.DRAWS
    assert None not in found["metrics"]["zero_fraction_error"]["clean"]
