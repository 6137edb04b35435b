"""The catalog's file: what is set aside, what begins again, what is told."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.catalog_file import SCHEMA_VERSION, catalog_fault
from sdgen_thumbnail_plugin.errors import CatalogError
from support.records import RECORD, failure


@pytest.mark.parametrize("kept", [0, 16, 100, 2000])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path: Path, kept: int) -> None:
    with Catalog(path) as catalog:
        for number in range(200):
            catalog.put(f"directory{number}", RECORD)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept] + b"garbage!" * ((len(whole) - kept) // 8))
    with Catalog(path) as catalog:
        assert catalog.set_aside is not None
        assert catalog.set_aside.path.exists()
        assert catalog.records() == {}
        catalog.put("new", RECORD)
    with Catalog(path) as catalog:
        assert catalog.records() == {"new": RECORD}
        assert catalog.set_aside is None
    assert catalog_fault(path) is None


def test_an_empty_file_is_filled(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with Catalog(path) as catalog:
        assert catalog.records() == {}
        assert catalog.set_aside is None


def test_a_file_of_an_older_version_begins_again_in_its_place(path: Path) -> None:
    with Catalog(path) as catalog:
        catalog.put("s", RECORD)
        catalog.put_failure(failure("s/a.png"))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE stamps (directory); PRAGMA user_version = 2")
    with Catalog(path) as catalog:
        assert catalog.set_aside is None
        assert (catalog.records(), catalog.failures()) == ({}, {})
        catalog.put("s", RECORD)
    with Catalog(path) as catalog:
        assert catalog.records() == {"s": RECORD}


def test_a_file_of_a_newer_version_is_set_aside(path: Path) -> None:
    with Catalog(path) as catalog:
        catalog.put("s", RECORD)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with Catalog(path) as catalog:
        assert catalog.records() == {}
        assert catalog.set_aside is not None
        with contextlib.closing(sqlite3.connect(catalog.set_aside.path)) as connection:
            assert connection.execute("SELECT count(*) FROM directories").fetchone() == (1,)


def test_a_file_that_is_set_aside_says_why_in_its_name(path: Path) -> None:
    for version, what in ((SCHEMA_VERSION + 1, "newer"), (-1, "damaged")):
        with Catalog(path):
            pass
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        with Catalog(path) as catalog:
            assert catalog.set_aside is not None
            assert f".{what}-" in catalog.set_aside.path.name
            assert catalog.set_aside.was_newer == (what == "newer")


@contextlib.contextmanager
def kept_by_another(path: Path) -> Iterator[None]:
    """Somebody has the file to himself, so that nobody can even read it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.usefixtures("impatient")
def test_a_file_that_another_process_keeps_locked_is_reported_with_what_to_do(path: Path) -> None:
    with Catalog(path):
        pass
    with kept_by_another(path), pytest.raises(CatalogError, match="locked") as refused:
        Catalog(path)
    assert "lsof" in refused.value.remedy


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


def test_a_catalog_is_looked_at_without_being_changed(path: Path) -> None:
    assert catalog_fault(path) is None
    with Catalog(path) as catalog:
        catalog.put("s", RECORD)
    assert catalog_fault(path) is None
    path.write_bytes(b"garbage" * 1000)
    assert catalog_fault(path)
    assert path.read_bytes() == b"garbage" * 1000
