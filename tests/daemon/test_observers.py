"""Which observer for which folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from sdgen_thumbnail_plugin.daemon import observers
from sdgen_thumbnail_plugin.daemon.observers import Choice, choose_observer, get_observer_class, mount_of, polls


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
