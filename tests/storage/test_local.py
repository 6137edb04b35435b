"""Folders on this machine: what is read, what is written, what is never touched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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
from sdgen_thumbnail_plugin.model import Stamp
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage, is_image_name

TIME_NS = 1_700_000_000_123_456_789


@pytest.fixture
def source(tmp_path: Path) -> LocalImageStorage:
    (tmp_path / "results").mkdir()
    return LocalImageStorage(tmp_path / "results")


@pytest.fixture
def target(tmp_path: Path) -> LocalImageStorage:
    return LocalImageStorage(tmp_path / "thumbnails", ".webp")


def put(storage: LocalImageStorage, key: str, content: bytes = b"image") -> Path:
    path = Path(storage.path(key))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names_in(storage: LocalImageStorage) -> list[str]:
    root = Path(storage.location)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


# -- writing


def test_what_is_written_is_there_with_its_time_and_without_a_temporary(target: LocalImageStorage) -> None:
    target.write_image_bytes("s/deep/a.webp", b"content", mtime_ns=TIME_NS)
    assert target.read_image("s/deep/a.webp").data == b"content"
    tolerance_ns = target.time_tolerance_ns()
    stamp = target.get_image_metadata("s/deep/a.webp")
    assert stamp is not None
    assert abs(stamp.version - TIME_NS) <= tolerance_ns
    assert names_in(target) == ["s/deep/a.webp"]


def test_a_reader_sees_the_old_or_the_new_image_and_never_half_of_one(target: LocalImageStorage) -> None:
    contents = [bytes([number]) * 200_000 for number in range(8)]
    target.write_image_bytes("a.webp", contents[0], mtime_ns=TIME_NS)
    path = target.path("a.webp")
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            with open(path, "rb") as file:
                seen.append(file.read())
                assert os.fstat(file.fileno()).st_mtime_ns % 1_000_000_000 in (0, TIME_NS % 1_000_000_000)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        target.write_image_bytes("a.webp", contents[number % 8], mtime_ns=TIME_NS)
    done.set()
    reader.join()
    assert seen
    assert set(seen) <= set(contents)


def test_many_writers_of_one_key_leave_one_whole_image(target: LocalImageStorage) -> None:
    contents = [bytes([number]) * 50_000 for number in range(8)]
    threads = [threading.Thread(target=target.write_image_bytes, args=("s/a.webp", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_image("s/a.webp").data in contents
    assert names_in(target) == ["s/a.webp"]


def test_an_image_replaces_the_link_in_its_place(target: LocalImageStorage, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    Path(target.location).mkdir()
    Path(target.path("a.webp")).symlink_to(victim)
    target.write_image_bytes("a.webp", b"new")
    assert victim.read_bytes() == b"precious"
    assert not Path(target.path("a.webp")).is_symlink()


def test_an_image_replaces_an_empty_folder_and_leaves_a_full_one(target: LocalImageStorage) -> None:
    Path(target.path("a.webp")).mkdir(parents=True)
    target.write_image_bytes("a.webp", b"new")
    assert target.read_image("a.webp").data == b"new"
    put(target, "b.webp/precious.txt")
    with pytest.raises(StorageUnavailableError):
        target.write_image_bytes("b.webp", b"new")
    assert names_in(target) == ["a.webp", "b.webp/precious.txt"]


def test_the_umask_is_respected(target: LocalImageStorage) -> None:
    before = os.umask(0o027)
    try:
        target.write_image_bytes("s/a.webp", b"x")
    finally:
        os.umask(before)
    assert os.stat(target.path("s/a.webp")).st_mode & 0o777 == 0o640
    assert os.stat(target.path("s")).st_mode & 0o777 == 0o750


def test_a_full_disk_is_told_and_leaves_no_temporary(small_disk: Path) -> None:
    storage = LocalImageStorage(small_disk, ".webp")
    storage.write_image_bytes("s/a.webp", b"old")
    with pytest.raises(DiskFullError) as caught:
        storage.write_image_bytes("s/a.webp", bytes(1_000_000))
    assert caught.value.path == f"{small_disk}/s/a.webp"
    assert caught.value.remedy
    assert names_in(storage) == ["s/a.webp"]
    assert storage.read_image("s/a.webp").data == b"old"


def test_a_disk_that_cannot_be_written_is_told(read_only_disk: Path) -> None:
    storage = LocalImageStorage(read_only_disk, ".webp")
    with pytest.raises(AccessDeniedError):
        storage.write_image_bytes("a.webp", b"x")
    with pytest.raises(AccessDeniedError):
        storage.write_image_bytes("s/a.webp", b"x")
    assert storage.time_tolerance_ns() == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_this_user_may_not_read_or_write_is_told(source: LocalImageStorage) -> None:
    path = put(source, "s/a.png")
    path.chmod(0)
    with pytest.raises(AccessDeniedError):
        source.read_image("s/a.png")
    path.parent.chmod(0)
    try:
        with pytest.raises(AccessDeniedError):
            source.list_directory("s")
        with pytest.raises(AccessDeniedError):
            source.write_image_bytes("s/b.png", b"x")
    finally:
        path.parent.chmod(0o700)


def test_a_root_that_vanished_while_writing_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError):
        LocalImageStorage(tmp_path / "file" / "below", ".webp").write_image_bytes("a.webp", b"x")


# -- names


@pytest.mark.parametrize(
    "key", ["../a.png", "s/../../a.png", "/etc/a.png", "s//a.png", "./a.png", "s/./a.png", "a\0.png"]
)
def test_a_key_that_leaves_the_root_is_refused_everywhere(source: LocalImageStorage, key: str) -> None:
    for call in (
        source.path,
        source.list_directory,
        source.get_image_metadata,
        source.image_exists,
        source.read_image,
        source.delete_image,
        source.remove_empty_directory,
        lambda key: source.write_image_bytes(key, b"x"),
        lambda key: source.set_time(key, 1),
        lambda key: source.rename_image(key, "b.png"),
        lambda key: source.rename_directory(key, "b"),
    ):
        with pytest.raises(ValueError):
            call(key)


@pytest.mark.parametrize(
    "name",
    ["ü 漢字 🐧.png", "new\nline.png", "\x1b[31mred.png", "undecodable\udcff\udcfe.png", "n" * 251 + ".png", "-rf.png"],
)
def test_any_name_that_the_system_takes_is_taken(source: LocalImageStorage, name: str) -> None:
    source.write_image_bytes(f"s/{name}", b"x", mtime_ns=TIME_NS)
    assert list(source.list_directory("s").images) == [f"s/{name}"]
    assert source.read_image(f"s/{name}").data == b"x"
    assert source.rename_image(f"s/{name}", "s/other.png")
    assert source.rename_image("s/other.png", f"s/{name}")
    assert source.delete_image(f"s/{name}")


def test_a_name_that_is_too_long_is_told(target: LocalImageStorage) -> None:
    name = "n" * 251 + ".webp"
    for call in (lambda key: target.write_image_bytes(key, b"x"), target.delete_image):
        with pytest.raises(UnusableNameError):
            call(name)
    assert target.get_image_metadata(name) is None
    assert names_in(target) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", True), ("a.PNG", True), ("a.png.part", False), (".a.png", False), ("._a.png", False), ("png", False),
     (".png", False), ("a.jpg", False), ("apng", False)],
)  # fmt: skip
def test_which_names_are_images(name: str, expected: bool) -> None:
    assert is_image_name(name) is expected


# -- looking


def test_a_listing_holds_one_level_and_no_strangers(source: LocalImageStorage, tmp_path: Path) -> None:
    path = put(source, "s/a.png", b"12345")
    os.utime(path, ns=(TIME_NS, TIME_NS))
    put(source, "s/below/b.png")
    put(source, "s/notes.txt")
    put(source, "s/.hidden.png")
    put(source, "s/.hidden/c.png")
    (path.parent / "folder.png").mkdir()
    (path.parent / "link.png").symlink_to(path)
    (path.parent / "linked").symlink_to(tmp_path)
    os.mkfifo(path.parent / "fifo.png")
    listing = source.list_directory("s")
    assert listing.images == {"s/a.png": Stamp(path.stat().st_mtime_ns, 5)}
    assert sorted(listing.directories) == ["s/below", "s/folder.png"]


@pytest.mark.parametrize("kind", ["missing", "file", "link"])
def test_what_is_no_folder_is_empty(source: LocalImageStorage, tmp_path: Path, kind: str) -> None:
    path = Path(source.path("s"))
    if kind == "file":
        path.touch()
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "a.png").touch()
        path.symlink_to(tmp_path / "elsewhere")
    listing = source.list_directory("s")
    assert (dict(listing.images), list(listing.directories)) == ({}, [])
    assert not source.directory_exists("s")


def test_a_linked_root_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    storage = LocalImageStorage(tmp_path / "link")
    assert list(storage.list_directory("").images) == ["a.png"]
    assert storage.location == str(tmp_path / "real")


def test_the_token_of_a_folder_changes_with_what_is_in_it(source: LocalImageStorage) -> None:
    put(source, "s/a.png")
    os.utime(source.path("s"), ns=(TIME_NS, TIME_NS))
    tokens = source.tokens(["", "s", "none", "s/a.png"])
    assert list(tokens) == ["", "s", "none", "s/a.png"]
    assert tokens["s"] == source.list_directory("s").token
    assert tokens["none"] == tokens["s/a.png"] == source.list_directory("none").token
    assert None not in tokens.values()
    put(source, "s/b.png")
    assert source.tokens(["s"])["s"] != tokens["s"]
    (Path(source.path("s")) / "a.png").unlink()
    (Path(source.path("s")) / "b.png").unlink()
    Path(source.path("s")).rmdir()
    assert source.tokens(["s"])["s"] == tokens["none"]


def test_a_folder_that_changed_a_moment_ago_has_a_token_that_is_not_to_be_trusted(source: LocalImageStorage) -> None:
    put(source, "s/a.png")
    for age_s, trusted in ((0, False), (1.9, False), (2.5, True), (-60, False)):
        now_ns = time.time_ns() - int(age_s * 1e9)
        os.utime(source.path("s"), ns=(now_ns, now_ns))
        assert (source.list_directory("s").token is not None) == trusted


def test_tokens_say_what_changed_lately(source: LocalImageStorage) -> None:
    for name, age_s in (("new", 5), ("old", 500)):
        put(source, f"{name}/a.png")
        os.utime(source.path(name), (time.time() - age_s, time.time() - age_s))
    tokens = source.tokens(["new", "old", "none"])
    assert source.recent(tokens, 60) == {"new"}
    assert source.recent(tokens, 600) == {"new", "old"}
    assert source.recent({"new": None}, 600) == set()


def test_whether_a_folder_is_there_is_a_question_of_its_own(source: LocalImageStorage, tmp_path: Path) -> None:
    put(source, "s/a.png")
    Path(source.path("linked")).symlink_to(tmp_path)
    assert [source.directory_exists(key) for key in ("", "s", "none", "s/a.png", "linked")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert source.list_directory("s").exists
    assert not source.list_directory("none").exists
    Path(source.location).rename(tmp_path / "elsewhere")
    assert not source.directory_exists("")


def test_another_folder_in_the_roots_place_is_another_root(source: LocalImageStorage, tmp_path: Path) -> None:
    before = source.root_identity()
    Path(source.location).rename(tmp_path / "old")
    assert source.root_identity() is None
    assert not source.root_holds_anything()
    Path(source.location).mkdir()
    assert source.root_identity() not in (None, before)
    assert not source.root_holds_anything()
    put(source, "a.png")
    assert source.root_holds_anything()


def test_what_systems_put_into_a_root_by_themselves_is_nothing(source: LocalImageStorage) -> None:
    root = Path(source.location)
    for name in ("lost+found", "System Volume Information", "$RECYCLE.BIN", ".Trash-1000"):
        (root / name).mkdir(parents=True)
    for name in (".DS_Store", "desktop.ini", "Thumbs.db"):
        (root / name).touch()
    assert not source.root_holds_anything()
    assert source.list_directory("").directories == []
    (root / "notes.txt").touch()
    assert source.root_holds_anything()


def test_the_tolerance_is_none_where_times_are_kept_whole(target: LocalImageStorage) -> None:
    Path(target.location).mkdir()
    assert target.time_tolerance_ns() in range(1000)
    assert names_in(target) == []


# -- reading


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "missing", "socket-like link"])
def test_what_is_no_regular_file_is_never_opened(source: LocalImageStorage, tmp_path: Path, kind: str) -> None:
    path = Path(source.path("x.png"))
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "real.png").write_bytes(b"secret")
        path.symlink_to(tmp_path / "real.png")
    elif kind != "missing":
        path.symlink_to("/dev/zero")
    with pytest.raises(SourceGoneError):
        source.read_image("x.png")
    assert source.get_image_metadata("x.png") is None
    assert not source.image_exists("x.png")


def test_a_session_swapped_for_a_link_is_not_followed(
    source: LocalImageStorage, target: LocalImageStorage, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.png").write_bytes(b"secret")
    (elsewhere / "a.webp").write_bytes(b"precious")
    Path(target.location).mkdir()
    Path(source.path("s")).symlink_to(elsewhere)
    Path(target.path("s")).symlink_to(elsewhere)
    with pytest.raises(SourceGoneError):
        source.read_image("s/a.png")
    assert source.get_image_metadata("s/a.png") is None
    assert not target.delete_image("s/a.webp")
    assert not target.rename_image("s/a.webp", "b.webp")
    assert not target.rename_directory("s", "t")
    with pytest.raises(MachineError):
        target.write_image_bytes("s/a.webp", b"overwritten")
    with pytest.raises(ThumbnailError):
        target.set_time("s/a.webp", 1)
    assert (elsewhere / "a.webp").read_bytes() == b"precious"


def test_the_first_bytes_are_read_where_no_more_are_wanted(source: LocalImageStorage) -> None:
    path = put(source, "a.png", b"0123456789")
    image = source.read_image("a.png", limit_bytes=4)
    assert (image.data, image.stamp) == (b"0123", Stamp(path.stat().st_mtime_ns, 10))
    assert source.read_image("a.png", limit_bytes=40).data == b"0123456789"
    put(source, "empty.png", b"")
    assert source.read_image("empty.png").data == b""


def test_no_open_file_is_left_behind(source: LocalImageStorage) -> None:
    handles = Path("/proc/self/fd")
    if not handles.exists():
        pytest.skip("needs /proc")
    put(source, "s/a.png")
    os.mkfifo(source.path("s/x.png"))
    before = len(list(handles.iterdir()))
    for key in ("s/a.png", "s/x.png", "s/none.png", "none/a.png", "s/a.png/below.png"):
        for call in (source.read_image, source.get_image_metadata, source.list_directory):
            try:
                call(key)
            except ThumbnailError:
                pass
        try:
            source.write_image_bytes(key, b"x")
        except ThumbnailError:
            pass
    assert len(list(handles.iterdir())) == before


# -- deleting and renaming


def test_deleting_says_whether_there_was_something(target: LocalImageStorage) -> None:
    put(target, "s/a.webp")
    assert target.delete_image("s/a.webp")
    assert not target.delete_image("s/a.webp")
    assert not target.delete_image("none/a.webp")


@pytest.mark.parametrize("key", ["s/notes.txt", "s/a.png", "s", ""])
def test_nothing_but_thumbnails_is_deleted(target: LocalImageStorage, key: str) -> None:
    put(target, "s/notes.txt")
    put(target, "s/a.png")
    with pytest.raises(ValueError):
        target.delete_image(key)
    with pytest.raises(ValueError):
        target.delete_temporary(key)
    assert names_in(target) == ["s/a.png", "s/notes.txt"]


def test_a_folder_that_is_named_like_a_thumbnail_is_not_deleted(target: LocalImageStorage) -> None:
    Path(target.path("a.webp")).mkdir(parents=True)
    assert not target.delete_image("a.webp")
    assert Path(target.path("a.webp")).is_dir()


@pytest.fixture
def sleeper() -> Iterator[int]:
    """The PID of another living process."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def test_temporaries_of_living_processes_are_kept(target: LocalImageStorage, sleeper: int) -> None:
    for pid in (os.getpid(), sleeper):
        temporary = f"s/.{pid}-{'0' * 16}.sdgen-tmp"
        put(target, temporary)
        assert target.list_directory("s").temporaries == [temporary]
        assert not target.delete_temporary(temporary)
        assert Path(target.path(temporary)).exists()
        Path(target.path(temporary)).unlink()


