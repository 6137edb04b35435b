"""Folders reached through open descriptors, and the operating system's errors as ours.

A folder below the root is opened one level at a time, and no link is followed on the way: a session that is swapped for
a link between a look and a write cannot lead out of the root. Only the first level is opened together with the root, by
one call: over a network or WSL mount each call is a round trip.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator

from sdgen_thumbnail_plugin.errors import (
    AccessDeniedError,
    DiskFullError,
    MachineError,
    SourceGoneError,
    StorageUnavailableError,
    ThumbnailError,
    UnusableNameError,
)
from sdgen_thumbnail_plugin.text import printable

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""``O_NONBLOCK``: if a FIFO takes the file's place after the look at its type, open(2) still returns."""

TEMPORARY = re.compile(r"\.(\d+)-[0-9a-f]{16}\.sdgen-tmp\Z")
"""The names of our unfinished files; the group is the PID of the process that writes it."""


def error_of(error: OSError, path: str) -> ThumbnailError:
    """The one place where the operating system's errors become ours."""
    what = error.strerror.lower() if error.strerror else str(error)
    shown = printable(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(what, path=shown)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessDeniedError(what, path=shown)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return SourceGoneError("is missing", path=shown)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        remedy = "raise the limit: ulimit -n 1024; then restart the watcher"
        return StorageUnavailableError(what, path=shown, remedy=remedy)
    if error.errno == errno.ENAMETOOLONG:
        return UnusableNameError("its thumbnail's name would be too long", path=shown, remedy="shorten the file name")
    return StorageUnavailableError(what, path=shown)


class Folders:
    """The folders below one root.

    Args:
        root: an absolute path; it may be missing, and come and go.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, key: str) -> str:
        """The key as an absolute path, for people. Raises ``ValueError`` for a key that would leave the root."""
        _parts(key)
        return f"{self.root}/{key}" if key else self.root

    @contextlib.contextmanager
    def open(self, directory: str, *, create: bool = False) -> Iterator[int]:
        """An open folder.

        Args:
            directory: its key.
            create: whether missing folders are created, the root included.

        Raises:
            SourceGoneError: it is missing, or a link; with ``create`` that is a ``StorageUnavailableError``.
            MachineError: it cannot be opened or created.
        """
        handle = self._reach(_parts(directory), create)
        try:
            yield handle
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def open_parent(self, key: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder that holds a file, and the file's name in it. Raises as ``open`` does."""
        directory, _, name = key.rpartition("/")
        _parts(name)
        with self.open(directory, create=create) as folder:
            yield folder, name

    def _reach(self, parts: list[str], create: bool) -> int:
        path = f"{self.root}/{parts[0]}" if parts else self.root
        try:
            try:
                handle = os.open(path, _FOLDER_FLAGS if parts else _ROOT_FLAGS)
            except (FileNotFoundError, NotADirectoryError):
                if not create:
                    raise
                handle = self._create(path, parts)
            try:
                for part in parts[1:]:
                    path = f"{path}/{part}"
                    if create:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(part, dir_fd=handle)
                    below = os.open(part, _FOLDER_FLAGS, dir_fd=handle)
                    os.close(handle)
                    handle = below
            except BaseException:
                os.close(handle)
                raise
        except OSError as error:
            raise (self.write_error(error, path) if create else error_of(error, path)) from error
        return handle

    def _create(self, path: str, parts: list[str]) -> int:
        if not parts or not self._make(path):
            try:
                os.makedirs(self.root, exist_ok=True)
            except OSError as error:
                raise self.write_error(error, self.root) from error
            if parts:
                self._make(path)
        return os.open(path, _FOLDER_FLAGS if parts else _ROOT_FLAGS)

    @staticmethod
    def _make(path: str) -> bool:
        """Creates a folder; whether the one above it is there."""
        try:
            os.mkdir(path)
        except FileExistsError:
            return True
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def write_error(self, error: OSError, path: str) -> ThumbnailError:
        """The error of a write, which says as well whether it stops all writing below the root."""
        mapped = error_of(error, path)
        if isinstance(mapped, SourceGoneError) or (path == self.root and error.errno in (errno.EEXIST, errno.EISDIR)):
            # While writing, "missing" means that the target folder vanished, or that a file has its place.
            what = error.strerror.lower() if error.strerror else str(error)
            mapped = StorageUnavailableError(what, path=printable(path))
        if isinstance(mapped, MachineError):
            mapped.everywhere = not self._concerns_one_place(error, path)
        return mapped

    def _concerns_one_place(self, error: OSError, path: str) -> bool:
        """Whether writing elsewhere below the root may succeed all the same."""
        if path == self.root:
            return False
        if error.errno in (errno.EACCES, errno.EPERM):
            return os.access(self.root, os.W_OK | os.X_OK)
        return error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)

    def is_left_over(self, key: str) -> bool:
        """Whether the process that wrote a temporary is dead."""
        match = TEMPORARY.match(key.rpartition("/")[2])
        if match is None:
            raise ValueError(f"not a temporary of ours: {key!r}")
        pid = int(match.group(1))
        if pid == os.getpid():
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return True  # another user's process, or a number that is not a PID: it cannot have written here as us
        import psutil  # 30 ms of import, for the rare case that the PID lives

        try:
            with self.open_parent(key) as (folder, name):
                written_s = os.stat(name, dir_fd=folder, follow_symlinks=False).st_ctime
            return bool(psutil.Process(pid).create_time() > written_s + 1)
        except (psutil.Error, ThumbnailError, OSError):
            return True


def create_temporary(folder: int, mode: int = 0o666) -> tuple[int, str]:
    """A new unfinished file in an open folder: its descriptor, open for writing, and its name."""
    name = f".{os.getpid()}-{secrets.token_hex(8)}.sdgen-tmp"
    return os.open(name, _CREATE_FLAGS, mode, dir_fd=folder), name


def write_whole(folder: int, name: str, content: bytes, mtime_ns: int | None) -> None:
    """Puts a file into an open folder whole: a reader sees the old one or the new one, which carries its time from its
    first moment. Raises ``OSError``."""
    handle, temporary = create_temporary(folder)
    try:
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(handle, rest) :]
            if mtime_ns is not None:
                os.utime(handle, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(handle)
        try:
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except (IsADirectoryError, FileExistsError):
            os.rmdir(name, dir_fd=folder)  # an empty folder in a thumbnail's place; a full one is left alone
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def read_up_to(handle: int, length: int) -> bytes:
    """The first ``length`` bytes of an open file; fewer only where it ends earlier."""
    chunks = []
    while length > 0 and (chunk := os.read(handle, length)):
        chunks.append(chunk)
        length -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def is_regular(name: str, folder: int) -> bool:
    """Whether a file in an open folder is a regular one; asked before it is opened, because opening a device can do
    harm, and opening a FIFO can hang its writer."""
    return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _parts(key: str) -> list[str]:
    parts = key.split("/") if key else []
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"not a key: {key!r}")
    return parts
