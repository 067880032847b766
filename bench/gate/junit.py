"""Findings as JUnit XML, which every CI service shows: a suite for each tier, a test case for each row."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import groupby

from bench.gate.findings import Finding, Outcome
from bench.gate.tables import cells

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_ELEMENTS = {
    "regression": "failure",
    "failed": "error",
    "undecided": "skipped",
    "not comparable": "skipped",
}


def junit(outcome: Outcome) -> str:
    """Return the XML document."""
    document = ElementTree.Element("testsuites", {"name": "bench gate"} | _numbers(outcome.findings))
    by_tier = sorted(outcome.findings, key=lambda finding: finding.tier)
    for tier, rows in groupby(by_tier, key=lambda finding: finding.tier):
        findings = list(rows)
        suite = ElementTree.SubElement(document, "testsuite", {"name": tier} | _numbers(findings))
        for finding in findings:
            suite.append(_case(finding))
    ElementTree.indent(document)
    return ElementTree.tostring(document, encoding="unicode", xml_declaration=True) + "\n"


def _case(finding: Finding) -> ElementTree.Element:
    name = finding.measure or "gate"
    case = ElementTree.Element("testcase", classname=f"{finding.tier}.{finding.subject}", name=name, time="0")
    _, _, base, now, ratio, allowed, verdict = cells(finding)
    # XML has no place for control characters, which a worker's last words may hold.
    message = _CONTROL.sub("", f"{verdict}: {now} against {base}, ratio {ratio}, {allowed}")
    if finding.status in _ELEMENTS:
        ElementTree.SubElement(case, _ELEMENTS[finding.status], message=message)
    else:
        ElementTree.SubElement(case, "system-out").text = message
    return case


def _numbers(findings: list[Finding]) -> dict[str, str]:
    elements = [_ELEMENTS.get(finding.status) for finding in findings]
    return {
        "tests": str(len(findings)),
        "failures": str(elements.count("failure")),
        "errors": str(elements.count("error")),
        "skipped": str(elements.count("skipped")),
        "time": "0",
    }
