"""Counts faults: how many were tried, how many survived, and how many tests could not be run here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from counting import Faults

_PROPERTY = "faults"


@pytest.fixture
def faults(record_property: Callable[[str, object], None]) -> Faults:
    """Where a test counts what it tries, if that is more than one."""
    return Faults(lambda count: record_property(_PROPERTY, count))


@dataclass
class _Test:
    """What the reports of one test's setup, call and teardown say together."""

    faults: int = 1
    outcomes: set[str] = field(default_factory=set)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints a table as docs/reliability.md has it."""
    tests: defaultdict[str, _Test] = defaultdict(_Test)
    for outcome in ("passed", "failed", "error", "skipped", "xfailed", "xpassed"):
        for report in terminalreporter.stats.get(outcome, []):
            if Path(report.nodeid.partition("::")[0]).parent.name == Path(__file__).parent.name:
                test = tests[report.nodeid]
                test.outcomes.add(outcome)
                if counts := [count for name, count in report.user_properties if name == _PROPERTY]:
                    test.faults = sum(counts)
    tried: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for name, test in tests.items():
        group = Path(name.partition("::")[0]).stem.removeprefix("test_").replace("_", " ")
        if test.outcomes == {"skipped"}:
            skipped[group] += 1  # how many faults it would have tried, it did not get to say
        else:
            tried[group] += test.faults
            survived[group] += test.faults - bool(test.outcomes - {"passed", "xpassed"})
    if tests:
        terminalreporter.section("faults")
        rows = [(group, tried[group], survived[group], skipped[group]) for group in sorted(tried | skipped)]
        rows.append(("all", tried.total(), survived.total(), skipped.total()))
        lines = ["| group | tried | survived | skipped |", "| --- | --- | --- | --- |"]
        lines += [f"| {group} | {count:,} | {good:,} | {left_out:,} |" for group, count, good, left_out in rows]
        for line in lines:
            terminalreporter.line(line)
