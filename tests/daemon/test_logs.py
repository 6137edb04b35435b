"""The log: whole lines, whatever names are in them, and a file that comes back."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.daemon import logs
from sdgen_thumbnail_plugin.daemon.logs import LOGGER_NAME, WatcherLog, last_lines, log_beside_the_watcher, log_to

log = logging.getLogger(f"{LOGGER_NAME}.test")


def test_no_name_forges_a_line(tmp_path: Path) -> None:
    log_to(WatcherLog(tmp_path / "log", 10_000, 1))
    log.info("✓ Created thumbnail: %s", "a\nERROR b\x1b[31m.png")
    lines = (tmp_path / "log").read_text("utf-8").splitlines()
    assert len(lines) == 1
    assert "\x1b" not in lines[0]


def test_it_is_rotated_by_its_size(tmp_path: Path) -> None:
    log_to(WatcherLog(tmp_path / "log", 10_000, 2))
    for _ in range(400):
        log.info("x" * 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size <= 10_000 for path in tmp_path.iterdir())


def test_it_comes_back_after_it_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LOOK_EVERY_S", -1.0)
    log_to(WatcherLog(tmp_path / "log", 10_000, 1))
    log.info("before")
    (tmp_path / "log").unlink()
    log.info("after")
    assert "after" in (tmp_path / "log").read_text("utf-8")


def test_one_that_cannot_be_written_is_reported_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("not yet a folder")
    log_to(WatcherLog(folder / "log", 10_000, 1))
    log.info("lost")
    assert logs.log_trouble() == "not a directory"
    folder.unlink()
    folder.mkdir()
    log.info("kept")
    assert logs.log_trouble() is None


def test_another_process_appends_once_and_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        log_beside_the_watcher(tmp_path / "new" / "log")
    log.error("✗ something")
    assert (tmp_path / "new" / "log").read_text("utf-8").count("✗ something") == 1
    assert capsys.readouterr() == ("", "")


def test_the_last_lines_are_safe_to_print(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\nthr\x1bee \xff\n")
    assert last_lines(tmp_path / "log", 0) == []
    assert [line[:3] for line in last_lines(tmp_path / "log", 2)] == ["two", "thr"]
    assert all(line.isprintable() for line in last_lines(tmp_path / "log", 3))
    assert last_lines(tmp_path / "none", 3) == []
