"""Whether a source is the one whose thumbnails these are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.engine.catalog import Catalog, DirectoryRecord
from sdgen_thumbnail_plugin.engine.root_guard import RootGuard
from sdgen_thumbnail_plugin.errors import StorageUnavailableError
from sdgen_thumbnail_plugin.storage.base import Listing
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage

SESSION = "20251101_120000-session"


class Drive(LocalImageStorage):
    """A storage whose root has the number that a test gives it, and that counts how often it is listed."""

    number: str | None = "8:1"
    listed = 0

    def root_identity(self) -> str | None:
        if self.number == "broken":
            raise StorageUnavailableError("stale file handle", path=self.location)
        return self.number

    def list_directory(self, directory: str):  # type: ignore[no-untyped-def]
        self.listed += 1
        return super().list_directory(directory)


@pytest.fixture
def source(tmp_path: Path) -> Drive:
    put(tmp_path / "results" / SESSION / "a.png")
    return Drive(tmp_path / "results")


@pytest.fixture
def guard(source: Drive, tmp_path: Path) -> Iterator[RootGuard]:
    with Catalog(tmp_path / "catalog.sqlite3") as catalog:
        catalog.put(SESSION, DirectoryRecord(images=1, thumbnails=1))
        yield RootGuard(source, catalog)


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def empty(source: Drive) -> None:
    shutil.rmtree(Path(source.location) / SESSION)
    put(Path(source.location) / "notes.txt")


def test_a_root_in_which_a_known_session_has_its_images_is_trusted_and_asked_once(
    source: Drive, guard: RootGuard
) -> None:
    for _ in range(3):
        assert guard.trusts_source()
    assert source.listed == 1


def test_a_session_of_the_known_name_without_images_says_nothing(source: Drive, guard: RootGuard) -> None:
    (Path(source.location) / SESSION / "a.png").unlink()
    assert not guard.trusts_source()


def test_images_of_the_root_itself_count(source: Drive, tmp_path: Path) -> None:
    with Catalog(tmp_path / "other.sqlite3") as catalog:
        catalog.put("", DirectoryRecord(images=1))
        guard = RootGuard(source, catalog)
        assert not guard.trusts_source(), "every folder has a root"
        put(Path(source.location) / "a.png")
        assert guard.trusts_source()


def test_the_last_images_may_go_while_it_is_the_same_root(source: Drive, guard: RootGuard) -> None:
    assert guard.trusts_source()
    empty(source)
    assert guard.trusts_source()
    (Path(source.location) / "notes.txt").unlink()
    assert not guard.trusts_source(), "it is empty"


def test_what_was_seen_and_is_gone_already_was_seen(source: Drive, guard: RootGuard) -> None:
    guard.note_image_in(SESSION)
    empty(source)
    assert guard.trusts_source()


@pytest.mark.parametrize("meanwhile", [None, "0:50", "broken"])
def test_another_root_with_the_number_of_the_last_one_is_not_trusted(
    source: Drive, guard: RootGuard, meanwhile: str | None
) -> None:
    assert guard.trusts_source()
    empty(source)
    source.number = meanwhile
    assert not guard.trusts_source()
    source.number = "8:1"  # the next drive is plugged into the same place
    assert not guard.trusts_source()
    put(Path(source.location) / SESSION / "a.png")
    assert guard.trusts_source()


def test_a_session_under_another_name_is_proof_once_it_is_seen(source: Drive, guard: RootGuard) -> None:
    (Path(source.location) / SESSION).rename(Path(source.location) / "renamed")
    assert not guard.trusts_source()
    guard.note_image_in("renamed")
    assert guard.trusts_source()


@pytest.mark.parametrize("below", ["", "/portraits"])
def test_the_one_session_left_of_many_is_found_and_those_that_are_gone_are_not_asked_for(
    source: Drive, tmp_path: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = f"20250101_000000-left{below}"
    empty(source)
    put(Path(source.location) / left / "a.png")
    asked: list[str] = []
    look: Callable[[str], Listing] = source.list_directory

    def note(directory: str) -> Listing:
        asked.append(directory)
        return look(directory)

    monkeypatch.setattr(source, "list_directory", note)
    with Catalog(tmp_path / "many.sqlite3") as catalog:
        catalog.put(left, DirectoryRecord(images=1, thumbnails=1))
        for number in range(1000):
            catalog.put(f"20250102_{number:06}-gone", DirectoryRecord(images=1, thumbnails=1))
        guard = RootGuard(source, catalog)
        assert guard.trusts_source()
        assert left in asked
        assert len(asked) < 200
        (Path(source.location) / left / "a.png").unlink()
        assert not RootGuard(source, catalog).trusts_source()
