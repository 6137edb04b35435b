"""Which process is the watcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.daemon.identity import find_old_watchdog, identity_of, prove_watcher
from sdgen_thumbnail_plugin.daemon.process import holding_the_lock
from sdgen_thumbnail_plugin.daemon.state import find_watcher
from sdgen_thumbnail_plugin.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / ".sdgen")
    home.prepare()
    return home


def test_a_process_is_known_by_its_start() -> None:
    assert identity_of(os.getpid()) == identity_of(os.getpid())
    # A child of now: pytest and its parent may have begun in the same hundredth of a second.
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as later:
        assert identity_of(later.pid) not in (None, identity_of(os.getpid()))
    assert identity_of(later.pid) is None
    assert identity_of(2**22 + 1) is None


def test_a_process_that_holds_the_lock_is_a_watcher_only_if_its_command_line_is(home: Home) -> None:
    with holding_the_lock(home):
        assert find_watcher(home) is None
        assert prove_watcher(home, os.getpid()) is None


@pytest.mark.parametrize("content", ["", "not a number", "-1", "0", "1", "1.5"])
def test_a_pid_file_may_hold_anything(home: Home, content: str) -> None:
    home.pid_file.write_text(content)
    assert home.read_pid() is None
    assert find_watcher(home) is None
    assert find_old_watchdog(home) is None
