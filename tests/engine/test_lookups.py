"""Single records out of another process's catalog."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.engine import lookups as lookups_module
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.lookups import CatalogLookups
from sdgen_thumbnail_plugin.engine.records import BriefRecords, DirectoryRecord
from sdgen_thumbnail_plugin.model import Failure, Stamp

FAILURE = Failure("s/a\udcff.png", Stamp(2**61, 7), "DamagedImageError", "is broken", "mend it", "0.1.0", 12.5)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_sees_what_the_catalog_wrote_at_once(tmp_path: Path) -> None:
    lookups = CatalogLookups(tmp_path / "catalog")
    assert lookups.record("s") is None
    assert not (tmp_path / "catalog").exists(), "it never makes one"
    with Catalog(tmp_path / "catalog") as catalog:
        catalog.put("s", DirectoryRecord(recipe="h240-q85-m6", images=3))
        catalog.put("new", DirectoryRecord())
        catalog.put_failure(FAILURE)
        catalog.flush()
        found = lookups.record("s")
        assert found is not None
        assert found.recipe == "h240-q85-m6"
        assert lookups.record("new") == DirectoryRecord()
        assert lookups.record("other") is None
        assert lookups.failure(FAILURE.key) == FAILURE
        catalog.drop_failure(FAILURE.key)
        catalog.flush()
        assert lookups.failure(FAILURE.key) is None


def test_a_failure_it_writes_is_found_by_the_next_catalog(tmp_path: Path) -> None:
    with Catalog(tmp_path / "catalog"):
        CatalogLookups(tmp_path / "catalog").put_failure(FAILURE)
    with Catalog(tmp_path / "catalog") as catalog:
        assert catalog.failure(FAILURE.key) == FAILURE
        CatalogLookups(tmp_path / "catalog").drop_failure(FAILURE.key)
    with Catalog(tmp_path / "catalog") as catalog:
        assert catalog.failures() == {}


@pytest.mark.parametrize("state", ["absent", "garbage", "newer"])
def test_without_a_usable_catalog_failures_are_remembered_for_the_process(tmp_path: Path, state: str) -> None:
    path = tmp_path / "catalog"
    if state == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif state == "newer":
        with Catalog(path) as catalog:
            catalog.put("s", DirectoryRecord(recipe="h240-q85-m6"))
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 99")
    before = contents(tmp_path)
    lookups = CatalogLookups(path)
    lookups.put_failure(FAILURE)
    assert lookups.failure(FAILURE.key) == FAILURE
    assert lookups.record("s") is None
    lookups.drop_failure(FAILURE.key)
    assert lookups.failure(FAILURE.key) is None
    assert contents(tmp_path) == before


def test_a_catalog_that_is_deleted_or_replaced_meanwhile_is_no_special_case(tmp_path: Path) -> None:
    path = tmp_path / "catalog"
    lookups = CatalogLookups(path)
    for recipe in ("h240-q85-m6", "h100-q85-m6"):
        with Catalog(path) as catalog:
            catalog.put("s", DirectoryRecord(recipe=recipe))
        assert lookups.record("s") == DirectoryRecord(recipe=recipe)
        for file in tmp_path.iterdir():
            file.unlink()
        assert lookups.record("s") is None
    assert contents(tmp_path) == {}


def test_a_failure_is_remembered_though_the_catalog_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups_module, "_PATIENCE_S", 0.05)
    with Catalog(tmp_path / "catalog"):
        pass
    lookups = CatalogLookups(tmp_path / "catalog")
    with contextlib.closing(sqlite3.connect(tmp_path / "catalog", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        lookups.put_failure(FAILURE)
        assert lookups.failure(FAILURE.key) == FAILURE
    with Catalog(tmp_path / "catalog") as catalog:
        assert catalog.failures() == {}, "it was locked, or this shows nothing"


def test_without_a_catalog_only_the_latest_failures_are_remembered() -> None:
    records = BriefRecords()
    for number in range(10_001):
        records.put_failure(replace(FAILURE, key=str(number)))
    assert records.failure("0") is None
    assert records.failure("1") is not None
    assert records.failure("10000") is not None
