"""Which observer for which folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from watchdog.events import FileSystemEvent
from watchdog.observers import Observer

from sdgen_thumbnail_plugin.daemon.observers import (
    NativeObserver,
    choose_observer,
    get_observer_class,
    mount_of,
    polls,
)
from waiting import wait_for


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


def test_the_native_observer_proves_itself_without_a_trace(tmp_path: Path) -> None:
    observer = NativeObserver(tmp_path, lambda _: None)
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


def test_directories_without_a_watch_are_told(tmp_path: Path) -> None:
    heard: list[FileSystemEvent] = []
    (tmp_path / "known").mkdir()
    observer = NativeObserver(tmp_path, heard.append)
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
