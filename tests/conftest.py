"""Rules for every test: its own home, its own working directory, and nothing left behind."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

from sdgen_thumbnail_plugin.daemon.logs import LOGGER_NAME
from support.mounts import mounted
from support.waiting import wait_for

# The time of an example depends on the machine and its load, not on the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

_OURS = (".sdgen", "results", "thumbnails")
"""What the package creates by default."""

_PLACES = {Path.home(), Path.cwd(), Path(__file__).parent.parent}


def _left_outside() -> set[Path]:
    return {place / name for place in _PLACES for name in _OURS if (place / name).exists()}


def _threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def _children() -> set[psutil.Process]:
    if hasattr(os, "waitid"):  # asking the system first spares most tests a walk over all its processes
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return set()
    return {child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


@pytest.fixture(autouse=True)
def _own_world(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Gives the test its own home and working directory; fails it if a thread, a process or a file is left behind."""
    for name in os.environ:
        if name.startswith("SDGEN_"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SDGEN_THUMBNAILS_HOME", str(home / ".sdgen"))
    monkeypatch.chdir(tmp_path)
    threads, children, outside = _threads(), _children(), _left_outside()
    yield
    wait_for(lambda: _threads() <= threads, 5, lambda: f"left running: {_threads() - threads}")
    wait_for(lambda: _children() <= children, 5, lambda: f"left running: {_children() - children}")
    assert _left_outside() <= outside, f"left behind: {_left_outside() - outside}"


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Restores our logger after each test."""
    logger = logging.getLogger(LOGGER_NAME)
    handlers, propagate, level = list(logger.handlers), logger.propagate, logger.level
    yield
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds 256 KiB."""
    with mounted(tmp_path / "small_disk", "size=256k") as disk:
        yield disk


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot be written."""
    with mounted(tmp_path / "read_only_disk", "ro") as disk:
        yield disk
