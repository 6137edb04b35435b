"""The hints in watchdog's events."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog import events
from watchdog.events import FileSystemEvent

from sdgen_thumbnail_plugin.daemon.hints import Dispatcher, Hint, HintKind, hint_from
from sdgen_thumbnail_plugin.errors import AccessDeniedError
from support.engine import Engine, open_engine
from support.pictures import png
from support.project import Project, draw, inodes, session_of
from support.waiting import wait_for

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


# -- what becomes of hints


ONE, OTHER = session_of(1), session_of(2)


class Place:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.live: list[str] = []
        self.new_directories = 0
        self.dispatcher = Dispatcher(
            engine.directories,
            engine.workers,
            on_live_image=self.live.append,
            on_new_directories=self._note_new_directories,
        )

    def _note_new_directories(self) -> None:
        self.new_directories += 1

    def take(self, key: str, kind: HintKind, old_key: str = "") -> None:
        self.dispatcher.take(Hint(key, kind, old_key))
        self.engine.idle()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A session with two images, complete and known to be."""
    project = Project(tmp_path)
    for name in ("000", "001"):
        project.image(f"{ONE}/{name}.png")
    with open_engine(project) as engine:
        engine.catch_up()
        project.age()
        engine.catch_up()
        engine.outcomes.clear()
        yield Place(engine)


def test_an_image_that_is_whole_is_made_at_once(place: Place) -> None:
    (place.engine.project.results / ONE / "new.png").write_bytes(png())
    place.take(f"{ONE}/new.png", HintKind.WRITTEN)
    assert place.engine.made() == [f"{ONE}/new.png"]
    assert place.live == [f"{ONE}/new.png"]


def test_an_image_that_may_be_being_written_waits_until_it_holds_still(place: Place) -> None:
    path = place.engine.project.results / ONE / "new.png"
    path.write_bytes(png()[:100])
    place.take(f"{ONE}/new.png", HintKind.CHANGED)
    place.dispatcher.ask_for_settled()
    assert not place.live
    path.write_bytes(png())

    def asked_for() -> bool:
        place.dispatcher.ask_for_settled()
        return bool(place.live)

    wait_for(asked_for)
    place.engine.idle()
    assert place.engine.made() == [f"{ONE}/new.png"]


def test_the_better_hint_ends_the_waiting(place: Place) -> None:
    place.take(f"{ONE}/000.png", HintKind.CHANGED)
    assert place.dispatcher.due_at_s() < float("inf")
    place.take(f"{ONE}/000.png", HintKind.WRITTEN)
    assert place.dispatcher.due_at_s() == float("inf")


def test_an_image_that_is_gone_loses_its_thumbnail(place: Place) -> None:
    (place.engine.project.results / ONE / "000.png").unlink()
    place.take(f"{ONE}/000.png", HintKind.GONE)
    assert list(inodes(place.engine.project)) == [f"{ONE}/001.webp"]


def test_a_renamed_image_keeps_its_thumbnail(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = inodes(place.engine.project)
    folder = place.engine.project.results / ONE
    (folder / "000.png").rename(folder / "new.png")
    place.take(f"{ONE}/new.png", HintKind.RENAMED, f"{ONE}/000.png")
    assert inodes(place.engine.project) == {
        f"{ONE}/new.webp": before[f"{ONE}/000.webp"], f"{ONE}/001.webp": before[f"{ONE}/001.webp"],
    }  # fmt: skip
    assert "✓ Followed renamed image" in caplog.text


def test_a_renamed_directory_keeps_its_thumbnails(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = inodes(place.engine.project)
    (place.engine.project.results / ONE).rename(place.engine.project.results / OTHER)
    place.take(OTHER, HintKind.DIRECTORY_RENAMED, ONE)
    assert sorted(inodes(place.engine.project).values()) == sorted(before.values())
    assert "✓ Followed renamed session" in caplog.text
    assert place.new_directories == 1


def test_a_new_directory_is_looked_into(place: Place) -> None:
    draw(place.engine.project, OTHER, 2)
    place.take(OTHER, HintKind.DIRECTORY_APPEARED)
    assert sorted(place.engine.made()) == [f"{OTHER}/000.png", f"{OTHER}/001.png"]
    assert place.new_directories == 1


def test_a_directory_that_is_gone_takes_its_thumbnails_away(place: Place) -> None:
    draw(place.engine.project, OTHER, 1, done=1)
    place.engine.catch_up()
    (place.engine.project.results / ONE).rename(place.engine.project.root / "elsewhere")
    place.take(ONE, HintKind.DIRECTORY_GONE)
    assert not (place.engine.project.thumbnails / ONE).exists()


def test_a_rename_that_the_machine_does_not_allow_is_reported_and_both_names_are_looked_at(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(old: str, new: str) -> bool:
        raise AccessDeniedError("permission denied", path=f"{old} -> {new}")

    monkeypatch.setattr(place.engine.directories, "rename_image", refuse)
    place.take(f"{ONE}/new.png", HintKind.RENAMED, f"{ONE}/000.png")
    assert "✗" in caplog.text
    assert "permission denied" in caplog.text
    assert place.live == [f"{ONE}/new.png", f"{ONE}/000.png"]
