"""Folders on this machine.

Every file is reached through an open folder, one level at a time, and no link is followed on the way: a session that is
swapped for a link between a look and a write cannot lead us out of the root.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sdgen_thumbnail_plugin.errors import (
    AccessDeniedError,
    DiskFullError,
    MachineError,
    SourceChangedError,
    SourceGoneError,
    StorageUnavailableError,
    ThumbnailError,
    UnusableNameError,
)
from sdgen_thumbnail_plugin.model import SOURCE_SUFFIX, Stamp
from sdgen_thumbnail_plugin.storage.base import UNKNOWN_MTIME, DirectoryListing, Session, StoredImage
from sdgen_thumbnail_plugin.text import printable

__all__ = ["LocalImageStorage", "LocalSessionStorage", "is_image_name"]

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: should a FIFO take the file's place after the look at its type, open() still returns.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_TEMPORARY = re.compile(r"\.(\d+)-[0-9a-f]{16}\.sdgen-tmp\Z")
_SESSION_TIME = re.compile(r"(\d{8})[_-]?(\d{6})")
_MANIFEST_LIMIT_BYTES = 16 * 1024 * 1024

_OF_THE_SYSTEM = frozenset(
    ("lost+found", "System Volume Information", "$RECYCLE.BIN", "RECYCLER", "desktop.ini", "Thumbs.db", "aquota.user",
     "aquota.group", "@eaDir", "#recycle", "#snapshot")
)  # fmt: skip
"""What ext, NTFS and exFAT, quotas and network drives put into the root of a volume; often nobody may read them."""

# A time that no file system with whole or even seconds, or with 100 ns (NTFS), can keep as it is.
_PROBE_TIME_NS = 1_700_000_001_123_456_789
_WHOLE_SECONDS_TOLERANCE_NS = 2_000_000_000


def is_image_name(name: str, suffix: str = SOURCE_SUFFIX) -> bool:
    """Whether a file of this name is one of ours: the suffix in any case, and not hidden (``.x.png``, ``._x.png``)."""
    return name[-len(suffix) :].lower() == suffix and not name.startswith(".")


def _is_of_the_system(name: str) -> bool:
    """Whether file systems and desktops make files or folders of this name by themselves; hidden ones
    (``.Trash-1000``, ``.DS_Store``, ``.nfs…``) are all taken for such, as everywhere here."""
    return name.startswith(".") or name in _OF_THE_SYSTEM


def _mapped(error: OSError, path: str) -> ThumbnailError:
    """The one place where the operating system's errors become ours."""
    what = error.strerror.lower() if error.strerror else str(error)
    shown = printable(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(what, path=shown)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessDeniedError(what, path=shown)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return SourceGoneError("is not there", path=shown)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        remedy = "raise the limit: ulimit -n 1024; then restart the watcher"
        return StorageUnavailableError(what, path=shown, remedy=remedy)
    if error.errno == errno.ENAMETOOLONG:
        return UnusableNameError("its thumbnail's name would be too long", path=shown, remedy="shorten the file name")
    return StorageUnavailableError(what, path=shown)


class LocalImageStorage:
    """Images of one suffix below a folder.

    Args:
        root: the folder; it may be missing, and come and go. If it is a link itself, it is followed.
        suffix: lower case, with the dot. File names match it in any case.
    """

    keeps_times = True

    def __init__(self, root: Path, suffix: str = SOURCE_SUFFIX) -> None:
        self._root = os.path.realpath(root)
        self._suffix = suffix
        self._tolerance_ns: int | None = None

    @property
    def location(self) -> str:
        return self._root

    def path(self, key: str) -> str:
        """The key as an absolute path, for people. Raises ``ValueError`` for a key that would leave the root."""
        self._parts(key)
        return f"{self._root}/{key}" if key else self._root

    # -- the root

    def root_identity(self) -> str | None:
        try:
            status = os.stat(self._root)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _mapped(error, self._root) from error
        return f"{status.st_dev}:{status.st_ino}" if stat.S_ISDIR(status.st_mode) else None

    def root_holds_anything(self) -> bool:
        try:
            with os.scandir(self._root) as entries:
                return any(not _is_of_the_system(entry.name) for entry in entries)
        except OSError:
            return False

    def time_tolerance_ns(self) -> int:
        if self._tolerance_ns is None:
            # Full, or not to be written: then it is measured another time.
            with contextlib.suppress(ThumbnailError, OSError):
                self._tolerance_ns = self._measure_tolerance_ns()
        return self._tolerance_ns or 0

    def _measure_tolerance_ns(self) -> int:
        with self._folder("") as folder:
            name = _temporary_name()
            handle = os.open(name, _CREATE_FLAGS, 0o600, dir_fd=folder)
            try:
                os.utime(handle, ns=(_PROBE_TIME_NS, _PROBE_TIME_NS))
                kept_ns = os.fstat(handle).st_mtime_ns
            finally:
                os.close(handle)
                os.unlink(name, dir_fd=folder)
        lost_ns = abs(_PROBE_TIME_NS - kept_ns)
        # From 1/10 s of loss on, the file system keeps whole or even seconds; below, it keeps fractions of its own.
        return _WHOLE_SECONDS_TOLERANCE_NS if lost_ns > 100_000_000 else lost_ns * 10

    # -- looking

    def directory_mtimes(self, directories: Iterable[str]) -> dict[str, int | None]:
        # The hot path of every start and every tick: one call each, from the open root on. Its answers are hints.
        look, is_dir = os.stat, stat.S_ISDIR
        found: dict[str, int | None] = {}
        try:
            root = os.open(self._root, _ROOT_FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            return dict.fromkeys(directories)
        except OSError:
            return dict.fromkeys(directories, UNKNOWN_MTIME)
        try:
            for directory in directories:
                try:
                    status = look(directory or ".", dir_fd=root, follow_symlinks=False)
                    found[directory] = status.st_mtime_ns if is_dir(status.st_mode) else None
                except (FileNotFoundError, NotADirectoryError):
                    found[directory] = None
                except OSError:
                    found[directory] = UNKNOWN_MTIME  # not even that can be read: the listing will say why
        finally:
            os.close(root)
        return found

    def list_directory(self, directory: str) -> DirectoryListing:
        prefix = f"{directory}/" if directory else ""
        suffix = self._suffix
        try:
            # Hot: a first audit comes by here for every file there is. Comprehensions halve what we add to scandir.
            with self._folder(directory) as folder, os.scandir(folder) as scanned:
                mtime_ns = os.fstat(folder).st_mtime_ns
                entries = list(scanned)
                plain = [
                    entry for entry in entries
                    if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False) and entry.name[0] != "."
                ]  # fmt: skip
                try:
                    found = [entry.stat(follow_symlinks=False) for entry in plain]
                except FileNotFoundError:
                    plain, found = [], []  # one is gone already: they are asked one by one below
                new = tuple.__new__  # a third of what a named tuple's own costs
                images = {
                    prefix + entry.name: new(Stamp, (status.st_mtime_ns, status.st_size))
                    for entry, status in zip(plain, found, strict=True)
                }
                if len(plain) == len(entries):
                    return DirectoryListing(images, mtime_ns=mtime_ns)
                others = [entry for entry in entries if prefix + entry.name not in images]
                return self._with_others(DirectoryListing(images, mtime_ns=mtime_ns), others, prefix)
        except SourceGoneError:
            return DirectoryListing()
        except OSError as error:
            raise _mapped(error, self.path(directory)) from error

    def _with_others(
        self, listing: DirectoryListing, entries: Iterable[os.DirEntry[str]], prefix: str
    ) -> DirectoryListing:
        """A listing, and what is not plainly one of our images: folders, temporaries, suffixes in capitals, links."""
        images = dict(listing.images)
        directories: list[str] = []
        temporaries: list[str] = []
        for entry in entries:
            key = prefix + entry.name
            if entry.name[0] == ".":
                if _TEMPORARY.match(entry.name):
                    temporaries.append(key)
            elif entry.is_dir(follow_symlinks=False):
                if entry.name not in _OF_THE_SYSTEM:
                    directories.append(key)
            elif is_image_name(entry.name, self._suffix):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    images[key] = Stamp(status.st_mtime_ns, status.st_size)
                elif self._suffix != SOURCE_SUFFIX:
                    # A link or a device in a thumbnail's place is no thumbnail, but it has to go.
                    images[key] = Stamp(status.st_mtime_ns, 0)
        return DirectoryListing(images, directories, temporaries, listing.mtime_ns)

    def list_images(self, directory: str = "", *, recursive: bool = True) -> list[str]:
        found: list[str] = []
        waiting = [directory]
        while waiting:
            listing = self.list_directory(waiting.pop())
            found.extend(listing.images)
            if recursive:
                waiting.extend(listing.directories)
        return sorted(found)

    def image_exists(self, key: str) -> bool:
        return self.get_image_metadata(key) is not None

    def get_image_metadata(self, key: str) -> Stamp | None:
        try:
            with self._folder_of(key) as (folder, name):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (SourceGoneError, FileNotFoundError):
            return None
        except OSError as error:
            raise _mapped(error, self.path(key)) from error
        if stat.S_ISREG(status.st_mode):
            return Stamp(status.st_mtime_ns, status.st_size)
        if self._suffix != SOURCE_SUFFIX and not stat.S_ISDIR(status.st_mode):
            return Stamp(status.st_mtime_ns, 0)
        return None

    # -- reading

    def read_image_bytes(self, key: str) -> bytes:
        return self.read_image(key).data

    def read_image(self, key: str, *, limit_bytes: int | None = None) -> StoredImage:
        path = self.path(key)
        try:
            with self._folder_of(key) as (folder, name):
                # A look before opening: opening a device can do harm, opening a FIFO can hang its writer.
                if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    raise SourceGoneError("is not a regular file", path=printable(path))
                handle = os.open(name, _READ_FLAGS, dir_fd=folder)
            with open(handle, "rb", buffering=0) as file:
                before = os.fstat(handle)
                if not stat.S_ISREG(before.st_mode):
                    raise SourceGoneError("is not a regular file", path=printable(path))
                wanted = before.st_size if limit_bytes is None else min(limit_bytes, before.st_size)
                data = _read_exactly(file.fileno(), wanted)
                after = os.fstat(handle)
        except OSError as error:
            raise _mapped(error, path) from error
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or len(data) != wanted:
            raise SourceChangedError("changed while it was read", path=printable(path))
        return StoredImage(data, Stamp(before.st_mtime_ns, before.st_size))

    def read_heads(self, keys: Sequence[str], limit_bytes: int) -> dict[str, bytes]:
        if not keys:
            return {}
        heads: dict[str, bytes] = {}
        path = self.path(keys[0])
        try:
            with self._folder(keys[0].rpartition("/")[0]) as folder:
                for key in keys:
                    name = key.rpartition("/")[2]
                    path = self.path(key)
                    with contextlib.suppress(FileNotFoundError):
                        if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                            handle = os.open(name, _READ_FLAGS, dir_fd=folder)
                            try:
                                heads[key] = os.read(handle, limit_bytes)
                            finally:
                                os.close(handle)
        except SourceGoneError:
            pass
        except OSError as error:
            raise _mapped(error, path) from error
        return heads

    # -- changing

    def write_image_bytes(self, key: str, content: bytes, *, mtime_ns: int | None = None) -> None:
        try:
            with self._folder_of(key, create=True) as (folder, name):
                temporary = _temporary_name()
                handle = os.open(temporary, _CREATE_FLAGS, 0o666, dir_fd=folder)
                try:
                    try:
                        _write_all(handle, content)
                        if mtime_ns is not None:
                            os.utime(handle, ns=(mtime_ns, mtime_ns))
                    finally:
                        os.close(handle)
                    self._replace(folder, temporary, name)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=folder)
                    raise
        except OSError as error:
            raise self._write_error(error, self.path(key)) from error

    @staticmethod
    def _replace(folder: int, temporary: str, name: str) -> None:
        try:
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except (IsADirectoryError, FileExistsError):
            os.rmdir(name, dir_fd=folder)  # an empty folder in a thumbnail's place; a full one is left alone
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)

    def set_time(self, key: str, mtime_ns: int) -> None:
        try:
            with self._folder_of(key) as (folder, name):
                handle = os.open(name, _READ_FLAGS, dir_fd=folder)
                try:
                    os.utime(handle, ns=(mtime_ns, mtime_ns))
                finally:
                    os.close(handle)
        except OSError as error:
            raise self._write_error(error, self.path(key)) from error

    def delete_image(self, key: str) -> bool:
        if not is_image_name(key.rpartition("/")[2], self._suffix):
            raise ValueError(f"not an image of this storage: {key!r}")
        return self._unlink(key)

    def delete_temporary(self, key: str) -> bool:
        match = _TEMPORARY.match(key.rpartition("/")[2])
        if match is None:
            raise ValueError(f"not a temporary of ours: {key!r}")
        return not self._has_living_owner(key, int(match.group(1))) and self._unlink(key)

    def _has_living_owner(self, key: str, pid: int) -> bool:
        if pid == os.getpid():
            return True
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return False  # another user's process, or no PID at all: it cannot have written here as us
        import psutil  # 30 ms of import, for the rare case that the PID lives

        try:
            with self._folder_of(key) as (folder, name):
                written_s = os.stat(name, dir_fd=folder, follow_symlinks=False).st_ctime
            return bool(psutil.Process(pid).create_time() <= written_s + 1)
        except (psutil.Error, ThumbnailError, OSError):
            return False

    def _unlink(self, key: str) -> bool:
        try:
            with self._folder_of(key) as (folder, name):
                os.unlink(name, dir_fd=folder)
        except (SourceGoneError, FileNotFoundError, IsADirectoryError):
            return False
        except OSError as error:
            raise self._write_error(error, self.path(key)) from error
        return True

    def remove_empty_directory(self, directory: str) -> bool:
        if not directory:
            return False
        try:
            with self._folder_of(directory) as (folder, name):
                os.rmdir(name, dir_fd=folder)
        except (OSError, SourceGoneError):
            return False  # not empty, or not there: both are fine
        return True

    def rename_image(self, old_key: str, new_key: str) -> bool:
        try:
            with self._folder_of(old_key) as (old_folder, old_name):
                # Looked at first, so that no folder is made for a thumbnail that is not there.
                os.stat(old_name, dir_fd=old_folder, follow_symlinks=False)
                with self._folder_of(new_key, create=True) as (new_folder, new_name):
                    os.replace(old_name, new_name, src_dir_fd=old_folder, dst_dir_fd=new_folder)
        except (SourceGoneError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._write_error(error, self.path(new_key)) from error
        return True

    def rename_directory(self, old: str, new: str) -> bool:
        try:
            with self._folder_of(old) as (old_folder, old_name):
                if not stat.S_ISDIR(os.stat(old_name, dir_fd=old_folder, follow_symlinks=False).st_mode):
                    return False
                with self._folder_of(new, create=True) as (new_folder, new_name):
                    # rename() replaces an empty folder and nothing else.
                    os.rename(old_name, new_name, src_dir_fd=old_folder, dst_dir_fd=new_folder)
        except (SourceGoneError, FileNotFoundError, FileExistsError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                return False
            raise self._write_error(error, self.path(new)) from error
        return True

    def _write_error(self, error: OSError, path: str) -> ThumbnailError:
        mapped = _mapped(error, path)
        if isinstance(mapped, SourceGoneError):
            # While writing, "not there" means that the target folder vanished under us, or something has its place.
            what = error.strerror.lower() if error.strerror else str(error)
            mapped = StorageUnavailableError(what, path=printable(path))
        if isinstance(mapped, MachineError):
            mapped.everywhere = not self._is_of_one_place(error, path)
        return mapped

    def _is_of_one_place(self, error: OSError, path: str) -> bool:
        """Whether writing elsewhere below the root may succeed all the same."""
        if path == self._root:
            return False
        if error.errno in (errno.EACCES, errno.EPERM):
            return os.access(self._root, os.W_OK | os.X_OK)
        return error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)

    # -- reaching

    @staticmethod
    def _parts(key: str) -> list[str]:
        parts = key.split("/") if key else []
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise ValueError(f"not a key: {key!r}")
        return parts

    @contextlib.contextmanager
    def _folder(self, directory: str, *, create: bool = False) -> Iterator[int]:
        """An open folder below the root, reached without following a link. Raises ``SourceGoneError``."""
        parts = self._parts(directory)
        path = self._root
        try:
            if create:
                os.makedirs(path, exist_ok=True)
            handle = os.open(path, _ROOT_FLAGS)
            try:
                for part in parts:
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
            raise (self._write_error if create else _mapped)(error, path) from error
        try:
            yield handle
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _folder_of(self, key: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        directory, _, name = key.rpartition("/")
        self._parts(name)
        with self._folder(directory, create=create) as folder:
            yield folder, name


def _temporary_name() -> str:
    return f".{os.getpid()}-{secrets.token_hex(8)}.sdgen-tmp"


def _read_exactly(handle: int, wanted: int) -> bytes:
    """Up to ``wanted`` bytes; fewer only where the file ends earlier."""
    first = os.read(handle, wanted)
    if len(first) == wanted or not first:
        return first
    chunks = [first]
    missing = wanted - len(first)
    while missing > 0 and (chunk := os.read(handle, missing)):
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


class LocalSessionStorage:
    """Sessions below a folder on this machine.

    Args:
        images: the storage of the source images; its root holds the sessions.
    """

    def __init__(self, images: LocalImageStorage) -> None:
        self._images = images

    def list_sessions(self) -> list[Session]:
        names = self._images.list_directory("").directories
        named = {name: _SESSION_TIME.match(name) for name in names}
        # Only sessions that do not name their time are asked for it.
        mtimes = self._images.directory_mtimes(name for name, match in named.items() if match is None)
        sessions = [
            Session(name, match[1] + match[2] if match else _written(mtimes[name])) for name, match in named.items()
        ]
        return sorted(sessions, key=lambda session: (session.began, session.name), reverse=True)

    def session_exists(self, session: str) -> bool:
        return bool(session) and self._images.directory_mtimes([session])[session] is not None

    def count_images(self, session: str) -> int:
        return len(self.list_images(session))

    def list_images(self, session: str) -> list[str]:
        return self._images.list_images(session)

    def read_manifest(self, session: str) -> Mapping[str, object] | None:
        try:
            text = self._images.read_image(f"{session}/manifest.json", limit_bytes=_MANIFEST_LIMIT_BYTES).data
            manifest = json.loads(text)
        except (ThumbnailError, ValueError, RecursionError):
            return None
        return manifest if isinstance(manifest, dict) else None


def _written(mtime_ns: int | None) -> str:
    """A modification time as sessions write theirs: ``YYYYMMDDHHMMSS`` in local time."""
    import time

    return time.strftime("%Y%m%d%H%M%S", time.localtime((mtime_ns or 0) / 1e9))
