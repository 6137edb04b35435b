"""The state file, written and read."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdgen_thumbnail_plugin.daemon.process import holding_the_lock
from sdgen_thumbnail_plugin.daemon.state import (
    STATE_SCHEMA,
    Health,
    StateFault,
    WatcherState,
    judge,
    load_state,
    watcher_report,
    write_state,
)
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.settings import Settings
from support.project import Project
from support.watcher import watcher_process

IDLE: dict[str, Any] = {
    "schema": STATE_SCHEMA, "version": "0.1.0", "pid": 2, "identity": "boot+1", "source_dir": "/results",
    "target_dir": "/thumbnails", "started_at_s": 1.0, "updated_at_s": 2.0, "updated_monotonic_s": 0.0,
    "phase": "watching", "observer": {"kind": "native", "reason": "-"}, "progress": {}, "queue": {}, "making": [],
    "images_per_s": 0.0, "counts": {}, "sessions": {"complete": 1, "incomplete": 0}, "images": 0, "thumbnails": 0,
    "failures": 0, "orphans_held_back": 0, "last_image": None, "problems": [], "tick_interval_s": 1.0,
}  # fmt: skip
BUSY = IDLE | {
    "source_dir": "/undecodable/\udcff",
    "progress": {"phase": "audit", "done": 1, "total": None, "session": ""},
    "queue": {"urgent": 3},
    "counts": {"created": 2},
    "making": ["s/b.png"],
    "last_image": {"key": "s/a.png", "at_s": 1.0, "build_s": 0.1, "latency_s": None},
    "problems": [{"message": "m", "remedy": "r", "since_s": None}],
}
WRONG: tuple[object, ...] = (
    True, "x", -1, 1.5, 10**15, 10**400, float("nan"), float("inf"), None, [], {}, [[]], [True], {"a": True},
    {"a": "x"},
)  # fmt: skip
RIGHT: dict[str, tuple[object, ...]] = {
    "text": ("x",),
    "count": (),
    "number": (-1, 1.5),
    "list": ([],),
    "object": ({},),
    "number or null": (-1, 1.5, None),
    "count or null": (None,),
    "part": (),
    "part or null": (None,),
}
"""Which of the wrong values are right in a place of a kind."""

KINDS = {
    ("schema",): "count", ("version",): "text", ("pid",): "count", ("identity",): "text", ("source_dir",): "text",
    ("target_dir",): "text", ("started_at_s",): "number", ("updated_at_s",): "number",
    ("updated_monotonic_s",): "number", ("phase",): "text", ("observer",): "part", ("observer", "kind"): "text",
    ("observer", "reason"): "text", ("progress",): "object", ("progress", "phase"): "text",
    ("progress", "done"): "count", ("progress", "total"): "count or null", ("progress", "session"): "text",
    ("queue",): "object", ("queue", "urgent"): "count", ("making",): "list", ("making", 0): "text",
    ("images_per_s",): "number", ("counts",): "object", ("counts", "created"): "count", ("sessions",): "part",
    ("sessions", "complete"): "count", ("sessions", "incomplete"): "count", ("images",): "count",
    ("thumbnails",): "count", ("failures",): "count", ("orphans_held_back",): "count", ("last_image",): "part or null",
    ("last_image", "key"): "text", ("last_image", "at_s"): "number", ("last_image", "build_s"): "number",
    ("last_image", "latency_s"): "number or null", ("problems",): "list", ("problems", 0): "part",
    ("problems", 0, "message"): "text", ("problems", 0, "remedy"): "text",
    ("problems", 0, "since_s"): "number or null", ("tick_interval_s",): "number",
}  # fmt: skip


def places_of(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, the deep ones too."""
    if place:
        yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places_of(one, (*place, key))


def changed(document: dict[str, Any], place: tuple[Any, ...], value: object = ...) -> bytes:
    """The document with another value in one place; without that place where no value is given."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return json.dumps(copy).encode("ascii")


def read(folder: Path, content: bytes) -> WatcherState | StateFault:
    (folder / "state.json").write_bytes(content)
    return load_state(folder / "state.json")


@pytest.mark.parametrize("document", [IDLE, BUSY], ids=["idle", "busy"])
def test_everything_written_is_read(tmp_path: Path, document: dict[str, Any]) -> None:
    write_state(tmp_path / "state.json", WatcherState.model_validate(document))
    assert json.loads((tmp_path / "state.json").read_bytes()) == document
    state = load_state(tmp_path / "state.json")
    assert isinstance(state, WatcherState)
    assert state.document() == document


def test_every_place_has_its_kind() -> None:
    assert set(places_of(BUSY)) == set(KINDS)


@pytest.mark.parametrize("place", KINDS, ids=lambda place: ".".join(map(str, place)))
def test_a_value_that_does_not_belong_is_damage(tmp_path: Path, place: tuple[Any, ...]) -> None:
    right = RIGHT[KINDS[place]]
    for value in WRONG:
        if any(value is one or (value == one and type(value) is type(one)) for one in right):
            assert isinstance(read(tmp_path, changed(BUSY, place, value)), WatcherState), value
        else:
            assert read(tmp_path, changed(BUSY, place, value)) is StateFault.DAMAGED, value


@pytest.mark.parametrize(
    "place", [place for place in KINDS if isinstance(place[-1], str) and place[0] not in ("queue", "counts")],
    ids=lambda place: ".".join(map(str, place)),
)  # fmt: skip
def test_a_missing_key_is_damage(tmp_path: Path, place: tuple[Any, ...]) -> None:
    assert read(tmp_path, changed(BUSY, place)) is StateFault.DAMAGED


@pytest.mark.parametrize("place", [("more",), ("observer", "more"), ("problems", 0, "more"), ("progress", "more")])
def test_unknown_keys_are_ignored(tmp_path: Path, place: tuple[Any, ...]) -> None:
    state = read(tmp_path, changed(BUSY, place, "\x1b"))
    assert isinstance(state, WatcherState)
    assert state.document() == BUSY


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", bytes(range(256)), b"[]", b"1", b"{}", b"[" * 100_000, b'{"schema": 1}', b'{"schema": ' + b"9" * 5000,
     b" " * (4 * 1024 * 1024 + 1)],
    ids=lambda content: repr(content[:12]),
)  # fmt: skip
def test_what_holds_no_state_is_damage(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content) is StateFault.DAMAGED


def test_a_newer_schema_is_reported_as_such(tmp_path: Path) -> None:
    assert read(tmp_path, b'{"schema": 2}') is StateFault.NEWER
    assert read(tmp_path, changed(BUSY, ("schema",), 99)) is StateFault.NEWER


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state.json") is StateFault.MISSING
    assert load_state(tmp_path) is StateFault.DAMAGED  # a folder in its place


def test_a_state_ages_by_the_clock_that_nobody_sets(tmp_path: Path) -> None:
    state = WatcherState.model_validate(IDLE | {"updated_monotonic_s": 1e14})
    assert state.age_s == 0.0
    assert WatcherState.model_validate(IDLE).age_s > 1e9  # by the time of day, where the other is not given


# -- the verdict on the watcher, and the report around it


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
