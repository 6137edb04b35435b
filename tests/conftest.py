"""What holds for every test: a home of its own, a working directory of its own, and nothing left behind."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

from sdgen_thumbnail_plugin.daemon.logs import LOGGER_NAME

# How long one example takes says something about the machine and what else runs on it, nothing about the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

_OURS = (".sdgen", "results", "thumbnails")
"""What the package makes where it is told nothing else."""

_PLACES = {Path.home(), Path.cwd(), Path(__file__).parent.parent}


def _left_outside() -> set[Path]:
    return {place / name for place in _PLACES for name in _OURS if (place / name).exists()}


def _children() -> set[psutil.Process]:
    if hasattr(os, "waitid"):  # asking the system first spares most tests a walk over all its processes
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return set()
    return {child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


def _soon(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(autouse=True)
def _own_world(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A home and a working directory of its own; a thread, a process or a file left behind fails the test."""
    for name in os.environ:
        if name.startswith("SDGEN_"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SDGEN_THUMBNAILS_HOME", str(home / ".sdgen"))
    monkeypatch.chdir(tmp_path)
    threads, children, outside = set(threading.enumerate()), _children(), _left_outside()
    yield
    assert _soon(lambda: set(threading.enumerate()) <= threads), f"left running: {set(threading.enumerate()) - threads}"
    assert _soon(lambda: _children() <= children), f"left running: {_children() - children}"
    assert _left_outside() <= outside, f"left behind: {_left_outside() - outside}"


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Where our log goes is a matter of one test."""
    logger = logging.getLogger(LOGGER_NAME)
    handlers, propagate, level = list(logger.handlers), logger.propagate, logger.level
    yield
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


def _mounted(folder: Path, options: str) -> Iterator[Path]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting takes Linux and root")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds 256 KiB."""
    yield from _mounted(tmp_path / "small_disk", "size=256k")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot be written."""
    yield from _mounted(tmp_path / "read_only_disk", "ro")
