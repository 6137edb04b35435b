"""Folders through open descriptors, and the system's errors as ours."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.errors import (
    AccessDeniedError,
    DiskFullError,
    MachineError,
    SourceGoneError,
    StorageUnavailableError,
    ThumbnailError,
    UnusableNameError,
)
from sdgen_thumbnail_plugin.storage.folders import Folders, create_temporary, error_of, read_up_to, write_whole

TIME_NS = 1_700_000_000_123_456_789


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(str(tmp_path / "root"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EACCES, AccessDeniedError),
        (errno.EPERM, AccessDeniedError),
        (errno.EROFS, AccessDeniedError),
        (errno.ENOENT, SourceGoneError),
        (errno.ENOTDIR, SourceGoneError),
        (errno.ELOOP, SourceGoneError),
        (errno.ENAMETOOLONG, UnusableNameError),
        (errno.EIO, StorageUnavailableError),
        (errno.ESTALE, StorageUnavailableError),
        (errno.EMFILE, StorageUnavailableError),
    ],
)
def test_every_error_of_the_system_has_one_of_ours(code: int, expected: type[ThumbnailError]) -> None:
    error = error_of(OSError(code, os.strerror(code)), "/some/p\nath")
    assert type(error) is expected
    assert error.path == "/some/p\\nath"
    assert error.message == error.message.lower()


def test_missing_folders_are_created_where_that_is_wanted(folders: Folders) -> None:
    with pytest.raises(SourceGoneError), folders.open("s/deep"):
        pass
    with folders.open("s/deep", create=True) as folder:
        assert os.path.samestat(os.fstat(folder), Path(folders.root, "s/deep").stat())


def test_a_link_below_the_root_is_not_followed_on_any_level(folders: Folders, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    Path(folders.root, "s").mkdir(parents=True)
    Path(folders.root, "link").symlink_to(outside)
    Path(folders.root, "s", "link").symlink_to(outside)
    for directory in ("link", "link/deep", "s/link", "s/link/deep"):
        with pytest.raises(SourceGoneError), folders.open(directory):
            pass
        with pytest.raises(StorageUnavailableError), folders.open(directory, create=True):
            pass
    assert sorted(path.name for path in outside.rglob("*")) == ["deep"]


def test_opening_leaves_no_descriptor_behind(folders: Folders) -> None:
    with folders.open("s/deep", create=True):
        pass
    before = os.listdir("/dev/fd")
    for directory in ("s", "s/deep", "none", "s/none"):
        try:
            with folders.open(directory):
                pass
        except SourceGoneError:
            pass
    assert os.listdir("/dev/fd") == before


@pytest.mark.parametrize(
    ("code", "everywhere"),
    [(errno.ENOSPC, True), (errno.EROFS, True), (errno.EIO, True), (errno.ENOTEMPTY, False), (errno.EACCES, False)],
)
def test_an_error_of_writing_says_whether_it_stops_all_writing(folders: Folders, code: int, everywhere: bool) -> None:
    Path(folders.root).mkdir()
    error = folders.write_error(OSError(code, os.strerror(code)), folders.path("s/a.webp"))
    assert isinstance(error, MachineError)
    assert error.everywhere is everywhere


def test_at_the_root_every_error_of_writing_stops_all_writing(folders: Folders) -> None:
    error = folders.write_error(PermissionError(errno.EACCES, "Permission denied"), folders.root)
    assert isinstance(error, AccessDeniedError)
    assert error.everywhere


def test_a_file_is_there_whole_with_its_time(folders: Folders) -> None:
    with folders.open("s", create=True) as folder:
        write_whole(folder, "a.webp", b"first", TIME_NS)
        write_whole(folder, "a.webp", b"second", TIME_NS + 1)
    path = Path(folders.root, "s", "a.webp")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (b"second", TIME_NS + 1)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_ends_early_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    for length, expected in ((0, b""), (3, b"123"), (5, b"12345"), (9, b"12345")):
        handle = os.open(tmp_path / "a", os.O_RDONLY)
        try:
            assert read_up_to(handle, length) == expected
        finally:
            os.close(handle)


def test_our_own_unfinished_file_is_not_left_over(folders: Folders) -> None:
    with folders.open("s", create=True) as folder:
        handle, name = create_temporary(folder)
        os.close(handle)
    assert not folders.is_left_over(f"s/{name}")
    with pytest.raises(ValueError, match="not a temporary of ours"):
        folders.is_left_over("s/a.webp")
