"""Images in folders on this machine, or on a mount that looks like one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sdgen_thumbnail_plugin.errors import SourceChangedError, SourceGoneError, ThumbnailError
from sdgen_thumbnail_plugin.model import SOURCE_SUFFIX, Stamp
from sdgen_thumbnail_plugin.storage.base import Listing, StoredImage, Token
from sdgen_thumbnail_plugin.storage.folders import (
    READ_FLAGS,
    TEMPORARY,
    Folders,
    create_temporary,
    error_of,
    is_regular,
    read_up_to,
    write_whole,
)
from sdgen_thumbnail_plugin.text import printable

_OF_THE_SYSTEM = frozenset(
    ("lost+found", "System Volume Information", "$RECYCLE.BIN", "RECYCLER", "desktop.ini", "Thumbs.db", "aquota.user",
     "aquota.group", "@eaDir", "#recycle", "#snapshot")
)  # fmt: skip
"""What ext, NTFS and exFAT, quotas and network drives put into the root of a volume; often unreadable."""

_MISSING: Token = 0
"""The token of a directory that is missing: like the others the modification time, of which 0 is not a real one."""

SETTLING_NS = 2_000_000_000
"""A directory whose modification time is younger than this may change again without a new one: the clocks of older
kernels are coarse, and NFS caches times."""

# A time that no file system with whole or even seconds, or with 100 ns (NTFS), can keep as it is.
_PROBE_TIME_NS = 1_700_000_001_123_456_789
_WHOLE_SECONDS_TOLERANCE_NS = 2_000_000_000


def is_image_name(name: str, suffix: str = SOURCE_SUFFIX) -> bool:
    """Whether a file of this name is an image: the suffix in any case, and not hidden (``.x.png``, ``._x.png``)."""
    return name[-len(suffix) :].lower() == suffix and not name.startswith(".")


class LocalImageStorage:
    """Images of one suffix below a folder.

    A stamp is the modification time in nanoseconds and the size; a token is the folder's modification time.

    Args:
        root: the folder; it may be missing, and come and go. If it is a link itself, it is followed.
        suffix: lower case, with the dot. File names match it in any case.
    """

    keeps_times = True

    def __init__(self, root: Path, suffix: str = SOURCE_SUFFIX) -> None:
        self._folders = Folders(os.path.realpath(root))
        self._suffix = suffix
        self._tolerance_ns: int | None = None

    @property
    def location(self) -> str:
        return self._folders.root

    def path(self, key: str) -> str:
        """The key as an absolute path, for people. Raises ``ValueError`` for a key that would leave the root."""
        return self._folders.path(key)

    def time_tolerance_ns(self) -> int:
        if self._tolerance_ns is None:
            # Where the disk is full or read-only, it is measured another time.
            with contextlib.suppress(ThumbnailError, OSError):
                self._tolerance_ns = self._measure_tolerance_ns()
        return self._tolerance_ns or 0

    def _measure_tolerance_ns(self) -> int:
        with self._folders.open("") as folder:
            handle, name = create_temporary(folder, 0o600)
            try:
                os.utime(handle, ns=(_PROBE_TIME_NS, _PROBE_TIME_NS))
                kept_ns = os.fstat(handle).st_mtime_ns
            finally:
                os.close(handle)
                os.unlink(name, dir_fd=folder)
        lost_ns = abs(_PROBE_TIME_NS - kept_ns)
        # From 1/10 s of loss on, the file system keeps whole or even seconds; below, it keeps fractions of its own.
        return _WHOLE_SECONDS_TOLERANCE_NS if lost_ns > 100_000_000 else lost_ns * 10

    # -- the root and its directories

    def root_identity(self) -> str | None:
        try:
            status = os.stat(self.location)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise error_of(error, self.location) from error
        return f"{status.st_dev}:{status.st_ino}" if stat.S_ISDIR(status.st_mode) else None

    def root_holds_anything(self) -> bool:
        try:
            with os.scandir(self.location) as entries:
                # Hidden names (``.Trash-1000``, ``.DS_Store``, ``.nfs…``) are the system's here as everywhere.
                return any(not entry.name.startswith(".") and entry.name not in _OF_THE_SYSTEM for entry in entries)
        except OSError:
            return False

    def tokens(self, directories: Iterable[str]) -> dict[str, Token | None]:
        # The hot path of every start and every tick: one call for each directory, from the open root on.
        look, is_dir = os.stat, stat.S_ISDIR
        found: dict[str, Token | None] = {}
        try:
            with self._folders.open("") as root:
                for directory in directories:
                    try:
                        status = look(directory or ".", dir_fd=root, follow_symlinks=False)
                        found[directory] = status.st_mtime_ns if is_dir(status.st_mode) else _MISSING
                    except (FileNotFoundError, NotADirectoryError):
                        found[directory] = _MISSING
                    except OSError:
                        found[directory] = None  # the listing will say why
        except SourceGoneError:
            return dict.fromkeys(directories, _MISSING)
        except ThumbnailError:
            return dict.fromkeys(directories)
        return found

    def recent(self, tokens: Mapping[str, Token | None], within_s: float) -> set[str]:
        since_ns = time.time_ns() - int(within_s * 1e9)
        return {directory for directory, token in tokens.items() if isinstance(token, int) and token > since_ns}

    def missing_directories(self, directories: Iterable[str]) -> set[str]:
        return {directory for directory, token in self.tokens(directories).items() if token == _MISSING}

    def directory_exists(self, directory: str) -> bool:
        return not self.missing_directories([directory])

    def list_directory(self, directory: str) -> Listing:
        prefix = f"{directory}/" if directory else ""
        suffix = self._suffix
        try:
            # Hot: a first catch-up comes by here for every file. Comprehensions halve what we add to scandir.
            with self._folders.open(directory) as folder, os.scandir(folder) as scanned:
                token = _settled(os.fstat(folder).st_mtime_ns)
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
                    return Listing(images, token=token)
                others = [entry for entry in entries if prefix + entry.name not in images]
                return self._with_others(Listing(images, token=token), others, prefix)
        except SourceGoneError:
            return Listing(token=_MISSING, exists=False)
        except OSError as error:
            raise error_of(error, self.path(directory)) from error

    def _with_others(self, listing: Listing, entries: Iterable[os.DirEntry[str]], prefix: str) -> Listing:
        """A listing, and what is not plainly one of our images: folders, temporaries, suffixes in capitals, links."""
        images = dict(listing.images)
        directories: list[str] = []
        temporaries: list[str] = []
        for entry in entries:
            key = prefix + entry.name
            if entry.name[0] == ".":
                if TEMPORARY.match(entry.name):
                    temporaries.append(key)
            elif entry.is_dir(follow_symlinks=False):
                if entry.name not in _OF_THE_SYSTEM:
                    directories.append(key)
            elif is_image_name(entry.name, self._suffix):
                try:
                    stamp = self._stamp_of(entry.stat(follow_symlinks=False))
                except FileNotFoundError:
                    continue
                if stamp is not None:
                    images[key] = stamp
        return Listing(images, directories, temporaries, listing.token)

    def _stamp_of(self, status: os.stat_result) -> Stamp | None:
        if stat.S_ISREG(status.st_mode):
            return Stamp(status.st_mtime_ns, status.st_size)
        if self._suffix != SOURCE_SUFFIX and not stat.S_ISDIR(status.st_mode):
            return Stamp(status.st_mtime_ns, 0)  # a link or a device in a thumbnail's place: empty, so it has to go
        return None

    def remove_empty_directory(self, directory: str) -> bool:
        if not directory:
            return False
        try:
            with self._folders.open_parent(directory) as (folder, name):
                os.rmdir(name, dir_fd=folder)
        except (OSError, ThumbnailError):
            return False  # not empty, or missing: both are fine
        return True

    def rename_directory(self, old: str, new: str) -> bool:
        try:
            with self._folders.open_parent(old) as (old_folder, old_name):
                if not stat.S_ISDIR(os.stat(old_name, dir_fd=old_folder, follow_symlinks=False).st_mode):
                    return False
                with self._folders.open_parent(new, create=True) as (new_folder, new_name):
                    # rename(2) replaces an empty folder and nothing else.
                    os.rename(old_name, new_name, src_dir_fd=old_folder, dst_dir_fd=new_folder)
        except (SourceGoneError, FileNotFoundError, FileExistsError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                return False
            raise self._folders.write_error(error, self.path(new)) from error
        return True

    # -- looking at images

    def image_exists(self, key: str) -> bool:
        return self.get_image_metadata(key) is not None

    def get_image_metadata(self, key: str) -> Stamp | None:
        try:
            with self._folders.open_parent(key) as (folder, name):
                return self._stamp_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
        except (SourceGoneError, FileNotFoundError):
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None  # nothing can have this name
            raise error_of(error, self.path(key)) from error

    def modified_ns(self, stamp: Stamp) -> int | None:
        return stamp.version

    def age_s(self, stamp: Stamp) -> float | None:
        return time.time() - stamp.version / 1e9

    def read_image(self, key: str, *, limit_bytes: int | None = None) -> StoredImage:
        path = self.path(key)
        try:
            with self._folders.open_parent(key) as (folder, name):
                if not is_regular(name, folder):
                    raise SourceGoneError("is not a regular file", path=printable(path))
                handle = os.open(name, READ_FLAGS, dir_fd=folder)
            try:
                status = os.fstat(handle)
                if not stat.S_ISREG(status.st_mode):
                    raise SourceGoneError("is not a regular file", path=printable(path))
                length = status.st_size if limit_bytes is None else min(limit_bytes, status.st_size)
                data = read_up_to(handle, length)
            finally:
                os.close(handle)
        except OSError as error:
            raise error_of(error, path) from error
        if len(data) != length:
            raise SourceChangedError("changed while it was read", path=printable(path))
        return StoredImage(data, Stamp(status.st_mtime_ns, status.st_size))

    def read_heads(self, keys: Sequence[str], limit_bytes: int) -> dict[str, bytes]:
        if not keys:
            return {}
        heads: dict[str, bytes] = {}
        path = self.path(keys[0])
        try:
            with self._folders.open(keys[0].rpartition("/")[0]) as folder:
                for key in keys:
                    name, path = key.rpartition("/")[2], self.path(key)
                    with contextlib.suppress(FileNotFoundError):
                        if is_regular(name, folder):
                            handle = os.open(name, READ_FLAGS, dir_fd=folder)
                            try:
                                heads[key] = os.read(handle, limit_bytes)
                            finally:
                                os.close(handle)
        except SourceGoneError:
            pass
        except OSError as error:
            raise error_of(error, path) from error
        return heads

    # -- changing images

    def write_image_bytes(self, key: str, content: bytes, *, mtime_ns: int | None = None) -> None:
        try:
            with self._folders.open_parent(key, create=True) as (folder, name):
                write_whole(folder, name, content, mtime_ns)
        except OSError as error:
            raise self._folders.write_error(error, self.path(key)) from error

    def set_time(self, key: str, mtime_ns: int) -> None:
        try:
            with self._folders.open_parent(key) as (folder, name):
                handle = os.open(name, READ_FLAGS, dir_fd=folder)
                try:
                    os.utime(handle, ns=(mtime_ns, mtime_ns))
                finally:
                    os.close(handle)
        except OSError as error:
            raise self._folders.write_error(error, self.path(key)) from error

    def rename_image(self, old_key: str, new_key: str) -> bool:
        try:
            with self._folders.open_parent(old_key) as (old_folder, old_name):
                # Looked at first, so that no folder is created for a thumbnail that is missing.
                os.stat(old_name, dir_fd=old_folder, follow_symlinks=False)
                with self._folders.open_parent(new_key, create=True) as (new_folder, new_name):
                    os.replace(old_name, new_name, src_dir_fd=old_folder, dst_dir_fd=new_folder)
        except (SourceGoneError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._folders.write_error(error, self.path(new_key)) from error
        return True

    def delete_image(self, key: str) -> bool:
        if not is_image_name(key.rpartition("/")[2], self._suffix):
            raise ValueError(f"not an image of this storage: {key!r}")
        return self._unlink(key)

    def delete_temporary(self, key: str) -> bool:
        return self._folders.is_left_over(key) and self._unlink(key)

    def _unlink(self, key: str) -> bool:
        try:
            with self._folders.open_parent(key) as (folder, name):
                os.unlink(name, dir_fd=folder)
        except (SourceGoneError, FileNotFoundError, IsADirectoryError):
            return False
        except OSError as error:
            raise self._folders.write_error(error, self.path(key)) from error
        return True


def _settled(mtime_ns: int) -> Token | None:
    return mtime_ns if time.time_ns() - mtime_ns > SETTLING_NS else None
