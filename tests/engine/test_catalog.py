"""The record: what survives, what is set aside, and what two processes see of each other."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.engine.catalog import SCHEMA_VERSION, Catalog, catalog_is_healthy
from sdgen_thumbnail_plugin.engine.records import DirectoryRecord
from sdgen_thumbnail_plugin.engine.scan import DirectoryTimes
from sdgen_thumbnail_plugin.errors import CatalogError
from sdgen_thumbnail_plugin.model import Failure, Stamp

RECORD = DirectoryRecord(DirectoryTimes(2**62, None), "h240-q85-m6", 5, 4, 1, 0, True, 1_700_000_000.5)


def failure(key: str) -> Failure:
    return Failure(
        key, Stamp(1_700_000_000_123_456_789, 7), "DamagedImageError", "bad", "mend it", "1", 1_700_000_000.5
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "catalog.sqlite3"


@pytest.mark.parametrize("name", ["plain", "ü 漢字", "new\nline", "undecodable\udcff", "", "quo'te\"s"])
def test_records_and_failures_survive_reopening(path: Path, name: str) -> None:
    with Catalog(path) as catalog:
        catalog.put(name, RECORD)
        catalog.put("other", DirectoryRecord())
        catalog.put_failure(failure(f"{name}/a.png".lstrip("/")))
    with Catalog(path) as catalog:
        assert catalog.records() == {name: RECORD, "other": DirectoryRecord()}
        assert catalog.failures() == {f"{name}/a.png".lstrip("/"): failure(f"{name}/a.png".lstrip("/"))}
        assert catalog.set_aside is None


def test_what_was_dropped_stays_dropped(path: Path) -> None:
    with Catalog(path) as catalog:
        for directory in ("s", "s/deep", "t"):
            catalog.put(directory, RECORD)
            catalog.put_failure(failure(f"{directory}/a.png"))
        catalog.flush()
        catalog.forget("s")
        catalog.drop_failure("t/a.png")
        catalog.drop_failure("none.png")
    with Catalog(path) as catalog:
        assert sorted(catalog.directories()) == ["s/deep", "t"]
        assert list(catalog.failures()) == ["s/deep/a.png"]


def test_only_what_is_new_is_discovered(path: Path) -> None:
    with Catalog(path) as catalog:
        catalog.put("a", RECORD)
        assert catalog.discover(["a", "b", "c"]) == ["b", "c"]
        assert catalog.discover(["a", "b", "c"]) == []
        assert catalog.record("a") == RECORD


def test_what_lies_below_a_directory_is_told_from_what_is_called_alike(path: Path) -> None:
    with Catalog(path) as catalog:
        catalog.discover(["", "s", "s/deep", "s/deep/er", "s2", "s2/x"])
        assert sorted(catalog.below("s")) == ["s", "s/deep", "s/deep/er"]
        assert len(catalog.below("")) == 6


@pytest.mark.parametrize("kept", [0, 16, 100, 2000])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path: Path, kept: int) -> None:
    with Catalog(path) as catalog:
        for number in range(200):
            catalog.put(f"directory{number}", RECORD)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept] + b"garbage!" * ((len(whole) - kept) // 8))
    with Catalog(path) as catalog:
        assert catalog.set_aside is not None
        assert catalog.set_aside.exists()
        assert catalog.records() == {}
        catalog.put("new", RECORD)
    with Catalog(path) as catalog:
        assert catalog.records() == {"new": RECORD}
        assert catalog.set_aside is None
    assert catalog_is_healthy(path) is None


def test_an_empty_file_is_filled(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with Catalog(path) as catalog:
        assert catalog.records() == {}
        assert catalog.set_aside is None


def test_a_file_of_the_first_version_is_kept_and_gets_what_it_lacks(path: Path) -> None:
    with Catalog(path) as catalog:
        catalog.put("s", RECORD)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE stamps; PRAGMA user_version = 1")
    with Catalog(path) as catalog:
        assert catalog.set_aside is None
        assert catalog.record("s") == RECORD
        catalog.put_stamps("s", b"packed")
    with Catalog(path) as catalog:
        assert catalog.stamps("s") == b"packed"
        catalog.forget("s")
        catalog.flush()
        assert catalog.stamps("s") == b""


def test_a_file_of_a_newer_version_is_set_aside(path: Path) -> None:
    with Catalog(path) as catalog:
        catalog.put("s", RECORD)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with Catalog(path) as catalog:
        assert catalog.records() == {}
        assert catalog.set_aside is not None
        with contextlib.closing(sqlite3.connect(catalog.set_aside)) as connection:
            assert connection.execute("SELECT count(*) FROM directories").fetchone() == (1,)


def test_a_file_that_is_set_aside_says_why_in_its_name(path: Path) -> None:
    for version, what in ((SCHEMA_VERSION + 1, "newer"), (-1, "damaged")):
        with Catalog(path):
            pass
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        with Catalog(path) as catalog:
            assert catalog.set_aside is not None
            assert f".{what}-" in catalog.set_aside.name
            assert catalog.was_newer == (what == "newer")


@contextlib.contextmanager
def kept_by_another(path: Path) -> Iterator[None]:
    """Somebody has the file to himself, so that nobody can even read it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BUSY_S", "_LATE_BUSY_S"):
        monkeypatch.setattr(f"sdgen_thumbnail_plugin.engine.catalog.{name}", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_file_that_another_keeps_is_told_with_what_to_do(path: Path) -> None:
    with Catalog(path):
        pass
    with kept_by_another(path), pytest.raises(CatalogError, match="locked") as refused:
        Catalog(path)
    assert "lsof" in refused.value.remedy


@pytest.mark.usefixtures("impatient")
def test_work_may_begin_without_the_file_and_what_it_holds_is_taken_over(path: Path) -> None:
    with Catalog(path) as catalog:
        for directory in ("looked at", "found", "gone", "not seen"):
            catalog.put(directory, RECORD)
            catalog.put_failure(failure(f"{directory}/old.png"))
    newer = RECORD._replace(images=77)
    keeping = contextlib.ExitStack()
    keeping.enter_context(kept_by_another(path))
    with keeping, Catalog(path, or_begin_without=True) as catalog:
        assert catalog.records() == {}
        assert catalog.set_aside is None
        catalog.discover(["looked at", "found", "gone", "new"])
        catalog.put("looked at", newer)
        catalog.put_stamps("looked at", b"packed")
        catalog.put_failure(failure("looked at/new.png"))
        catalog.forget("gone")
        assert catalog.reload_if_changed() == []
        with pytest.raises(CatalogError, match="locked"):
            catalog.flush()
        keeping.close()
        catalog.flush()
        assert catalog.reload_if_changed() == []
        before = catalog.records(), catalog.failures()
    with Catalog(path) as catalog:
        assert (catalog.records(), catalog.failures()) == before
        assert before[0] == {"looked at": newer, "found": RECORD, "not seen": RECORD, "new": DirectoryRecord()}
        assert sorted(before[1]) == ["found/old.png", "looked at/new.png", "not seen/old.png"]
        assert catalog.stamps("looked at") == b"packed"


def test_a_file_with_other_tables_is_set_aside(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE directories (something_else)")
        connection.commit()
    with Catalog(path) as catalog:
        assert catalog.set_aside is not None
        catalog.put("s", RECORD)
        catalog.flush()


def test_a_place_that_cannot_hold_a_catalog_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError) as caught:
        Catalog(tmp_path / "file" / "catalog.sqlite3")
    assert str(tmp_path / "file") in str(caught.value)
    assert caught.value.remedy


def test_a_folder_in_the_catalogs_place_is_told_and_stays(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "precious.txt").touch()
    with pytest.raises(CatalogError):
        Catalog(path)
    assert (path / "precious.txt").exists()


def test_a_failure_deleted_by_another_process_is_seen_once(path: Path) -> None:
    with Catalog(path) as ours:
        ours.put_failure(failure("s/a.png"))
        ours.put_failure(failure("s/b.png"))
        ours.flush()
        assert ours.reload_if_changed() == []
        with Catalog(path) as theirs:
            theirs.drop_failure("s/a.png")
        assert ours.reload_if_changed() == ["s/a.png"]
        assert list(ours.failures()) == ["s/b.png"]
        assert ours.reload_if_changed() == []


def test_a_failure_not_written_yet_outlives_another_process_changes(path: Path) -> None:
    with Catalog(path) as ours, Catalog(path) as theirs:
        ours.put_failure(failure("new.png"))
        theirs.put("s", RECORD)
        theirs.flush()
        assert ours.reload_if_changed() == []
        assert list(ours.failures()) == ["new.png"]


def test_two_processes_write_at_once(path: Path) -> None:
    def fill(name: str) -> None:
        with Catalog(path) as catalog:
            for number in range(20):
                catalog.put(f"{name}{number}", RECORD)
                catalog.flush()

    threads = [threading.Thread(target=fill, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Catalog(path) as catalog:
        assert len(catalog.directories()) == 40
        assert catalog.set_aside is None


def test_a_catalog_that_another_process_is_making_is_waited_for(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE theirs (number)")
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor() as pool:
            opening = pool.submit(Catalog, path)
            with pytest.raises(FutureTimeoutError):
                opening.result(0.1)
            other.execute("ROLLBACK")
            with opening.result(10) as catalog:
                catalog.put("s", RECORD)


def test_what_could_not_be_written_is_kept_for_the_next_try(path: Path) -> None:
    with Catalog(path) as catalog:
        catalog.put("s", RECORD)
        catalog.put_failure(failure("s/a.png"))
        catalog._connection.execute("PRAGMA busy_timeout = 10")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(CatalogError) as caught:
                catalog.flush()
            assert str(path) in str(caught.value)
            other.execute("ROLLBACK")
        catalog.put("t", RECORD._replace(images=9))
        catalog.flush()
        with Catalog(path) as reader:
            assert reader.records() == {"s": RECORD, "t": RECORD._replace(images=9)}
            assert list(reader.failures()) == ["s/a.png"]


def test_closing_writes_what_is_left_and_does_not_fail(path: Path) -> None:
    catalog = Catalog(path)
    catalog.put("s", RECORD)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        catalog._connection.execute("PRAGMA busy_timeout = 10")
        catalog.close()
        other.execute("ROLLBACK")


def test_a_catalog_is_looked_at_without_being_changed(path: Path) -> None:
    assert catalog_is_healthy(path) is None
    with Catalog(path) as catalog:
        catalog.put("s", RECORD)
    assert catalog_is_healthy(path) is None
    path.write_bytes(b"garbage" * 1000)
    assert catalog_is_healthy(path)
    assert path.read_bytes() == b"garbage" * 1000


def test_many_threads_share_a_catalog(path: Path) -> None:
    with Catalog(path) as catalog:

        def use(name: str) -> None:
            for number in range(100):
                catalog.put(f"{name}{number}", RECORD)
                catalog.put_failure(failure(f"{name}/{number}.png"))
                if number % 10 == 0:
                    catalog.flush()
                    catalog.records()
                    catalog.failures_in([f"{name}/{number}.png"])
                    catalog.reload_if_changed()

        threads = [threading.Thread(target=use, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Catalog(path) as catalog:
        assert len(catalog.directories()) == len(catalog.failures()) == 400
