"""The catalog: per directory the state last found complete, and the images that failed. One per pair of roots.

A cache: losing it costs time, never a wrong thumbnail. So a damaged one, or one of a newer version, is set aside and a
new one begun, and nothing is written synchronously.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from sdgen_thumbnail_plugin.engine.records import DirectoryRecord
from sdgen_thumbnail_plugin.engine.scan import DirectoryTimes, parent_of
from sdgen_thumbnail_plugin.errors import CatalogError
from sdgen_thumbnail_plugin.model import Failure, Stamp

__all__ = ["SCHEMA_VERSION", "Catalog", "blob_of", "catalog_is_healthy"]

SCHEMA_VERSION = 2

_BUSY_S = 5.0  # how long another process may hold the file (Python's own default)
_FLUSH_BUSY_S = 1.0  # a write that finds it held is tried again at the next tick; meanwhile nobody else gets on

_LATE_BUSY_S = 0.1  # the same where it could not even be opened, which may last

_SCHEMA = """
CREATE TABLE IF NOT EXISTS directories (
    directory BLOB PRIMARY KEY, source_ns INTEGER, target_ns INTEGER, recipe TEXT,
    images INTEGER NOT NULL, thumbnails INTEGER NOT NULL, failed INTEGER NOT NULL, orphans INTEGER NOT NULL,
    complete INTEGER NOT NULL, swept_at_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
    key BLOB PRIMARY KEY, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL,
    remedy TEXT NOT NULL, version TEXT NOT NULL, failed_at_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stamps (directory BLOB PRIMARY KEY, packed BLOB NOT NULL) WITHOUT ROWID;
"""


def blob_of(key: str) -> bytes:
    """A key as the catalog stores it: bytes, because file names need not be valid text."""
    return key.encode("utf-8", "surrogateescape")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogateescape")


class _NewerError(sqlite3.DatabaseError):
    """A newer version of ours made the file."""


def _is_of_a_lock(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _is_key(blob: object) -> bool:
    """Whether a stored key is one: a damaged or forged catalog must not send us where the storages refuse to go."""
    if not isinstance(blob, bytes):
        return False
    return not blob or (b"\0" not in blob and not {b"", b".", b".."}.intersection(blob.split(b"/")))


class Catalog:
    """All records of one pair of roots, held in memory and written behind.

    Reading is from memory. Changes reach the file with ``flush``; another process's changes to the failures are
    noticed by ``reload_if_changed``. Safe to use from several threads.

    Args:
        path: the database file; its folder is made.
        or_begin_without: where another process keeps the file to itself, begin with nothing remembered, and take over
            what it holds with the first ``flush`` that can.

    Attributes:
        set_aside: where a file that could not be used is now; None where there was none.
        was_newer: whether that one was of a newer version, and else damaged.

    Raises:
        CatalogError: it can neither be opened nor replaced.
    """

    def __init__(self, path: Path, *, or_begin_without: bool = False) -> None:
        self.path = path
        self.set_aside: Path | None = None
        self.was_newer = False
        self._directories: dict[str, DirectoryRecord] = {}
        self._failures: dict[str, Failure] = {}
        self._is_open = True
        self._lock = threading.RLock()
        self._revision = 0
        self._dirty_directories: set[str] = set()
        self._dirty_failures: set[str] = set()
        self._dirty_stamps: dict[str, bytes] = {}
        self._failures_by_directory: dict[str, list[str]] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._open(_BUSY_S)
        except sqlite3.OperationalError as error:
            if not or_begin_without or not _is_of_a_lock(error):
                raise self._cannot_be_opened(error) from error
            self._is_open = False
            self._connection = self._connect(":memory:", 0.0)
        except (OSError, sqlite3.Error) as error:
            raise self._cannot_be_opened(error) from error

    def _cannot_be_opened(self, error: Exception) -> CatalogError:
        remedy = f"end the process that has it open: lsof {self.path}" if _is_of_a_lock(error) else None
        return CatalogError(f"cannot be opened: {error}", path=str(self.path), remedy=remedy)

    def _open(self, busy_s: float) -> sqlite3.Connection:
        try:
            return self._connect(self.path, busy_s)
        except _NewerError:
            self.was_newer = True
        except sqlite3.OperationalError as error:
            if _is_of_a_lock(error) or "unable to open" in str(error):
                raise
        except sqlite3.DatabaseError:
            pass
        what = "newer" if self.was_newer else "damaged"
        self.set_aside = self.path.with_name(f"{self.path.name}.{what}-{int(time.time())}")
        self.path.replace(self.set_aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        return self._connect(self.path, busy_s)

    def _connect(self, path: Path | str, busy_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=busy_s, check_same_thread=False, isolation_level=None)
        try:
            self._keep_a_write_ahead_log(connection, busy_s)
            connection.execute("PRAGMA synchronous = OFF")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version in range(SCHEMA_VERSION):  # each version only added tables
                connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            elif version > SCHEMA_VERSION:
                raise _NewerError(f"schema version {version}")
            elif version != SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"schema version {version}")
            self._take_over(self._read_directories(connection), self._read_failures(connection))
            self._seen_version = connection.execute("PRAGMA data_version").fetchone()[0]
            connection.execute(f"PRAGMA busy_timeout = {int(_FLUSH_BUSY_S * 1000)}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _take_over(self, directories: dict[str, DirectoryRecord], failures: dict[str, Failure]) -> None:
        """What the file holds, but where more is known already because work began without it."""
        with self._lock:
            for directory in self._dirty_directories:
                known = self._directories.get(directory)
                if known == DirectoryRecord():  # it was found, but not looked at
                    directories.setdefault(directory, known)
                    continue
                directories.pop(directory, None)
                if known is not None:
                    directories[directory] = known
                self._dirty_failures.update(key for key in failures if parent_of(key) == directory)
            for key in self._dirty_failures:
                failures.pop(key, None)  # tried again since
            self._directories, self._failures = directories, failures | self._failures
            self._failures_by_directory = None
            self._revision += 1

    @staticmethod
    def _keep_a_write_ahead_log(connection: sqlite3.Connection, busy_s: float) -> None:
        """Of two processes that make the catalog at once, one is refused here without the wait that ``timeout`` asks
        for: SQLite does not call its busy handler where a reader becomes the writer (sqlite3_busy_handler).
        """
        deadline_s = time.monotonic() + busy_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if not _is_of_a_lock(error) or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.005)
            else:
                return

    @staticmethod
    def _read_directories(connection: sqlite3.Connection) -> dict[str, DirectoryRecord]:
        rows = connection.execute(
            "SELECT directory, source_ns, target_ns, recipe, images, thumbnails, failed, orphans, complete, swept_at_s,"
            " source_ns IS NULL AND target_ns IS NULL FROM directories"
        )
        new = tuple.__new__  # a third of what a named tuple's own costs, twice for every directory at every start
        tags: dict[str | None, str | None] = {}  # nearly all have one tag, of which SQLite makes as many copies
        return {
            _text(directory): new(DirectoryRecord, (
                None if unknown else new(DirectoryTimes, (source_ns, target_ns)),
                tags.setdefault(recipe, recipe), images, thumbnails, failed, orphans, bool(complete), swept_at_s,
            ))
            for (directory, source_ns, target_ns, recipe, images, thumbnails, failed, orphans, complete, swept_at_s,
                 unknown) in rows
            if _is_key(directory)
        }  # fmt: skip

    @staticmethod
    def _read_failures(connection: sqlite3.Connection) -> dict[str, Failure]:
        rows = connection.execute(
            "SELECT key, mtime_ns, size, kind, message, remedy, version, failed_at_s FROM failures"
        )
        found = {}
        for blob, mtime_ns, size, *rest in rows:
            if _is_key(blob):
                key = _text(blob)
                found[key] = Failure(key, Stamp(mtime_ns, size), *rest)
        return found

    # -- directories

    def directories(self) -> list[str]:
        """The keys of all directories ever found and not known to be gone."""
        with self._lock:
            return list(self._directories)

    def record(self, directory: str) -> DirectoryRecord | None:
        return self._directories.get(directory)

    def records(self) -> dict[str, DirectoryRecord]:
        """A copy of all records, by directory."""
        with self._lock:
            return dict(self._directories)

    @property
    def revision(self) -> int:
        """Another number after every change of a record: what was counted under the same one still holds."""
        return self._revision

    def put(self, directory: str, record: DirectoryRecord) -> None:
        with self._lock:
            self._revision += 1
            self._directories[directory] = record
            self._dirty_directories.add(directory)

    def discover(self, directories: Iterable[str]) -> list[str]:
        """Notes directories that are there; returns those that were not known."""
        with self._lock:
            new = [directory for directory in directories if directory not in self._directories]
            for directory in new:
                self.put(directory, DirectoryRecord())
            return new

    def forget(self, directory: str) -> None:
        with self._lock:
            if self._directories.pop(directory, None) is not None:
                self._revision += 1
                self._dirty_directories.add(directory)
                self._dirty_stamps.pop(directory, None)
            for key in self.failures_of(directory):
                self.drop_failure(key)

    def below(self, directory: str) -> list[str]:
        """A directory and all known ones below it."""
        with self._lock:
            if not directory:
                return list(self._directories)
            prefix = directory + "/"
            return [known for known in self._directories if known == directory or known.startswith(prefix)]

    # -- the stamps of a complete directory's images: wanted once in a while, and so not kept in memory

    def put_stamps(self, directory: str, packed: bytes) -> None:
        """Notes the stamps of a directory's images, as ``moves`` packs them."""
        with self._lock:
            self._dirty_stamps[directory] = packed

    def stamps(self, directory: str) -> bytes:
        """The stamps noted last; empty where there are none, or the file cannot be read."""
        with self._lock:
            packed = self._dirty_stamps.get(directory)
            if packed is None:
                try:
                    sql = "SELECT packed FROM stamps WHERE directory = ?"
                    row = self._connection.execute(sql, (blob_of(directory),)).fetchone()
                except sqlite3.Error:
                    return b""
                packed = row[0] if row is not None else b""
            return packed

    # -- failures

    def failures(self) -> dict[str, Failure]:
        """A copy of all failures, by key."""
        with self._lock:
            return dict(self._failures)

    def failures_in(self, keys: Iterable[str]) -> Mapping[str, Failure]:
        failures = self._failures
        return {key: failures[key] for key in keys if key in failures} if failures else {}

    def failures_of(self, directory: str) -> dict[str, Failure]:
        """The failures in one directory, whether or not their images are still there."""
        if not self._failures:
            return {}
        with self._lock:
            if self._failures_by_directory is None:
                self._failures_by_directory = {}
                for key in self._failures:
                    self._failures_by_directory.setdefault(parent_of(key), []).append(key)
            keys = self._failures_by_directory.get(directory, ())
            return {key: self._failures[key] for key in keys if key in self._failures}

    def failure(self, key: str) -> Failure | None:
        return self._failures.get(key)

    def put_failure(self, failure: Failure) -> None:
        with self._lock:
            if failure.key not in self._failures:
                self._failures_by_directory = None  # made anew when it is asked for
            self._failures[failure.key] = failure
            self._dirty_failures.add(failure.key)

    def drop_failure(self, key: str) -> None:
        if key in self._failures:
            with self._lock:
                self._failures.pop(key, None)
                self._dirty_failures.add(key)

    # -- the file

    def flush(self) -> None:
        """Writes what changed. Raises ``CatalogError``; what was not written is kept for the next try."""
        with self._lock:
            if not self._is_open:
                self._open_late()
            if not self._dirty_directories and not self._dirty_failures and not self._dirty_stamps:
                return
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    self._write()
                    self._connection.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise CatalogError(f"cannot be written: {error}", path=str(self.path)) from error
            self._dirty_directories.clear()
            self._dirty_stamps.clear()
            self._dirty_failures.clear()

    def _open_late(self) -> None:
        try:
            connection = self._open(_LATE_BUSY_S)
        except (OSError, sqlite3.Error) as error:
            raise self._cannot_be_opened(error) from error
        self._connection.close()
        self._connection, self._is_open = connection, True

    def _write(self) -> None:
        gone, kept = [], []
        for directory in sorted(self._dirty_directories):  # in the table's own order it is quicker
            record = self._directories.get(directory)
            if record is None:
                gone.append((blob_of(directory),))
            else:
                times = record.times or DirectoryTimes(None, None)
                kept.append(
                    (blob_of(directory), times.source_ns, times.target_ns, record.recipe, record.images,
                     record.thumbnails, record.failed, record.orphans, record.complete, record.swept_at_s)
                )  # fmt: skip
        self._connection.executemany("DELETE FROM directories WHERE directory = ?", gone)
        self._connection.executemany("DELETE FROM stamps WHERE directory = ?", gone)
        self._connection.executemany(
            "INSERT OR REPLACE INTO stamps VALUES (?,?)",
            [(blob_of(directory), packed) for directory, packed in sorted(self._dirty_stamps.items())],
        )
        self._connection.executemany("INSERT OR REPLACE INTO directories VALUES (?,?,?,?,?,?,?,?,?,?)", kept)
        failures = [(key, self._failures.get(key)) for key in self._dirty_failures]
        self._connection.executemany(
            "DELETE FROM failures WHERE key = ?", [(blob_of(key),) for key, failure in failures if failure is None]
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO failures VALUES (?,?,?,?,?,?,?,?)",
            [
                (blob_of(key), f.stamp.mtime_ns, f.stamp.size, f.kind, f.message, f.remedy, f.version, f.failed_at_s)
                for key, f in failures
                if f is not None
            ],
        )

    def reload_if_changed(self) -> list[str]:
        """Takes over what another process did to the failures; returns the keys it dropped (to be tried again)."""
        with self._lock:
            try:
                version = self._connection.execute("PRAGMA data_version").fetchone()[0]
                if version == self._seen_version:
                    return []
                self._seen_version = version
                stored = self._read_failures(self._connection)
            except sqlite3.Error:
                return []
            dropped = [key for key in self._failures if key not in stored and key not in self._dirty_failures]
            for key in dropped:
                del self._failures[key]
            return dropped

    def close(self) -> None:
        """Flushes, as far as that is possible, and closes."""
        with self._lock:
            with contextlib.suppress(CatalogError):
                self.flush()
            self._connection.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def catalog_is_healthy(path: Path) -> str | None:
    """None where the file is absent or sound, else what is wrong with it. Changes nothing."""
    if not path.exists():
        return None
    if not os.access(path, os.R_OK | os.W_OK):
        return "not readable and writable"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return str(error)
    return None if verdict == "ok" else str(verdict)
