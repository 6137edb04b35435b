"""The demonstration: the main job, with drawn images, in a project folder and a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen_thumbnail_plugin.errors import ProcessError, SettingsError, StorageUnavailableError
from sdgen_thumbnail_plugin.home import HOME_VARIABLE

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run_demo"]

_MARKER = ".sdgen-demo"
_READY_SESSIONS = {"20251110_151059-harbour-at-dusk": 8, "20251111_093012-misty-hills": 8, "20251112_201530-dunes": 6}
_LIVE_SESSION = "20251113_120000-northern-lights"
_LIVE_COUNT = 8
_LIVE_PAUSE_S = 0.3
_DEADLINE_S = 25.0


def run_demo(folder: Path, *, console: Console) -> None:
    """Makes a project, watches it, generates into it, shows what happened, and stops.

    Args:
        folder: made, or made anew if it is a former demonstration.
        console: where it is told.

    Raises:
        SettingsError: the folder holds something else.
        StorageUnavailableError: it cannot be made.
        ProcessError: the watcher did not start, or left a thumbnail out.
    """
    folder = folder.absolute()
    _prepare(folder)
    console.print(f"[bold]1.[/] Drawing {sum(_READY_SESSIONS.values())} images in {len(_READY_SESSIONS)} sessions")
    from sdgen_thumbnail_plugin.cli.demo_pictures import write_session

    for name, count in _READY_SESSIONS.items():
        write_session(folder / "results" / name, count, status="completed")
    console.print("[bold]2.[/] Starting the watcher:  sdgen-thumbnails start")
    _command(folder, "start")
    try:
        console.print(f"[bold]3.[/] {_LIVE_COUNT} more images arrive from another process")
        appeared = _generate_live(folder, console)
        console.print("[bold]4.[/] What was made live")
        console.print(_table(folder, appeared))
        sheet = _contact_sheet(folder)
    finally:
        console.print("[bold]5.[/] Stopping it:  sdgen-thumbnails stop")
        _command(folder, "stop")
    _check(folder)
    console.print(f"[green]✓[/] Every image has its thumbnail. Look at them all: [bold]{sheet}[/]")
    console.print("  In your own project: sdgen-thumbnails start")


def _prepare(folder: Path) -> None:
    try:
        if folder.exists():
            if not (folder / _MARKER).exists() and (not folder.is_dir() or any(folder.iterdir())):
                remedy = "name another folder: sdgen-thumbnails demo FOLDER"
                raise SettingsError("is there already and is no former demonstration", path=str(folder), remedy=remedy)
            with contextlib.suppress(ProcessError):
                _command(folder, "stop")
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        (folder / _MARKER).touch()
        (folder / "sdgen_config.json").write_text(json.dumps({"output_dir": "./results"}), "utf-8")
    except OSError as error:
        remedy = "name another folder: sdgen-thumbnails demo FOLDER"
        raise StorageUnavailableError(str(error.strerror).lower(), path=str(folder), remedy=remedy) from error


def _environment(folder: Path) -> dict[str, str]:
    """A home of its own: a watcher that already runs for the user is left in peace."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SDGEN_THUMBNAILS_")}
    return {**own, HOME_VARIABLE: str(folder / ".sdgen")}