def test_temporaries_of_dead_processes_go(target: LocalImageStorage) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for pid in (process.pid, 999_999_999, 10**30):
        temporary = f"s/.{pid}-{'0' * 16}.sdgen-tmp"
        put(target, temporary)
        assert target.delete_temporary(temporary)
        assert not Path(target.path(temporary)).exists()


def test_an_empty_folder_goes_and_a_full_one_and_the_root_stay(target: LocalImageStorage) -> None:
    put(target, "full/a.txt")
    Path(target.path("empty")).mkdir()
    assert target.remove_empty_directory("empty")
    assert not target.remove_empty_directory("empty")
    assert not target.remove_empty_directory("full")
    (Path(target.path("full")) / "a.txt").unlink()
    assert target.remove_empty_directory("full")
    assert not target.remove_empty_directory("")
    assert Path(target.location).is_dir()


def test_renaming_replaces_what_is_there(target: LocalImageStorage) -> None:
    put(target, "a.webp", b"a")
    put(target, "s/b.webp", b"b")
    assert target.rename_image("a.webp", "s/b.webp")
    assert target.read_image("s/b.webp").data == b"a"
    assert not target.rename_image("a.webp", "new/c.webp")
    assert names_in(target) == ["s/b.webp"]
    assert not Path(target.path("new")).exists()


def test_a_folder_is_renamed_unless_the_new_name_is_taken(target: LocalImageStorage) -> None:
    put(target, "old/deep/a.webp")
    put(target, "taken/b.webp")
    assert not target.rename_directory("old", "taken")
    assert not target.rename_directory("none", "new")
    assert target.rename_directory("old", "new/name")
    assert names_in(target) == ["new/name/deep/a.webp", "taken/b.webp"]


def test_a_time_is_set_on_what_is_there(target: LocalImageStorage) -> None:
    path = put(target, "a.webp")
    target.set_time("a.webp", 1_700_000_000_000_000_000)
    assert path.stat().st_mtime_ns == 1_700_000_000_000_000_000
    with pytest.raises(MachineError):
        target.set_time("none.webp", 1)
