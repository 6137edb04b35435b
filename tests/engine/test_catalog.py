"""The record: what survives, and what two processes see of each other."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.engine.catalog import Catalog, DirectoryRecord, parent_of
from sdgen_thumbnail_plugin.engine.catalog_file import SCHEMA_VERSION
from sdgen_thumbnail_plugin.errors import CatalogError
from support.records import RECORD, failure


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


def test_a_catalog_without_a_file_lives_as_long_as_the_process() -> None:
    with Catalog(None) as catalog:
        catalog.put("s", RECORD)
        catalog.put_failure(failure("s/a.png"))
        catalog.flush()
        assert catalog.record("s") == RECORD
        assert list(catalog.failures()) == ["s/a.png"]
    with Catalog(None) as catalog:
        assert catalog.records() == {}


def test_what_another_process_does_to_the_failures_is_seen_at_once(path: Path) -> None:
    with Catalog(path) as ours, Catalog(path) as theirs:
        ours.put_failure(failure("s/a.png"))
        ours.put_failure(failure("s/b.png"))
        assert theirs.count_failures() == 2
        theirs.drop_failure("s/a.png")
        assert list(ours.failures()) == list(ours.failures_of("s")) == ["s/b.png"]
        assert ours.failure("s/a.png") is None


def test_a_renamed_directory_takes_along_what_is_known_of_it(path: Path) -> None:
    with Catalog(path) as catalog:
        for directory in ("old", "old/deep", "older"):
            catalog.put(directory, RECORD)
            catalog.put_failure(failure(f"{directory}/a.png"))
        catalog.rename("old", "new")
        assert sorted(catalog.directories()) == ["new", "new/deep", "older"]
        assert catalog.record("new") == RECORD._replace(tokens=None, complete=False)
        assert sorted(catalog.failures()) == ["new/a.png", "new/deep/a.png", "older/a.png"]


def test_a_directory_to_be_looked_at_again_keeps_its_counts(path: Path) -> None:
    with Catalog(path) as catalog:
        catalog.put("s", RECORD)
        catalog.look_again("s")
        catalog.look_again("unknown")
        assert catalog.records() == {"s": RECORD._replace(tokens=None, complete=False)}


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
    with Catalog(path) as catalog:
        assert catalog.records() == {}, "the file was held, or this shows nothing"


def test_many_threads_share_a_catalog(path: Path) -> None:
    with Catalog(path) as catalog:

        def use(name: str) -> None:
            for number in range(100):
                catalog.put(f"{name}{number}", RECORD)
                catalog.put_failure(failure(f"{name}/{number}.png"))
                if number % 10 == 0:
                    catalog.flush()
                    catalog.records()
                    catalog.failures_of(name)

        threads = [threading.Thread(target=use, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Catalog(path) as catalog:
        assert len(catalog.directories()) == len(catalog.failures()) == 400


# -- beside the watcher


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_beside_the_watcher_the_failures_are_shared(path: Path) -> None:
    with Catalog(path) as watchers, Catalog.beside_the_watcher(path) as ours:
        ours.put_failure(failure("s/a.png"))
        assert list(watchers.failures()) == ["s/a.png"]
        watchers.drop_failure("s/a.png")
        assert ours.failure("s/a.png") is None
        watchers.put_failure(failure("s/undecodable\udcff.png"))
        assert ours.failure("s/undecodable\udcff.png") == failure("s/undecodable\udcff.png")


@pytest.mark.parametrize("state", ["absent", "garbage", "newer"])
def test_beside_the_watcher_a_catalog_that_cannot_be_used_is_left_alone(tmp_path: Path, state: str) -> None:
    path = tmp_path / "catalog"
    if state == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif state == "newer":
        with Catalog(path) as catalog:
            catalog.put("s", RECORD)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = contents(tmp_path)
    with Catalog.beside_the_watcher(path) as ours:
        ours.put_failure(failure("s/a.png"))
        assert ours.failure("s/a.png") == failure("s/a.png")
        ours.drop_failure("s/a.png")
        assert ours.failure("s/a.png") is None
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("impatient")
def test_a_failure_that_cannot_be_written_is_no_error(path: Path) -> None:
    with Catalog(path) as catalog, kept_by_a_writer(path):
        catalog.put_failure(failure("s/a.png"))
        assert catalog.failures() == {}


@contextlib.contextmanager
def kept_by_a_writer(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.parametrize(("key", "parent"), [("a.png", ""), ("s/a.png", "s"), ("s/deep/a.png", "s/deep"), ("", "")])
def test_the_parent_of_a_key(key: str, parent: str) -> None:
    assert parent_of(key) == parent
