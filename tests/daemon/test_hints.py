"""The hints in watchdog's events."""

from __future__ import annotations

import pytest
from watchdog import events
from watchdog.events import FileSystemEvent

from sdgen_thumbnail_plugin.daemon.hints import Hint, HintKind, hint_from

ROOT = "/results"


@pytest.mark.parametrize(
    ("event", "hint"),
    [
        (events.FileCreatedEvent("/results/s/a.png"), Hint("s/a.png", HintKind.CHANGED)),
        (events.FileModifiedEvent("/results/s/a.png"), Hint("s/a.png", HintKind.CHANGED)),
        (events.FileClosedEvent("/results/s/a.PNG"), Hint("s/a.PNG", HintKind.WRITTEN)),
        (events.FileDeletedEvent("/results/a.png"), Hint("a.png", HintKind.GONE)),
        (events.FileMovedEvent("/results/s/a.png", "/results/t/b.png"), Hint("t/b.png", HintKind.RENAMED, "s/a.png")),
        (events.FileMovedEvent("/results/s/a.png.part", "/results/s/a.png"), Hint("s/a.png", HintKind.WRITTEN)),
        (events.FileMovedEvent("/results/s/a.png", "/results/s/a.png.bad"), Hint("s/a.png", HintKind.GONE)),
        (events.DirCreatedEvent("/results/s/below"), Hint("s/below", HintKind.DIRECTORY_APPEARED)),
        (events.DirDeletedEvent("/results/s"), Hint("s", HintKind.DIRECTORY_GONE)),
        (events.DirDeletedEvent("/results"), Hint("", HintKind.DIRECTORY_GONE)),
        (events.DirMovedEvent("/results/s", "/results/t"), Hint("t", HintKind.DIRECTORY_RENAMED, "s")),
        (events.DirMovedEvent("/results/.hidden", "/results/t"), Hint("t", HintKind.DIRECTORY_APPEARED)),
        (events.DirMovedEvent("/results/s", "/results/.hidden"), Hint("s", HintKind.DIRECTORY_GONE)),
    ],
)
def test_an_event_leads_to_a_hint(event: FileSystemEvent, hint: Hint) -> None:
    assert hint_from(event, ROOT) == hint


def test_bytes_are_names_too() -> None:
    assert hint_from(events.FileClosedEvent(b"/results/s/\xff.png"), ROOT) == Hint("s/\udcff.png", HintKind.WRITTEN)


@pytest.mark.parametrize(
    "event",
    [
        events.FileCreatedEvent("/elsewhere/a.png"),
        events.FileCreatedEvent("/results-of-others/a.png"),
        events.FileCreatedEvent("/results/s/.a.png"),
        events.FileCreatedEvent("/results/.hidden/s/a.png"),
        events.FileCreatedEvent("/results/s/manifest.json"),
        events.FileOpenedEvent("/results/s/a.png"),
        events.DirCreatedEvent("/results/.hidden"),
        events.DirModifiedEvent("/results/s"),  # with every file in it, which has an event of its own
        events.FileMovedEvent("/elsewhere/a.png", "/elsewhere/b.png"),
        events.DirMovedEvent("/results/.hidden", "/results/.other"),
    ],
)
def test_what_is_not_ours_leads_to_none(event: FileSystemEvent) -> None:
    assert hint_from(event, ROOT) is None
