"""The state file, written and read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdgen_thumbnail_plugin.daemon.state import (
    STATE_SCHEMA,
    StateFault,
    WatcherState,
    load_state,
    write_state,
)

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
