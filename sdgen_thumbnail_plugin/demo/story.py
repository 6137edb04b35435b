"""The demonstration: the main job, live, with drawn images, in a project folder and a home of its own."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from sdgen_thumbnail_plugin.demo.report import Arrival, Made, contact_sheet, line_of, summary_of, table_of
from sdgen_thumbnail_plugin.errors import (
    AccessDeniedError,
    DiskFullError,
    MachineError,
    ProcessError,
    SettingsError,
    StorageUnavailableError,
)
from sdgen_thumbnail_plugin.paths import HOME_VARIABLE, Home

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["run_demo"]

_MARKER = ".sdgen-demo"
_HOME, _RECORD, _SHEET = ".sdgen", "arrivals.jsonl", "contact-sheet.png"
_OURS = (_HOME, _RECORD, _SHEET, "results", "thumbnails", "sdgen_config.json")
"""What a demonstration makes beside its marker; making it anew removes these and nothing else."""

_READY_SESSIONS = ("20251110_151059-harbour-at-dusk", "20251111_093012-misty-hills", "20251112_201530-paper-cut")
_LIVE_SESSION = "20251113_120000-aurora"
_COUNT = 8
_LIVE_PAUSE_S = 0.5
_GLANCE_S = 0.005
_PATIENCE_S = 20.0
"""So long may pass without any new thumbnail: on a busy machine the watcher waits for the others."""
_COMMAND_TIMEOUT_S = 60.0
_OTHER_FOLDER = "name another folder: sdgen-thumbnails demo FOLDER"


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A thumbnail as it was first seen with this modification time."""

    at_s: float
    bytes: int


def run_demo(folder: Path, *, console: Console) -> None:
    """Makes a project, watches it, generates into it, shows what happened, and stops.

    Args:
        folder: made, or made anew if it is a former demonstration; a relative one is in the working directory.
        console: where it is told; live if it is a terminal, in plain lines if not.

    Raises:
        SettingsError: the folder holds something else.
        MachineError: it cannot be made or written.
        ProcessError: the watcher did not start or stop, or left a thumbnail out.
    """
    from rich.markup import escape

    began_s = time.monotonic()
    folder = folder.absolute()
    with _telling(folder):
        _prepare(folder)
        _step(console, 1, f"Drawing {_COUNT * len(_READY_SESSIONS)} images in {len(_READY_SESSIONS)} sessions")
        from sdgen_thumbnail_plugin.demo.pictures import write_session

        for name in _READY_SESSIONS:
            write_session(folder / "results" / name, _COUNT)
    with _ended_by_signals():
        try:
            _step(console, 2, "Starting the watcher in the background", "sdgen-thumbnails start")
            _show(console, _command(folder, "start"))
            _step(console, 3, f"Another process writes {_COUNT} images into a new session, the watcher sees them come")
            made = _generate_live(folder, console)
            _step(console, 4, "What was made, and how long after its last byte each image had its thumbnail")
            console.print(table_of(made))
            _show(console, summary_of(made, glance_s=_GLANCE_S))
            with _telling(folder):
                _draw_sheet(folder)
        except BaseException:
            # The first error is the one to tell; a watcher that never ran cannot be stopped.
            with contextlib.suppress(ProcessError):
                _command(folder, "stop")
            raise
        _step(console, 5, "Stopping it", "sdgen-thumbnails stop")
        _show(console, _command(folder, "stop"))
    count = _check(folder)
    shown = Path(os.path.relpath(folder))
    shown = folder if ".." in shown.parts else shown
    console.print(
        f"[green]✓[/] All {count} images have their thumbnail, after {time.monotonic() - began_s:.0f} s in all\n"
        f"  See them all   [bold]{escape(str(shown / _SHEET))}[/]\n"
        f"  One by one     {escape(str(shown / 'thumbnails'))}\n"
        f"  The log        {escape(str(shown / _HOME / 'logs' / 'thumbnail_watchdog.log'))}\n"
        "  Next, in the folder that holds your sdgen_config.json:  [bold]sdgen-thumbnails start[/]",
        highlight=False,
        soft_wrap=True,
    )


def _step(console: Console, number: int, text: str, command: str = "") -> None:
    typed = f"   [dim]$ {command}[/]" if command else ""
    console.print(f"[bold cyan]{number}.[/] [bold]{text}[/]{typed}", highlight=False, soft_wrap=True)


