"""Real watchers on real folders: in a thread of this process, or in a process of their own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import psutil

from sdgen_thumbnail_plugin.daemon.watcher import Watcher
from sdgen_thumbnail_plugin.settings import Settings
from support.commands import output_of
from support.project import Project
from support.waiting import wait_for

__all__ = ["pid_of", "watcher_process", "watching"]


@contextlib.contextmanager
def watching(project: Project, **settings: Any) -> Iterator[Watcher]:
    """Runs a watcher in a thread until the context ends; the context begins when it has caught up."""
    chosen = {"polling_interval_s": 0.2, "tick_interval_s": 0.3, "workers": 2} | settings
    watcher = Watcher(Settings(source_dir=project.results, target_dir=project.thumbnails, **chosen), project.home)
    ready = threading.Event()
    thread = threading.Thread(target=watcher.run, args=(ready.set,), name="watcher")
    thread.start()
    try:
        wait_for(ready.is_set)
        wait_for(lambda: project.state().get("phase") == "watching")
        yield watcher
    finally:
        watcher.stop()
        thread.join(10)
        assert not thread.is_alive()


@contextlib.contextmanager
def watcher_process(project: Project, *arguments: str, prefix: Sequence[str] = ()) -> Iterator[psutil.Process]:
    """Runs a watcher in a process until the context ends; the context begins when it watches and starts to catch up.

    Args:
        project: what it watches.
        arguments: more of them for ``start``.
        prefix: a program that runs ``start``, such as ``unshare``.
    """
    output_of(project, "start", *arguments, prefix=prefix)
    try:
        yield psutil.Process(pid_of(project))
    finally:
        output_of(project, "stop")


def pid_of(project: Project) -> int:
    """What the project's PID file says."""
    return int(project.home.pid_file.read_text("ascii"))
