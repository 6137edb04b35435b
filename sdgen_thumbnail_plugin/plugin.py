"""Our implementations of sdgen's hooks: the plugin that the entry point ``thumbnails`` names."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdgen_thumbnail_plugin.errors import NotRunningError, ThumbnailError
from sdgen_thumbnail_plugin.host.hookspecs import Project, hookimpl

if TYPE_CHECKING:
    import typer

    from sdgen_thumbnail_plugin.generation import Generation


_WEBUI_START_S = 1.8
"""How long ``sdgen webui start`` waits for us; a watcher that takes longer goes on starting in the background."""

_QUIET_S = 0.3
"""A shorter wait shows no progress."""

_TYPED = "sdgen thumbnails"
"""How a person calls us who typed ``sdgen``."""

_generation: Generation | None = None


@hookimpl
def sdgen_register_commands(app: typer.Typer) -> None:
    from sdgen_thumbnail_plugin.cli.app import app as thumbnails

    app.add_typer(thumbnails, name="thumbnails")


@hookimpl
def sdgen_webui_start(project: Project) -> None:
    from sdgen_thumbnail_plugin.daemon.process import start_watcher
    from sdgen_thumbnail_plugin.paths import find_home
    from sdgen_thumbnail_plugin.settings import check_roots, load_settings

    try:
        home = find_home()
        settings = load_settings(project.root, usual_folders=(project.output_dir, project.target_dir))
        check_roots(settings, must_exist=False)
        started = start_watcher(settings, home, folder=project.root, hurried_s=_WEBUI_START_S)
    except ThumbnailError as error:
        _say_error(error)
        return
    watcher = started.watcher
    if started.already:
        _say(f"✓ Thumbnail watcher is running already (PID {watcher.pid})", "green")
        return
    what = "started" if started.watching else "is starting"
    instead = f", instead of the one for {started.replaced}" if started.replaced else ""
    _say(
        f"✓ Thumbnail watcher {what}{instead}",
        "green",
        f"{settings.source_dir} → {settings.target_dir} | PID: {watcher.pid} | Log: {home.log_file}",
    )


@hookimpl
def sdgen_webui_stop(project: Project) -> None:  # noqa: ARG001 - one watcher per user, whatever the project
    from sdgen_thumbnail_plugin.daemon.process import stop_watcher
    from sdgen_thumbnail_plugin.paths import find_home

    try:
        stop_watcher(find_home())
    except NotRunningError:
        pass
    except ThumbnailError as error:
        _say_error(error)


@hookimpl
def sdgen_image_saved(project: Project, image: Path) -> None:
    global _generation
    if _generation is None or _generation.is_over_for(image):
        from sdgen_thumbnail_plugin.generation import Generation

        _generation = Generation(project)
    _generation.saved(image)


@hookimpl
def sdgen_generate_finished(images: Sequence[Path]) -> None:
    if _generation is None or not images:
        return
    with _Progress(len(images)) as progress:
        tally = _generation.finish(images, on_wait=progress.show)
    parts = [f"{tally.ready} thumbnail{'' if tally.ready == 1 else 's'} ready"]
    if tally.failed:
        parts.append(f"{tally.failed} failed (sdgen-thumbnails failures)")
    if tally.left and tally.fault is None:
        parts.append(f"{tally.left} left to the watcher, or: sdgen-thumbnails catchup")
    elif tally.left:
        parts.append(f"{tally.left} not made")
    _say("🖼 " + ", ".join(parts), "yellow" if tally.failed or tally.left else "green")
    if tally.fault is not None:
        _say_error(tally.fault)


class _Progress:
    """One line on a terminal that counts up while sdgen waits for thumbnails."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown_from_s = time.monotonic() + _QUIET_S
        self._is_shown = False
        self._enabled = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def show(self, done: int) -> None:
        if self._enabled and time.monotonic() > self._shown_from_s:
            sys.stdout.write(f"\r🖼 making thumbnails: {done}/{self._total}")
            sys.stdout.flush()
            self._is_shown = True

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            sys.stdout.write("\r\x1b[K")


def _say(text: str, style: str, details: str = "") -> None:
    """Prints one line in the host's style: the text in colour, details dimmed."""
    from rich.console import Console
    from rich.text import Text

    from sdgen_thumbnail_plugin.text import as_typed, printable

    line = Text.assemble(
        (printable(as_typed(text, _TYPED)), style), (f"  {printable(details)}" if details else "", "dim")
    )
    Console().print(line, soft_wrap=True)


def _say_error(error: ThumbnailError) -> None:
    remedy = f" (fix: {error.remedy})" if error.remedy else ""
    _say(f"✗ Thumbnails: {' | '.join(str(error).splitlines())}{remedy}", "red")
