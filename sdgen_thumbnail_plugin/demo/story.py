"""The demonstration: the main job, live, with drawn images, in a project folder and a home of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding

from sdgen_thumbnail_plugin.daemon.state import watcher_report
from sdgen_thumbnail_plugin.demo.latency import Made, ThumbnailTimer, arrivals_in
from sdgen_thumbnail_plugin.demo.report import contact_sheet, line_of, summary_of, table_of
from sdgen_thumbnail_plugin.demo.sessions import write_session
from sdgen_thumbnail_plugin.demo.workspace import Workspace, machine_errors
from sdgen_thumbnail_plugin.errors import ProcessError
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.text import as_typed

Render = Callable[[Mapping[str, Any]], RenderableType]
"""Shows the report that ``watcher_report`` returns."""

_READY_SESSIONS = ("20251110_151059-harbour-at-dusk", "20251111_093012-misty-hills", "20251112_201530-paper-cut")
_LIVE_SESSION = "20251113_120000-aurora"
_COUNT = 8
_LIVE_PAUSE_S = 0.5
_SCREEN_EVERY_S = 0.2
_PATIENCE_S = 20.0
"""The longest wait for the next thumbnail: on a busy machine the watcher waits for the others."""


def run_demo(folder: Path, *, console: Console, render: Render) -> None:
    """Makes a project, watches it, generates into it, shows what happened, and stops.

    Args:
        folder: made, or made again if it is a former demonstration; a relative one is in the working directory.
        console: where it is shown; live if it is a terminal, in plain lines if not.
        render: shows what the watcher is doing.

    Raises:
        SettingsError: the folder holds something else.
        MachineError: it cannot be made or written.
        ProcessError: the watcher did not start or stop, or left a thumbnail out.
    """
    began_s = time.monotonic()
    workspace = Workspace(folder.absolute())
    with machine_errors(workspace.folder):
        workspace.prepare()
        _step(console, 1, f"Drawing {_COUNT * len(_READY_SESSIONS)} images in {len(_READY_SESSIONS)} sessions")
        for name in _READY_SESSIONS:
            write_session(workspace.results / name, _COUNT)
    with _ended_by_signals():
        try:
            _step(console, 2, "Starting the watcher in the background", "sdgen-thumbnails start")
            _show(console, workspace.run("start"))
            _step(console, 3, f"Another process writes {_COUNT} images into a new session, the watcher sees them come")
            made = _generate_live(workspace, console, render)
            _step(console, 4, "The thumbnails, and how long after its last byte each image had its own")
            console.print(table_of(made))
            _show(console, summary_of(made))
            with machine_errors(workspace.folder):
                contact_sheet(workspace.thumbnails).save(workspace.sheet)
        except BaseException:
            # The first error is the one to report; a watcher that never ran cannot be stopped.
            with contextlib.suppress(ProcessError):
                workspace.run("stop")
            raise
        _step(console, 5, "Stopping it", "sdgen-thumbnails stop")
        _show(console, workspace.run("stop"))
    _check(workspace)
    _say_where(workspace, console, time.monotonic() - began_s)


def _step(console: Console, number: int, text: str, command: str = "") -> None:
    typed = f"   [dim]$ {as_typed(command)}[/]" if command else ""
    console.print(f"[bold cyan]{number}.[/] [bold]{text}[/]{typed}", highlight=False, soft_wrap=True)


def _show(console: Console, output: str) -> None:
    for line in as_typed(output).splitlines():
        console.print(f"   {line}", markup=False, highlight=False, soft_wrap=True, style="dim")


def _say_where(workspace: Workspace, console: Console, took_s: float) -> None:
    shown = Path(os.path.relpath(workspace.folder))
    shown = workspace.folder if ".." in shown.parts else shown

    def within(path: Path) -> str:
        return escape(str(shown / path.relative_to(workspace.folder)))

    console.print(
        f"[green]✓[/] All {len(workspace.pairs())} images have their thumbnail, after {took_s:.0f} s in all\n"
        f"  See them all   [bold]{within(workspace.sheet)}[/]\n"
        f"  One by one     {within(workspace.thumbnails)}\n"
        f"  The log        {within(workspace.home.log_file)}\n"
        "  Next, in the folder that holds your sdgen_config.json:  "
        f"[bold]{as_typed('sdgen-thumbnails start')}[/]",
        highlight=False,
        soft_wrap=True,
    )


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A closed terminal or a kill unwinds us as Ctrl+C does, so that no watcher is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers of signals
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    former = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _generate_live(workspace: Workspace, console: Console, render: Render) -> list[Made]:
    """Runs the other process until every image has its thumbnail; shows each one as it is ready."""
    timer = ThumbnailTimer(workspace.thumbnails / _LIVE_SESSION)
    timer.start()
    session, record = workspace.results / _LIVE_SESSION, workspace.record
    arguments = (str(session), str(_COUNT), str(record), str(_LIVE_PAUSE_S))
    writing = workspace.spawn("sdgen_thumbnail_plugin.demo.sessions", *arguments, output=subprocess.DEVNULL)
    shown: dict[tuple[str, int], Made] = {}
    deadline_s, screen_at_s, done = time.monotonic() + _PATIENCE_S, 0.0, 0
    try:
        with Live(console=console, auto_refresh=False, transient=True) as screen:
            while time.monotonic() < deadline_s:
                ended = writing.poll() is not None
                for made in timer.made_of(arrivals_in(record)):
                    key = (made.image.name, made.image.mtime_ns)
                    if key not in shown:
                        shown[key] = made
                        _show(console, line_of(made))
                if writing.returncode:
                    raise ProcessError(f"the process that writes images failed with exit code {writing.returncode}")
                if console.is_terminal and time.monotonic() > screen_at_s:
                    screen.update(_status(workspace, render), refresh=True)
                    screen_at_s = time.monotonic() + _SCREEN_EVERY_S
                if ended and _is_complete(workspace):
                    break
                before, done = done, sum(thumbnail.exists() for _, thumbnail in workspace.pairs())
                if done > before:
                    deadline_s = time.monotonic() + _PATIENCE_S
                time.sleep(0.05)
        console.print(_status(workspace, render))
    finally:
        if writing.poll() is None:
            writing.terminate()
        writing.wait()
        timer.end()
    return sorted(shown.values(), key=lambda made: made.image.finished_at_s)


def _report(workspace: Workspace) -> dict[str, Any]:
    """What ``status --json`` prints, without a process each time: that would distort what is being measured."""
    # Not validated, because the user's own environment is not meant for this project.
    settings = Settings.model_construct(source_dir=workspace.results, target_dir=workspace.thumbnails)
    return watcher_report(workspace.home, settings)


def _status(workspace: Workspace, render: Render) -> RenderableType:
    return Padding(render(_report(workspace)), (0, 0, 0, 3))


def _is_complete(workspace: Workspace) -> bool:
    """Whether every image has its thumbnail, and the watcher says so too."""
    missing = workspace.images_without_thumbnail()
    return not missing and _report(workspace).get("thumbnails") == len(workspace.pairs())


def _check(workspace: Workspace) -> None:
    """Raises ``ProcessError`` if an image has no thumbnail, or not the right one."""
    wrong, count = workspace.images_without_thumbnail(), len(workspace.pairs())
    expected = _COUNT * (len(_READY_SESSIONS) + 1)
    if wrong or count != expected:
        message = f"{len(wrong)} of {count} images have no fresh thumbnail, and there should be {expected} images"
        remedy = f"read the log in {workspace.home.log_file.parent}, and please report it"
        raise ProcessError(message, path=str(wrong[0] if wrong else workspace.folder), remedy=remedy)