def _show(console: Console, output: str) -> None:
    for line in output.splitlines():
        console.print(f"   {line}", markup=False, highlight=False, soft_wrap=True, style="dim")


@contextlib.contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Turns what the operating system says into one of our errors."""
    try:
        yield
    except OSError as error:
        message, path = (error.strerror or str(error)).lower(), str(error.filename or folder)
        kind: type[MachineError] = StorageUnavailableError
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            kind = AccessDeniedError
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            kind = DiskFullError
        raise kind(message, path=path, remedy=_OTHER_FOLDER) from error


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A closed terminal or a kill unwinds us as Ctrl+C does, so that no watcher is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what signals do
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    former = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _prepare(folder: Path) -> None:
    """An empty project. A former demonstration is stopped and removed, anything else is left as it is."""
    if os.path.lexists(folder):
        if not folder.is_dir():
            raise SettingsError("is there already and is no folder", path=str(folder), remedy=_OTHER_FOLDER)
        if (folder / _MARKER).is_file():
            with contextlib.suppress(ProcessError):
                _command(folder, "stop")
            for name in _OURS:
                path = folder / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        elif any(folder.iterdir()):
            message = "is there already and is no former demonstration"
            raise SettingsError(message, path=str(folder), remedy=_OTHER_FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARKER).touch()
    (folder / "sdgen_config.json").write_text(json.dumps({"output_dir": "./results"}, indent=2), "utf-8")
    (folder / "results").mkdir()


def _environment(folder: Path) -> dict[str, str]:
    """A home and settings of its own: a watcher that already runs for the user is left in peace."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SDGEN_THUMBNAILS_")}
    return {**own, HOME_VARIABLE: str(folder / _HOME), "PYTHONIOENCODING": "utf-8"}


def _spawn(folder: Path, module: str, *arguments: str, output: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl+C is ours: we end them, in order
    )


