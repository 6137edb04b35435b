"""Counts faults: how many were tried, and how many survived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from counting import Faults

_PROPERTY = "faults"


@pytest.fixture
def faults(record_property: Callable[[str, object], None]) -> Faults:
    """Where a test counts what it tries, if that is more than one."""
    return Faults(lambda count: record_property(_PROPERTY, count))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints a table as docs/reliability.md has it."""
    tried: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    for outcome in ("passed", "failed", "xfailed"):
        for report in terminalreporter.stats.get(outcome, []):
            path = Path(report.nodeid.partition("::")[0])
            if path.parent.name != Path(__file__).parent.name:
                continue
            group = path.stem.removeprefix("test_").replace("_", " ")
            counts = [count for name, count in report.user_properties if name == _PROPERTY]
            count = sum(counts) if counts else 1
            tried[group] += count
            survived[group] += count - (outcome != "passed")
    if tried:
        terminalreporter.section("faults")
        rows = [(group, tried[group], survived[group]) for group in sorted(tried)]
        rows.append(("all", sum(tried.values()), sum(survived.values())))
        lines = ["| group | tried | survived |", "| --- | --- | --- |"]
        lines += [f"| {group} | {count:,} | {good:,} |" for group, count, good in rows]
        for line in lines:
            terminalreporter.line(line)
