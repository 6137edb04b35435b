"""The verdict on the watcher, and the report around it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from sdgen_thumbnail_plugin.daemon.health import Health, judge, watcher_report
from sdgen_thumbnail_plugin.daemon.identity import holding_the_lock
from sdgen_thumbnail_plugin.daemon.state import STATE_SCHEMA, StateFault, WatcherState
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.settings import Settings
from support.project import Project
from support.watcher import watcher_process


def state(**values: Any) -> WatcherState:
    """What a watcher wrote just now."""
    document = {
        "schema": STATE_SCHEMA, "version": "0.1.0", "pid": 2, "identity": "boot+1", "source_dir": "/results",
        "target_dir": "/thumbnails", "started_at_s": 1.0, "updated_at_s": time.time(),
        "updated_monotonic_s": time.monotonic(), "phase": "watching", "observer": {"kind": "native", "reason": "-"},
        "progress": {}, "queue": {}, "making": [], "images_per_s": 0.0, "counts": {},
        "sessions": {"complete": 1, "incomplete": 0}, "images": 0, "thumbnails": 0, "failures": 0,
        "orphans_held_back": 0, "last_image": None, "problems": [], "tick_interval_s": 1.0,
    }  # fmt: skip
    return WatcherState.model_validate(document | values)


FULL = {"message": "disk full", "remedy": "free some space", "since_s": 1.0}


def test_a_watcher_that_reports_no_problem_is_healthy() -> None:
    verdict = judge(state(), found=True, locked=False, left_behind=True)
    assert (verdict.health, list(verdict.problems)) == (Health.HEALTHY, [])


def test_a_watcher_with_a_problem_is_degraded_and_keeps_its_remedy_and_time() -> None:
    verdict = judge(state(problems=[FULL]), found=True, locked=False, left_behind=True)
    assert verdict.health is Health.DEGRADED
    (problem,) = verdict.problems
    assert (problem.message, problem.remedy, problem.since_s) == ("disk full", "free some space", 1.0)


def test_a_silent_watcher_is_stalled_whatever_else_is_wrong() -> None:
    silent = state(problems=[FULL], updated_monotonic_s=0.0, updated_at_s=time.time() - 100)
    verdict = judge(silent, found=True, locked=False, left_behind=True)
    assert verdict.health is Health.STALLED
    silence, full = verdict.problems
    assert "no sign of life for 100 s" in silence.message
    assert "sdgen-thumbnails restart" in silence.remedy
    assert silence.since_s == pytest.approx(time.time() - 100, abs=5)
    assert full.message == "disk full"


@pytest.mark.parametrize("fault", StateFault)
def test_a_watcher_without_a_readable_state_is_degraded(fault: StateFault) -> None:
    known = judge(fault, found=True, locked=False, left_behind=True)
    assert known.health is Health.DEGRADED
    assert known.problems[0].message == f"its state file is {fault.value}"
    assert "restart" in known.problems[0].remedy
    unknown = judge(fault, found=False, locked=True, left_behind=True)
    assert unknown.health is Health.DEGRADED
    assert unknown.problems[0].message == f"a watcher runs, but its state file is {fault.value}"


def test_what_a_killed_watcher_leaves_behind_is_reported() -> None:
    tidy = judge(StateFault.MISSING, found=False, locked=False, left_behind=False)
    assert (tidy.health, list(tidy.problems)) == (Health.NOT_RUNNING, [])
    untidy = judge(state(), found=False, locked=False, left_behind=True)
    assert untidy.health is Health.NOT_RUNNING
    assert "ended without tidying up" in untidy.problems[0].message
    assert "sdgen-thumbnails start" in untidy.problems[0].remedy


def test_without_a_watcher_the_report_names_the_folders_asked_about(tmp_path: Path) -> None:
    settings = Settings(source_dir=tmp_path / "results", target_dir=tmp_path / "thumbnails")
    assert watcher_report(Home(tmp_path / ".sdgen"), settings) == {
        "schema": 1, "running": False, "health": "not running", "source_dir": str(tmp_path / "results"),
        "target_dir": str(tmp_path / "thumbnails"), "problems": [],
    }  # fmt: skip


def test_a_lock_that_a_stranger_holds_is_a_watcher_that_cannot_be_named(tmp_path: Path) -> None:
    home = Home(tmp_path / ".sdgen")
    with holding_the_lock(home):
        report = watcher_report(home, Settings())
    assert (report["running"], report["health"], "pid" in report) == (True, "degraded", False)
    assert report["problems"][0]["message"] == "a watcher runs, but its state file is missing"


def test_the_report_of_a_watcher_holds_its_state_and_its_costs(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.image("20251110_151059-a/1.png")
    with watcher_process(project) as process:
        report = watcher_report(project.home, Settings())
        assert (report["health"], report["pid"]) == ("healthy", process.pid)
        assert report["source_dir"] == os.path.realpath(project.results)
        assert "identity" not in report
        assert report["memory_bytes"] > 0
        assert report["cpu_percent"] >= 0
        assert 0 <= report["uptime_s"] < 60
