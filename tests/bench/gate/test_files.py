"""Files of pytest-benchmark."""

import json

import pytest

from bench.errors import RequestError
from bench.gate.benchmark_files import compare_documents, compare_files, is_benchmark_file
from bench.gate.looks import fewest_pairs


def write(
    folder, name, *, minute, median, operators=7, node="here", benchmark="benchmarks/test_a.py::test_step"
):
    path = folder / f"{name}.json"
    row = {
        "fullname": benchmark,
        "stats": {"median": median},
        "extra_info": {"operators": operators, "x": 0.5},
    }
    document = {
        "machine_info": {"node": node, "machine": "x86_64", "cpu": {"brand_raw": "cpu", "count": 2}},
        "datetime": f"2026-11-22T21:{minute:02d}:00+00:00",
        "benchmarks": [row],
    }
    path.write_text(json.dumps(document))
    return path


def sides(folder, n_pairs, slowdown, **head):
    base = [write(folder, f"a{n}", minute=2 * n, median=1 + 0.001 * n) for n in range(n_pairs)]
    head = [
        write(folder, f"b{n}", minute=2 * n + 1, median=(1 + 0.001 * n) * slowdown, **head)
        for n in range(n_pairs)
    ]
    return base, head


def found(folder, *given, **options):
    base, head = sides(folder, *given, **options)
    # The order of the dates counts, not that of the command line.
    return compare_files(base[::-1], head, factor=1.1).findings


def test_medians_are_paired_by_date(tmp_path):
    slower, count = found(tmp_path, 9, 1.2)
    assert slower.status == "regression" and slower.subject == "benchmarks/test_a.py::test_step"
    # Pairs in any other order would scatter around 1.2.
    assert slower.ratio == pytest.approx(1.2) and slower.allowed == "1.200 … 1.200, 9 pairs"
    assert (count.measure, count.status) == ("operators", "no regression")


def test_equal_medians_pass_and_an_operator_more_does_not(tmp_path):
    timing, count = found(tmp_path, 9, 1.0, operators=8)
    assert timing.status == "no regression"
    assert (count.status, count.baseline, count.current) == ("regression", 7, 8)


def test_eight_pairs_are_too_few(tmp_path):
    timing, _ = found(tmp_path, 8, 2.0)
    assert timing.status == "undecided" and timing.note.startswith("too few pairs of files: 8, where 9 are")


def test_more_benchmarks_want_more_pairs(tmp_path):
    # 2⁻⁹ is at most a fifth of 1 %, and no sixth of it.
    assert [fewest_pairs(n_measures) for n_measures in (1, 5, 6, 10, 11, 100)] == [9, 9, 10, 10, 11, 14]
    documents = [[json.loads(path.read_text()) for path in side] for side in sides(tmp_path, 9, 1.2)]
    for document in documents[0] + documents[1]:
        row = document["benchmarks"][0]
        document["benchmarks"] = [row | {"fullname": f"test_{number}"} for number in range(6)]
    timings = [row for row in compare_documents(*documents, factor=1.1).findings if row.measure == "median"]
    assert len(timings) == 6 and {row.status for row in timings} == {"undecided"}
    assert "9, where 10 are wanted" in timings[0].note


def test_runs_that_took_no_turns_decide_nothing(tmp_path):
    base = [write(tmp_path, f"a{n}", minute=n, median=1) for n in range(9)]
    head = [write(tmp_path, f"b{n}", minute=10 + n, median=2) for n in range(9)]
    timing = compare_files(base, head, factor=1.1).findings[0]
    assert timing.status == "undecided" and "did not take turns" in timing.note


def test_other_machines_and_unlike_numbers_are_refused(tmp_path):
    with pytest.raises(RequestError, match="here x86_64 cpu 2 and there x86_64 cpu 2"):
        found(tmp_path, 9, 1.0, node="there")
    base, head = sides(tmp_path, 9, 1.0)
    with pytest.raises(RequestError, match="9 files, --current 8"):
        compare_files(base, head[:8], factor=1.1)


def test_a_benchmark_of_one_side_is_named(tmp_path):
    findings = found(tmp_path, 9, 1.0, benchmark="other")
    assert [finding.status for finding in findings] == ["not comparable"] * 2


def test_kinds_of_json_are_told_apart(tmp_path):
    assert is_benchmark_file(write(tmp_path, "a", minute=0, median=1))
    (tmp_path / "gate.json").write_text('{"gate_baseline": 1}')
    assert not is_benchmark_file(tmp_path / "gate.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(RequestError, match="cannot be read as JSON"):
        is_benchmark_file(tmp_path / "broken.json")
