"""The layout of the home."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.paths import HOME_VARIABLE, Home, find_home


def test_the_home_is_the_hosts_unless_another_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(HOME_VARIABLE)
    assert find_home().root == Path.home() / ".sdgen"
    monkeypatch.setenv(HOME_VARIABLE, "")
    assert find_home().root == Path.home() / ".sdgen"
    monkeypatch.setenv(HOME_VARIABLE, "relative")
    assert find_home().root == tmp_path / "relative"


def test_the_files_that_the_host_knows_have_the_hosts_names() -> None:
    home = Home(Path("/home"))
    assert str(home.pid_file) == "/home/pids/thumbnail_watchdog.pid"
    assert str(home.log_file) == "/home/logs/thumbnail_watchdog.log"
    assert {home.lock_file.parent, home.state_file.parent} == {home.state_dir}


def test_the_pid_file_is_read_as_the_host_reads_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.read_pid() is None
    home.prepare()
    for content, pid in ((b"4711", 4711), (b" 4711\n", 4711), (b"", None), (b"none", None), (b"\xff", None)):
        home.pid_file.write_bytes(content)
        assert home.read_pid() == pid


def test_looking_for_the_home_makes_nothing() -> None:
    home = find_home()
    home.catalog_file("/a", "/b")
    assert not home.root.exists()


def test_every_pair_of_roots_has_a_catalog_of_its_own() -> None:
    home = Home(Path("/home"))
    pairs = [
        ("/a", "/b"),
        ("/b", "/a"),
        ("/a/b", ""),
        ("", "/a/b"),
        ("s3://bucket/x", "/b"),
        ("/undecodable\udcff", "/b"),
    ]
    files = {home.catalog_file(*pair) for pair in pairs}
    assert len(files) == len(pairs)
    assert files == {home.catalog_file(*pair) for pair in pairs}
    assert all(file.name.isascii() and file.parent == home.state_dir for file in files)
