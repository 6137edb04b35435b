"""Which observer for which folder; the native one."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from pathlib import Path

import pytest
from watchdog import events
from watchdog.events import FileSystemEvent
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from sdgen_thumbnail_plugin.daemon import observers
from sdgen_thumbnail_plugin.daemon.hints import Hint, HintKind
from sdgen_thumbnail_plugin.daemon.observers import (
    Choice,
    NativeObserver,
    choose_observer,
    get_observer_class,
    mount_of,
    polls,
)
from support.waiting import wait_for


@pytest.mark.parametrize(
    "fstype", ["9p", "drvfs", "nfs", "nfs4", "cifs", "smbfs", "fuse.sshfs", "fuse", "vboxsf", "virtiofs"]
)
def test_mounts_that_others_change_are_polled(fstype: str) -> None:
    assert polls(fstype)


@pytest.mark.parametrize("fstype", ["ext4", "btrfs", "xfs", "tmpfs", "apfs", "fuseblk", "overlay", "zfs", "?"])
def test_local_mounts_are_watched_natively(fstype: str) -> None:
    assert not polls(fstype)


def test_a_mount_is_found_for_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert mount_of(tmp_path / "not" / "there") == mount_of(tmp_path)


def test_what_is_chosen_goes_before_what_the_mount_says(tmp_path: Path) -> None:
    assert choose_observer(tmp_path, "polling").kind == "polling"
    assert choose_observer(tmp_path, "native").kind == "native"


def test_a_local_folder_gets_the_native_class(tmp_path: Path) -> None:
    chosen: object = get_observer_class(tmp_path)
    assert chosen is Observer


def test_a_folder_without_notifications_gets_the_polling_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "choose_observer", lambda _: Choice("polling", "9p"))
    assert get_observer_class(tmp_path) is PollingObserver
    assert issubclass(PollingObserver, BaseObserver)


# -- the native observer: that it reports, and what it finds out about itself


class Listening(NativeObserver):
    """Remembers the events and the hints."""

    def __init__(self, root: Path) -> None:
        self.hints: list[Hint] = []
        self.heard: list[FileSystemEvent] = []
        super().__init__(root, self.hints.append)

    def dispatch(self, event: FileSystemEvent) -> None:
        self.heard.append(event)
        super().dispatch(event)


def test_the_native_observer_proves_itself_without_a_trace(tmp_path: Path) -> None:
    observer = Listening(tmp_path)
    before = tmp_path.stat().st_mtime_ns
    observer.start()
    try:
        assert observer.proves_itself()
        assert observer.alive
    finally:
        observer.stop()
    assert tmp_path.stat().st_mtime_ns == before
    assert not list(tmp_path.iterdir())
    assert not observer.alive


def test_an_image_leads_to_hints_and_every_event_is_counted(tmp_path: Path) -> None:
    observer = Listening(tmp_path)
    observer.start()
    try:
        (tmp_path / "a.txt").write_bytes(b"no image")
        (tmp_path / "a.png").write_bytes(b"image")
        wait_for(lambda: Hint("a.png", HintKind.WRITTEN) in observer.hints)
    finally:
        observer.stop()
    assert {hint.key for hint in observer.hints} == {"a.png"}
    assert observer.events == len(observer.heard) > len(observer.hints)


def test_directories_without_a_watch_are_found(tmp_path: Path) -> None:
    (tmp_path / "known").mkdir()
    observer = Listening(tmp_path)
    observer.start()
    try:
        wait_for(lambda: not observer.deaf_directories(["", "known"]))
        elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
        elsewhere.mkdir()
        deaf = f"../{elsewhere.name}"
        assert observer.deaf_directories([deaf, "known", "not-there"]) == [deaf]
        elsewhere.rmdir()
    finally:
        observer.stop()


# inotify(7)
IN_ACCESS, IN_CLOSE_WRITE, IN_CLOSE_NOWRITE, IN_OPEN = 0x1, 0x8, 0x10, 0x20

needs_the_filter = pytest.mark.skipif(
    sys.platform != "linux" or "event_filter" not in inspect.signature(BaseObserver.schedule).parameters,
    reason="this watchdog reports everything, or not what is read",
)


@needs_the_filter
def test_reading_files_and_listing_folders_is_not_reported(tmp_path: Path) -> None:
    """What rebuilds its watches lists every folder: were that reported, each overflow would lead to another."""
    read, written = tmp_path / "read", tmp_path / "written"
    for folder in (read, written):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"before")
    observer = Listening(tmp_path)
    observer.start()
    try:
        wait_for(lambda: not observer.deaf_directories(["", "read", "written"]))
        for folder in (tmp_path, read):
            assert list(folder.iterdir())
        assert (read / "a.png").read_bytes() == b"before"
        (written / "a.png").write_bytes(b"after")
        # Events come in order: what reading led to would be here before this one.
        wait_for(lambda: any(event.event_type == "closed" for event in observer.heard))
    finally:
        observer.stop()
    assert {os.fsdecode(event.src_path) for event in observer.heard} <= {str(written), str(written / "a.png")}
    assert {event.event_type for event in observer.heard} == {"modified", "closed"}


@needs_the_filter
def test_the_kernel_is_not_asked_for_what_is_not_reported(tmp_path: Path) -> None:
    """What is only dropped on arrival has filled the kernel's queue before."""
    (tmp_path / "below").mkdir()
    observer = Listening(tmp_path)
    observer.start()
    try:
        wait_for(lambda: not observer.deaf_directories(["", "below"]))
        masks = [asked_of_the_kernel(folder) for folder in (tmp_path, tmp_path / "below")]
    finally:
        observer.stop()
    # Watchdog 4 asks for both ways of closing at once, and has no name for the one without a write.
    closing = IN_CLOSE_NOWRITE if hasattr(events, "FileClosedNoWriteEvent") else 0
    for mask in masks:
        assert mask & IN_CLOSE_WRITE
        assert not mask & (IN_ACCESS | IN_OPEN | closing)


def asked_of_the_kernel(folder: Path) -> int:
    """All kinds of events that this process has asked for in a folder, by the kernel's own table (proc(5), fdinfo)."""
    inode, found = f"ino:{folder.stat().st_ino:x}", 0
    for table in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(OSError):  # closed since
            for fields in map(str.split, table.read_text("ascii").splitlines()):
                if fields[:1] == ["inotify"] and inode in fields:
                    found |= next(int(field[5:], 16) for field in fields if field.startswith("mask:"))
    return found
