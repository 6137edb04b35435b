"""Single records out of a catalog that belongs to another process: always as it is now, nothing held in memory.

Each call opens the file, asks, and closes it (0.15 ms where the watcher has it open too, 0.5 ms alone), so a catalog
that is deleted, replaced or set aside meanwhile is no special case.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from sdgen_thumbnail_plugin.engine.catalog import SCHEMA_VERSION, blob_of
from sdgen_thumbnail_plugin.engine.records import BriefRecords, DirectoryRecord
from sdgen_thumbnail_plugin.model import Failure, Stamp

__all__ = ["CatalogLookups"]

_PATIENCE_S = 1.0


class CatalogLookups:
    """The records of one pair of roots, read and written one at a time.

    Where there is no catalog, or none that can be used, failures are remembered for as long as the process lives.

    Args:
        path: the catalog's file; it is never made here.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._brief = BriefRecords()

    def record(self, directory: str) -> DirectoryRecord | None:
        """What is remembered of a directory, as far as single images need it: its recipe."""
        rows = self._ask("SELECT recipe FROM directories WHERE directory = ?", blob_of(directory))
        return DirectoryRecord(recipe=rows[0][0]) if rows else None

    def failure(self, key: str) -> Failure | None:
        rows = self._ask(
            "SELECT mtime_ns, size, kind, message, remedy, version, failed_at_s FROM failures WHERE key = ?",
            blob_of(key),
        )
        if rows:
            mtime_ns, size, *rest = rows[0]
            return Failure(key, Stamp(mtime_ns, size), *rest)
        return self._brief.failure(key)

    def put_failure(self, failure: Failure) -> None:
        self._brief.put_failure(failure)
        self._ask(
            "INSERT OR REPLACE INTO failures VALUES (?,?,?,?,?,?,?,?)",
            blob_of(failure.key), failure.stamp.mtime_ns, failure.stamp.size, failure.kind, failure.message,
            failure.remedy, failure.version, failure.failed_at_s,
        )  # fmt: skip

    def drop_failure(self, key: str) -> None:
        self._brief.drop_failure(key)
        self._ask("DELETE FROM failures WHERE key = ?", blob_of(key))

    def _ask(self, statement: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        if not self._path.exists():
            return []
        try:
            with contextlib.closing(
                sqlite3.connect(f"{self._path.as_uri()}?mode=rw", uri=True, timeout=_PATIENCE_S, isolation_level=None)
            ) as connection:
                if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
                    return []
                connection.execute("PRAGMA synchronous = OFF")
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error:
            return []
