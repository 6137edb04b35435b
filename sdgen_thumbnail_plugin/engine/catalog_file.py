"""The catalog's file: created, opened, and set aside where it is damaged or of a newer version."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from sdgen_thumbnail_plugin.errors import CatalogError

SCHEMA_VERSION = 3

BUSY_S = 5.0
"""How long another process may hold the file when it is opened (Python's own default)."""

WRITE_BUSY_S = 1.0
"""How long it may hold it later: a flush that is refused is tried again at the next tick."""

_SCHEMA = (
    "DROP TABLE IF EXISTS directories",
    "DROP TABLE IF EXISTS failures",
    "DROP TABLE IF EXISTS stamps",
    """CREATE TABLE directories (
        directory BLOB PRIMARY KEY, source_token, target_token, recipe TEXT,
        images INTEGER NOT NULL, thumbnails INTEGER NOT NULL, failed INTEGER NOT NULL, orphans INTEGER NOT NULL,
        complete INTEGER NOT NULL, swept_at_s REAL NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE failures (
        directory BLOB, name BLOB, version INTEGER NOT NULL, size INTEGER NOT NULL, kind TEXT NOT NULL,
        message TEXT NOT NULL, remedy TEXT NOT NULL, our_version TEXT NOT NULL, failed_at_s REAL NOT NULL,
        PRIMARY KEY (directory, name)
    ) WITHOUT ROWID""",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_T = TypeVar("_T")


class SetAside(NamedTuple):
    """A file that could not be used: where it is now, and whether a newer version of ours wrote it."""

    path: Path
    was_newer: bool


class _NewerError(sqlite3.DatabaseError):
    """A newer version of ours wrote the file."""


def open_catalog(
    path: Path | None, read: Callable[[sqlite3.Connection], _T]
) -> tuple[sqlite3.Connection, _T, SetAside | None]:
    """Opens the file, and creates it where it is missing or cannot be used.

    Args:
        path: the file; None for a database in memory.
        read: reads what has to be readable, else the file counts as damaged.

    Returns:
        The connection, what was read, and the file that was set aside, if any.

    Raises:
        CatalogError: it can neither be opened nor replaced.
    """
    try:
        if path is None:
            return *_prepared(":memory:", read), None
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return *_prepared(path, read), None
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and (is_lock_error(error) or "unable to open" in str(error)):
                raise
            aside = _set_aside(path, was_newer=isinstance(error, _NewerError))
        return *_prepared(path, read), aside
    except (OSError, sqlite3.Error) as error:
        remedy = f"end the process that has it open: lsof {path}" if is_lock_error(error) else None
        raise CatalogError(f"cannot be opened: {error}", path=str(path), remedy=remedy) from error


def open_existing(path: Path) -> sqlite3.Connection | None:
    """Opens a file that belongs to another process; None where it is missing or cannot be used. Changes nothing."""
    if not path.exists():
        return None
    with contextlib.suppress(sqlite3.Error):
        connection = _connect(f"{path.as_uri()}?mode=rw", WRITE_BUSY_S, uri=True)
        try:
            if _version_of(connection) == SCHEMA_VERSION:
                connection.execute("PRAGMA synchronous = OFF")
                return connection
        except sqlite3.Error:
            pass
        connection.close()
    return None


def catalog_fault(path: Path) -> str | None:
    """What is wrong with the file; None where it is missing or sound. Changes nothing."""
    if not path.exists():
        return None
    if not os.access(path, os.R_OK | os.W_OK):
        return "not readable and writable"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return str(error)
    return None if verdict == "ok" else str(verdict)


def is_lock_error(error: Exception) -> bool:
    """Whether another process holds the file."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _set_aside(path: Path, *, was_newer: bool) -> SetAside:
    aside = path.with_name(f"{path.name}.{'newer' if was_newer else 'damaged'}-{int(time.time())}")
    path.replace(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return SetAside(aside, was_newer)


def _prepared(address: Path | str, read: Callable[[sqlite3.Connection], _T]) -> tuple[sqlite3.Connection, _T]:
    connection = _connect(address, BUSY_S)
    try:
        _keep_a_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = OFF")
        version = _version_of(connection)
        if version in range(SCHEMA_VERSION):
            _create(connection)  # what an older version remembered is found again
        elif version > SCHEMA_VERSION:
            raise _NewerError(f"schema version {version}")
        elif version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"schema version {version}")
        found = read(connection)
        connection.execute(f"PRAGMA busy_timeout = {int(WRITE_BUSY_S * 1000)}")
    except BaseException:
        connection.close()
        raise
    return connection, found


def _connect(address: Path | str, busy_s: float, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(address, timeout=busy_s, check_same_thread=False, isolation_level=None, uri=uri)


def _version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version_of(connection)  # another process may have been faster
        if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("another program's tables")
        if version < SCHEMA_VERSION:
            for statement in _SCHEMA:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _keep_a_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Of two processes that create the catalog at once, one is refused here without the wait that ``timeout`` asks for:
    SQLite does not call its busy handler where a reader becomes the writer (sqlite3_busy_handler)."""
    deadline_s = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_lock_error(error) or time.monotonic() > deadline_s:
                raise
            time.sleep(0.005)
        else:
            return