def _command(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sdgen_thumbnail_plugin", *arguments],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ProcessError(f"{arguments[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _report(folder: Path) -> dict[str, Any]:
    from sdgen_thumbnail_plugin.cli.status import gather
    from sdgen_thumbnail_plugin.home import Home
    from sdgen_thumbnail_plugin.settings import load_settings

    settings = load_settings(folder, source_dir=folder / "results", target_dir=folder / "thumbnails")
    return gather(Home(folder / ".sdgen"), settings)


def _generate_live(folder: Path, console: Console) -> dict[str, float]:
    """Runs the other process and watches; returns when each live thumbnail was seen, in seconds since the epoch."""
    from rich.live import Live

    from sdgen_thumbnail_plugin.cli.status import render

    session = folder / "results" / _LIVE_SESSION
    target = folder / "thumbnails" / _LIVE_SESSION
    generating = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sdgen_thumbnail_plugin.cli.demo_pictures",
            str(session),
            str(_LIVE_COUNT),
            str(_LIVE_PAUSE_S),
        ]
    )
    appeared: dict[str, float] = {}
    deadline_s = time.monotonic() + _DEADLINE_S
    shown_at_s = 0.0
    try:
        with contextlib.ExitStack() as stack:
            live = stack.enter_context(Live(console=console, auto_refresh=False)) if console.is_terminal else None
            while time.monotonic() < deadline_s:
                with contextlib.suppress(FileNotFoundError):
                    for entry in os.scandir(target):
                        if entry.name.endswith(".webp"):
                            appeared.setdefault(entry.name, time.time())
                ended = generating.poll() is not None
                if ended and len(appeared) == _LIVE_COUNT and _is_complete(folder):
                    break
                if live is not None and time.monotonic() - shown_at_s > 0.25:
                    shown_at_s = time.monotonic()
                    live.update(render(_report(folder)), refresh=True)
                time.sleep(0.005)
            if live is not None:
                live.update(render(_report(folder)), refresh=True)
    finally:
        if generating.poll() is None:
            generating.terminate()
        generating.wait()
    if live is None:
        console.print(render(_report(folder)))
    return appeared


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    results, thumbnails = folder / "results", folder / "thumbnails"
    images = sorted(results.rglob("*.png"))
    return [(image, (thumbnails / image.relative_to(results)).with_suffix(".webp")) for image in images]


def _is_complete(folder: Path) -> bool:
    """Whether every image has its thumbnail, and the watcher has noticed that too."""
    pairs = _pairs(folder)
    return all(thumbnail.exists() for _, thumbnail in pairs) and _report(folder).get("thumbnails") == len(pairs)


def _check(folder: Path) -> None:
    for image, thumbnail in _pairs(folder):
        if not thumbnail.exists() or thumbnail.stat().st_mtime_ns != image.stat().st_mtime_ns:
            raise ProcessError("its thumbnail is missing or stale", path=str(image), remedy="please report this")


def _table(folder: Path, appeared: Mapping[str, float]) -> Any:
    from PIL import Image
    from rich.table import Table

    table = Table("image", "pixels", "PNG", "WebP", "ready after")
    for image, thumbnail in _pairs(folder):
        if image.parent.name == _LIVE_SESSION and thumbnail.name in appeared:
            with Image.open(image) as picture:
                size = f"{picture.width} × {picture.height}"
            waited_ms = (appeared[thumbnail.name] - image.stat().st_mtime) * 1000
            table.add_row(
                image.name,
                size,
                f"{image.stat().st_size / 1024:,.0f} KiB",
                f"{thumbnail.stat().st_size / 1024:,.1f} KiB",
                f"{waited_ms:.0f} ms",
            )
    return table


def _contact_sheet(folder: Path) -> Path:
    """All thumbnails in rows, one row of rows per session."""
    from PIL import Image, ImageDraw

    gap_px, label_px, height_px, width_px = 12, 26, 240, 1600
    rows: list[tuple[str, list[Image.Image]]] = []
    for session in sorted((folder / "thumbnails").iterdir()):
        row: list[Image.Image] = []
        for path in sorted(session.glob("*.webp")):
            with Image.open(path) as thumbnail:
                picture = thumbnail.convert("RGB")
            if row and sum(one.width + gap_px for one in row) + picture.width + gap_px > width_px:
                rows.append((session.name if not rows or rows[-1][0] != session.name else "", row))
                row = []
            row.append(picture)
        rows.append((session.name if not any(name == session.name for name, _ in rows) else "", row))
    total_px = sum(height_px + gap_px + (label_px if name else 0) for name, _ in rows) + gap_px
    sheet = Image.new("RGB", (width_px, total_px), (24, 24, 28))
    pen = ImageDraw.Draw(sheet)
    y = gap_px
    for name, row in rows:
        if name:
            pen.text((gap_px, y + 4), name, fill=(220, 220, 220))
            y += label_px
        x = gap_px
        for picture in row:
            sheet.paste(picture, (x, y))
            x += picture.width + gap_px
        y += height_px + gap_px
    path = folder / "contact-sheet.png"
    sheet.save(path)
    return path
