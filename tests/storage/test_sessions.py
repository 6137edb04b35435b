"""Sessions: which is newer, and what their manifests say."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.storage.local import LocalImageStorage
from sdgen_thumbnail_plugin.storage.sessions import LocalSessionStorage


@pytest.fixture
def source(tmp_path: Path) -> LocalImageStorage:
    (tmp_path / "results").mkdir()
    return LocalImageStorage(tmp_path / "results")


def put_manifest(source: LocalImageStorage, content: bytes) -> None:
    folder = Path(source.path("s"))
    folder.mkdir()
    (folder / "manifest.json").write_bytes(content)


def test_sessions_are_ordered_by_their_names_then_by_their_times_newest_first(source: LocalImageStorage) -> None:
    middle_s = time.mktime((2025, 11, 10, 12, 0, 0, 0, 0, -1))
    names = ["20251111_080000-b", "20251109_080000-a", "without-a-time", "20251111_080000-a", "missing"]
    for name in names[:-1]:
        Path(source.path(name)).mkdir()
        os.utime(source.path(name), (1, 1))
    os.utime(source.path("without-a-time"), (middle_s, middle_s))
    assert LocalSessionStorage(source).newest_first(names) == [
        "20251111_080000-b",
        "20251111_080000-a",
        "without-a-time",
        "20251109_080000-a",
        "missing",
    ]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"{", b"[]", b'"ongoing"', b"null", b"[" * 100_000, b'{"a": \xff}'],
    ids=["empty", "binary", "cut", "list", "text", "null", "deep", "undecodable"],
)
def test_a_manifest_that_is_garbage_is_none(source: LocalImageStorage, content: bytes) -> None:
    put_manifest(source, content)
    assert LocalSessionStorage(source).read_manifest("s") is None


def test_a_manifest_is_read(source: LocalImageStorage) -> None:
    put_manifest(source, b'{"snapshot": {"status": "ongoing"}}')
    sessions = LocalSessionStorage(source)
    assert sessions.read_manifest("s") == {"snapshot": {"status": "ongoing"}}
    assert sessions.read_manifest("none") is None