def _command(folder: Path, name: str) -> str:
    """Runs one of our commands as a person would, and returns what it printed.

    Raises:
        ProcessError: with the last lines of its output.
    """
    process = _spawn(folder, "sdgen_thumbnail_plugin", name, output=subprocess.PIPE)
    try:
        output, complaint = process.communicate(timeout=_COMMAND_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.communicate()
        remedy = f"read the log in {folder / _HOME / 'logs'}"
        raise ProcessError(f"{name} did not end within {_COMMAND_TIMEOUT_S:.0f} s", remedy=remedy) from error
    except BaseException:
        # Interrupted half-way `start` may have made a watcher that `stop` does not find yet: let it end first.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_COMMAND_TIMEOUT_S)
        raise
    if process.returncode:
        lines = (complaint.strip() or output.strip()).splitlines()[-6:]
        remedy = "find out why with: sdgen-thumbnails doctor"
        raise ProcessError(f"{name} failed with exit code {process.returncode}: " + "\n  ".join(lines), remedy=remedy)
    return output


class _Lookout(threading.Thread):
    """Looks at the live session's thumbnails every few milliseconds, and notes when each one is in place."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="demo-lookout", daemon=True)
        self.seen: dict[tuple[str, int], _Sighting] = {}
        self._folder = folder
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(_GLANCE_S):
            with contextlib.suppress(OSError), os.scandir(self._folder) as entries:  # it is made with the first one
                for entry in entries:
                    if entry.name.endswith(".webp"):
                        # The thumbnail carries its image's time, so that a second version is told from the first.
                        stat = entry.stat()
                        self.seen.setdefault((entry.name, stat.st_mtime_ns), _Sighting(time.time(), stat.st_size))

    def end(self) -> None:
        self._ended.set()
        self.join()


def _generate_live(folder: Path, console: Console) -> list[Made]:
    """Runs the other process until every image has its thumbnail; tells each one as it is ready."""
    from rich.live import Live

    module = "sdgen_thumbnail_plugin.demo.pictures"
    session, record = folder / "results" / _LIVE_SESSION, folder / _RECORD
    lookout = _Lookout(folder / "thumbnails" / _LIVE_SESSION)
    lookout.start()
    writing = _spawn(
        folder, module, str(session), str(_COUNT), str(record), str(_LIVE_PAUSE_S), output=subprocess.DEVNULL
    )
    live: contextlib.AbstractContextManager[Live | None] = contextlib.nullcontext()
    if console.is_terminal:
        live = Live(console=console, auto_refresh=False, transient=True)
    told: dict[tuple[str, int], Made] = {}
    deadline_s, shown_s, done = time.monotonic() + _PATIENCE_S, 0.0, 0
    try:
        with live as screen:
            while time.monotonic() < deadline_s:
                ended = writing.poll() is not None
                for made in _matched(_arrivals(record), lookout):
                    key = (made.image.name, made.image.mtime_ns)
                    if key not in told:
                        told[key] = made
                        _show(console, line_of(made))
                if writing.returncode:
                    raise ProcessError(f"the process that writes images failed with exit code {writing.returncode}")
                if screen is not None and time.monotonic() - shown_s > 0.2:
                    screen.update(_status(folder), refresh=True)
                    shown_s = time.monotonic()
                if ended and _is_complete(folder):
                    break
                before, done = done, sum(thumbnail.exists() for _, thumbnail in _pairs(folder))
                if done > before:
                    deadline_s = time.monotonic() + _PATIENCE_S
                time.sleep(0.05)
        console.print(_status(folder))
    finally:
        if writing.poll() is None:
            writing.terminate()
        writing.wait()
        lookout.end()
    return sorted(told.values(), key=lambda made: made.image.finished_at_s)


def _arrivals(record: Path) -> list[Arrival]:
    """The record so far, without a last line that is still being written."""
    try:
        text = record.read_text("utf-8")
    except FileNotFoundError:
        return []
    return [Arrival(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _matched(arrivals: Sequence[Arrival], lookout: _Lookout) -> Iterator[Made]:
    """Each version of an image with the thumbnail that shows it. One overwritten at once may never have had one."""
    for image in arrivals:
        sighting = lookout.seen.get((str(Path(image.name).with_suffix(".webp")), image.mtime_ns))
        if sighting is not None:
            yield Made(image, sighting.bytes, max(0.0, sighting.at_s - image.finished_at_s))


def _report(folder: Path) -> dict[str, Any]:
    """What ``status --json`` prints, without a process each time: that would take from what is being measured."""
    from sdgen_thumbnail_plugin.cli.status import gather
    from sdgen_thumbnail_plugin.settings import Settings

    # Not validated, because the user's own environment is not meant for this project.
    settings = Settings.model_construct(source_dir=folder / "results", target_dir=folder / "thumbnails")
    return gather(Home(folder / _HOME), settings)


def _status(folder: Path) -> RenderableType:
    from rich.padding import Padding

    from sdgen_thumbnail_plugin.cli.status import render

    return Padding(render(_report(folder)), (0, 0, 0, 3))


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Every image and where its thumbnail belongs."""
    results, thumbnails = folder / "results", folder / "thumbnails"
    images = sorted(results.rglob("*.png"))
    return [(image, (thumbnails / image.relative_to(results)).with_suffix(".webp")) for image in images]


def _is_fresh(image: Path, thumbnail: Path) -> bool:
    try:
        seen = thumbnail.stat()
    except FileNotFoundError:
        return False
    return seen.st_size > 0 and seen.st_mtime_ns == image.stat().st_mtime_ns


def _is_complete(folder: Path) -> bool:
    """Whether every image has its thumbnail, and the watcher says so too."""
    pairs = _pairs(folder)
    return all(_is_fresh(*pair) for pair in pairs) and _report(folder).get("thumbnails") == len(pairs)


def _check(folder: Path) -> int:
    """The number of images, each of which has its thumbnail.

    Raises:
        ProcessError: one has not, or not the right one.
    """
    pairs = _pairs(folder)
    wrong = [str(image) for image, thumbnail in pairs if not _is_fresh(image, thumbnail)]
    expected = _COUNT * (len(_READY_SESSIONS) + 1)
    if wrong or len(pairs) != expected:
        message = f"{len(wrong)} of {len(pairs)} images have no fresh thumbnail, and there should be {expected} images"
        remedy = f"read the log in {folder / _HOME / 'logs'}, and please report it"
        raise ProcessError(message, path=wrong[0] if wrong else str(folder), remedy=remedy)
    return len(pairs)


def _draw_sheet(folder: Path) -> None:
    target = folder / "thumbnails"
    sessions = sorted(path for path in target.iterdir() if path.is_dir())
    contact_sheet({path.name: sorted(path.glob("*.webp")) for path in sessions}).save(folder / _SHEET)
