"""The engine asks the storage protocol alone: folders, and a storage with neither directory times nor settable ones."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.engine.plan import thumbnail_key
from sdgen_thumbnail_plugin.imaging.webp import HEAD_BYTES, read_mark
from sdgen_thumbnail_plugin.model import OutcomeKind, Priority
from sdgen_thumbnail_plugin.storage.base import ImageStorage, SessionStorage
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage
from sdgen_thumbnail_plugin.storage.sessions import LocalSessionStorage
from support.engine import Engine, open_engine
from support.memory_storage import MemorySessions, MemoryStorage
from support.pictures import png
from support.project import Project, session_of

NEW, OLD = session_of(2), session_of(1)
KEYS = [f"{session}/{number}.png" for session in (OLD, NEW) for number in range(3)]


class World:
    """A source and a target of some kind, and what happens in them."""

    def __init__(self, project: Project, kind: str) -> None:
        self.project = project
        self.source: ImageStorage
        self.target: ImageStorage
        self.sessions: SessionStorage
        if kind == "folders":
            project.results.mkdir()
            self.source = local = LocalImageStorage(project.results)
            self.target = LocalImageStorage(project.thumbnails, ".webp")
            self.sessions = LocalSessionStorage(local)
        else:
            self.source, self.target = MemoryStorage("memory:results", ".png"), MemoryStorage("memory:thumbs", ".webp")
            self.sessions = MemorySessions()

    def start(self, *, quality: int = 85) -> AbstractContextManager[Engine]:
        return open_engine(self.project, storages=(self.source, self.target, self.sessions), quality=quality)

    def put(self, key: str, size: tuple[int, int] = (48, 64)) -> None:
        self.source.write_image_bytes(key, png(size))

    def thumbnails(self) -> list[str]:
        """Keys of all thumbnails there are."""
        found: list[str] = []
        waiting = [""]
        while waiting:
            listing = self.target.list_directory(waiting.pop())
            found += listing.images
            waiting += listing.directories
        return sorted(found)

    def age(self) -> None:
        """As if the last change were long ago."""
        if isinstance(self.source, LocalImageStorage):
            self.project.age()

    def assert_right(self, keys: list[str]) -> None:
        """Every image has the thumbnail that was made from it, and there are no others."""
        assert self.thumbnails() == sorted(map(thumbnail_key, keys))
        for key in keys:
            thumbnail = thumbnail_key(key)
            mark = read_mark(self.target.read_heads([thumbnail], HEAD_BYTES)[thumbnail])
            assert mark is not None
            assert mark.source == self.source.get_image_metadata(key)


@pytest.fixture(params=["folders", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(Project(tmp_path), request.param)


@pytest.fixture
def complete(world: World) -> World:
    """Two sessions, complete and known to be."""
    for key in KEYS:
        world.put(key)
    with world.start() as engine:
        assert engine.catch_up().created == len(KEYS)
        world.age()
        engine.catch_up()
    return world


def tick(engine: Engine) -> None:
    """What a tick does: looks into the directories that are not as they were."""
    for directory in engine.directories.changed_directories(engine.catalog.directories()):
        engine.workers.submit_directory(directory, Priority.AUDIT)
    engine.idle()


def test_a_second_catch_up_makes_nothing(complete: World) -> None:
    complete.assert_right(KEYS)
    with complete.start() as engine:
        summary = engine.catch_up()
        assert (summary.created, summary.errors, summary.skipped) == (0, 0, len(KEYS))
        assert engine.made() == []
        tick(engine)
        assert engine.made() == []


@pytest.mark.parametrize("how", ["catch-up", "tick"])
def test_a_new_image_gets_its_thumbnail(complete: World, how: str) -> None:
    new = [f"{OLD}/new.png", f"{session_of(3)}/deep/new.png"]
    with complete.start() as engine:
        engine.catch_up()
        for key in new:
            complete.put(key)
        if how == "tick":
            for _ in range(3):  # the root, the session in it, the folder in that
                tick(engine)
        else:
            engine.catch_up()
        assert sorted(engine.made()) == new
    complete.assert_right([*KEYS, *new])


def test_an_overwritten_image_gets_its_new_thumbnail(complete: World) -> None:
    complete.put(KEYS[0], (20, 20))
    with complete.start() as engine:
        engine.catch_up(everything=isinstance(complete.source, LocalImageStorage))
        assert engine.made() == KEYS[:1]
    complete.assert_right(KEYS)


def test_an_image_that_an_event_names_is_compared_by_itself(complete: World) -> None:
    with complete.start() as engine:
        assert engine.reconcile(KEYS[0]).kind is OutcomeKind.FRESH
        complete.put(KEYS[0], (20, 20))
        assert engine.reconcile(KEYS[0]).kind is OutcomeKind.CREATED
        assert engine.reconcile(KEYS[0]).kind is OutcomeKind.FRESH
    complete.assert_right(KEYS)


@pytest.mark.parametrize("how", ["catch-up", "tick", "event"])
def test_a_deleted_image_loses_its_thumbnail(complete: World, how: str) -> None:
    with complete.start() as engine:
        engine.catch_up()
        complete.source.delete_image(KEYS[0])
        if how == "event":
            assert engine.reconcile(KEYS[0]).kind is OutcomeKind.DELETED
        elif how == "tick":
            tick(engine)
        else:
            engine.catch_up()
    complete.assert_right(KEYS[1:])


def test_a_renamed_image_keeps_its_thumbnail(complete: World) -> None:
    new = f"{OLD}/renamed.png"
    with complete.start() as engine:
        complete.source.rename_image(KEYS[0], new)
        engine.catch_up()
        assert engine.made() == []
        complete.source.rename_image(new, KEYS[0])
        assert engine.directories.rename_image(new, KEYS[0])
        assert engine.made() == []
    complete.assert_right(KEYS)


def test_a_renamed_session_keeps_its_thumbnails(complete: World) -> None:
    renamed = session_of(9)
    moved = [key.replace(NEW, renamed) for key in KEYS]
    with complete.start() as engine:
        complete.source.rename_directory(NEW, renamed)
        engine.catch_up()
        assert engine.made() == []
        complete.assert_right(moved)
        complete.source.rename_directory(renamed, NEW)
        assert engine.directories.rename_directory(renamed, NEW)
        engine.catch_up()
        assert engine.made() == []
    complete.assert_right(KEYS)


def test_a_failed_image_is_tried_again_when_it_changes(complete: World) -> None:
    bad = f"{OLD}/bad.png"
    complete.source.write_image_bytes(bad, b"no image")
    if isinstance(complete.source, LocalImageStorage):
        os.utime(complete.source.path(bad), (1, 1))
    with complete.start() as engine:
        assert engine.catch_up().errors == 1
        assert engine.catch_up().errors == 0
        complete.put(bad)
        engine.catch_up(everything=True)
        assert engine.made() == [bad]
        assert not engine.catalog.failures()


def test_other_settings_make_every_thumbnail_again_once(complete: World) -> None:
    for created in (len(KEYS), 0):
        with complete.start(quality=30) as engine:
            assert engine.catch_up().created == created
    complete.assert_right(KEYS)


def test_a_lost_catalog_makes_nothing_again(complete: World) -> None:
    for file in complete.project.home.state_dir.glob("*.sqlite3*"):
        file.unlink()
    with complete.start() as engine:
        assert engine.catch_up().created == 0
        assert engine.made() == []
    complete.assert_right(KEYS)


def test_a_source_that_vanished_deletes_nothing(complete: World) -> None:
    before = complete.thumbnails()
    with complete.start() as engine:
        for key in KEYS:
            complete.source.delete_image(key)
        if isinstance(complete.source, LocalImageStorage):
            for session in (OLD, NEW):
                complete.source.remove_empty_directory(session)
        engine.catch_up()
    assert complete.thumbnails() == before
