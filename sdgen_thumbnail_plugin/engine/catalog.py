"""The catalog: per directory the state in which it was last found, and the images that failed. One per pair of roots.

A cache: losing it costs time, never a wrong thumbnail. So a damaged one, or one of a newer version, is set aside and a
new one begun, and nothing is written synchronously. Directories are held in memory and written behind; failures live in
the file alone, where every process of the user sees them at once.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sdgen_thumbnail_plugin.engine.catalog_file import open_catalog, open_existing
from sdgen_thumbnail_plugin.errors import CatalogError
from sdgen_thumbnail_plugin.model import Failure, Stamp
from sdgen_thumbnail_plugin.storage.base import Token

_DIRECTORY_COLUMNS = (
    "directory, source_token, target_token, recipe, images, thumbnails, failed, orphans, complete, swept_at_s"
)
_FAILURE_COLUMNS = "directory, name, version, size, kind, message, remedy, our_version, failed_at_s"


class DirectoryRecord(NamedTuple):
    """What is remembered of one directory. A tuple, because a start reads one for every directory there is.

    Attributes:
        tokens: those of source and target under which it needed nothing; None while it has to be looked at.
        recipe: the tag of the settings its thumbnails were made with; None before the first complete look.
        images, thumbnails, failed, orphans: what the last look counted.
        complete: whether every image had its fresh thumbnail, or is known to fail.
        swept_at_s: when every file was last looked at, in seconds since the epoch.
    """

    tokens: tuple[Token, Token] | None = None
    recipe: str | None = None
    images: int = 0
    thumbnails: int = 0
    failed: int = 0
    orphans: int = 0
    complete: bool = False
    swept_at_s: float = 0.0


def parent_of(key: str) -> str:
    """The directory that holds an image or a directory; ``""`` is the root."""
    return key.rpartition("/")[0]


def _blob(key: str) -> bytes:
    """A key as it is stored: bytes, because file names need not be valid text."""
    return key.encode("utf-8", "surrogateescape")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogateescape")


def _is_key(blob: object) -> bool:
    """Whether a stored key is one: a damaged or forged catalog must not lead where the storages refuse to go."""
    if not isinstance(blob, bytes):
        return False
    return not blob or (b"\0" not in blob and not {b"", b".", b".."}.intersection(blob.split(b"/")))


class Catalog:
    """All records of one pair of roots. Safe to use from several threads; changed directories reach the file with
    ``flush``.

    Args:
        path: the database file; its folder is created. None for a catalog that lives as long as the process.

    Attributes:
        set_aside: the file that could not be used; None where there was none.

    Raises:
        CatalogError: it can neither be opened nor replaced.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._connection, self._directories, self.set_aside = open_catalog(path, _read)
        self._revision = 0
        self._changed: set[str] = set()
        self._lock = threading.RLock()

    @classmethod
    def beside_the_watcher(cls, path: Path) -> Catalog:
        """The failures of a catalog that belongs to another process, without its directories. It is never created and
        never set aside: where there is none that can be used, failures are remembered as long as the process lives."""
        catalog = cls(None)
        connection = open_existing(path)
        if connection is not None:
            catalog._connection.close()
            catalog._connection = connection
        return catalog

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
        """A number that changes with every record: what was counted under the same one still holds."""
        return self._revision

    def put(self, directory: str, record: DirectoryRecord) -> None:
        with self._lock:
            self._revision += 1
            self._directories[directory] = record
            self._changed.add(directory)

    def discover(self, directories: Iterable[str]) -> list[str]:
        """Notes directories that are there; returns those that were not known."""
        with self._lock:
            new = [directory for directory in directories if directory not in self._directories]
            for directory in new:
                self.put(directory, DirectoryRecord())
            return new

    def look_again(self, directory: str) -> None:
        """Forgets the tokens of a directory, so that the next tick looks into it."""
        with self._lock:
            record = self._directories.get(directory)
            if record is not None and record.tokens is not None:
                self.put(directory, record._replace(tokens=None, complete=False))

    def forget(self, directory: str) -> None:
        """Forgets a directory and its failures."""
        with self._lock:
            if self._directories.pop(directory, None) is not None:
                self._revision += 1
                self._changed.add(directory)
        self._execute("DELETE FROM failures WHERE directory = ?", _blob(directory))

    def below(self, directory: str) -> list[str]:
        """A directory and all known ones below it."""
        with self._lock:
            if not directory:
                return list(self._directories)
            prefix = directory + "/"
            return [known for known in self._directories if known == directory or known.startswith(prefix)]

    def rename(self, old: str, new: str) -> None:
        """A directory has another name now, with everything below it. It has to be looked at under the new one."""
        with self._lock:
            for directory in self.below(old):
                moved = new + directory[len(old) :]
                record = self._directories[directory]
                self._execute("DELETE FROM failures WHERE directory = ?", _blob(moved))
                self._execute("UPDATE failures SET directory = ? WHERE directory = ?", _blob(moved), _blob(directory))
                self.forget(directory)
                self.put(moved, record._replace(tokens=None, complete=False))

    # -- failures

    def failures(self) -> dict[str, Failure]:
        """All failures, by key."""
        return self._failures_where("1 = 1")

    def failures_of(self, directory: str) -> dict[str, Failure]:
        """The failures in one directory by key, whether or not their images are still there."""
        return self._failures_where("directory = ?", _blob(directory))

    def failure(self, key: str) -> Failure | None:
        directory, _, name = key.rpartition("/")
        return self._failures_where("directory = ? AND name = ?", _blob(directory), _blob(name)).get(key)

    def count_failures(self) -> int:
        rows = self._execute("SELECT count(*) FROM failures")
        return int(rows[0][0]) if rows else 0

    def put_failure(self, failure: Failure) -> None:
        directory, _, name = failure.key.rpartition("/")
        self._execute(
            f"INSERT OR REPLACE INTO failures ({_FAILURE_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)",
            _blob(directory), _blob(name), *failure.stamp, failure.kind, failure.message, failure.remedy,
            failure.version, failure.failed_at_s,
        )  # fmt: skip

    def drop_failure(self, key: str) -> None:
        directory, _, name = key.rpartition("/")
        self._execute("DELETE FROM failures WHERE directory = ? AND name = ?", _blob(directory), _blob(name))

    def _failures_where(self, condition: str, *values: bytes) -> dict[str, Failure]:
        found = {}
        for directory, name, version, size, *rest in self._execute(
            f"SELECT {_FAILURE_COLUMNS} FROM failures WHERE {condition}", *values
        ):
            if _is_key(directory) and _is_key(name):
                key = _text(directory + b"/" + name if directory else name)
                found[key] = Failure(key, Stamp(version, size), *rest)
        return found

    def _execute(self, statement: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        """Runs one statement; a file that is locked or broken has nothing to say, and what it cannot remember is found
        again."""
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error:
                return []

    # -- the file

    def flush(self) -> None:
        """Writes the directories that changed. Raises ``CatalogError``; they are kept for the next try."""
        with self._lock:
            if not self._changed:
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
            self._changed.clear()

    def _write(self) -> None:
        gone, kept = [], []
        for directory in sorted(self._changed):  # in the table's own order it is quicker
            record = self._directories.get(directory)
            if record is None:
                gone.append((_blob(directory),))
            else:
                tokens, *rest = record
                kept.append((_blob(directory), *(tokens or (None, None)), *rest))
        self._connection.executemany("DELETE FROM directories WHERE directory = ?", gone)
        self._connection.executemany(
            f"INSERT OR REPLACE INTO directories ({_DIRECTORY_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)", kept
        )

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


def _read(connection: sqlite3.Connection) -> dict[str, DirectoryRecord]:
    connection.execute(f"SELECT {_FAILURE_COLUMNS} FROM failures LIMIT 1")
    rows = connection.execute(f"SELECT {_DIRECTORY_COLUMNS} FROM directories")
    new = tuple.__new__  # a third of what a named tuple's own costs, for every directory at every start
    tags: dict[str | None, str | None] = {}  # nearly all have one tag, of which SQLite makes as many copies
    return {
        _text(directory): new(DirectoryRecord, (
            None if source is None or target is None else (source, target),
            tags.setdefault(recipe, recipe), images, thumbnails, failed, orphans, bool(complete), swept_at_s,
        ))
        for (directory, source, target, recipe, images, thumbnails, failed, orphans, complete, swept_at_s) in rows
        if _is_key(directory)
    }  # fmt: skip
