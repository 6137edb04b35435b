"""``logs``: the watcher's log."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from sdgen_thumbnail_plugin.daemon.logs import last_lines
from sdgen_thumbnail_plugin.errors import NotRunningError
from sdgen_thumbnail_plugin.paths import find_home
from sdgen_thumbnail_plugin.text import printable


def logs(
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on showing new lines, until Ctrl+C.")] = False,
) -> None:
    """Example: sdgen-thumbnails logs -n 50 -f"""
    path = find_home().log_file
    if not path.exists() and not follow:
        raise NotRunningError("there is no log yet", path=str(path))
    inode, position = _end_of(path)  # before anything is shown: what is added from here on is followed
    for line in last_lines(path, lines, end_bytes=position):
        typer.echo(line)
    if follow:
        _follow(path, inode, position)


def _end_of(path: Path) -> tuple[int, int]:
    """The log's inode and its length in bytes; zeros while there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_size


def _follow(path: Path, inode: int, position: int) -> None:
    rest = b""
    while True:
        time.sleep(0.2)
        now, size_bytes = _end_of(path)
        if now != inode or size_bytes < position:  # rotated, or truncated
            position, inode, rest = 0, now, b""
        if size_bytes > position:
            with path.open("rb") as file:
                file.seek(position)
                new = file.read()
            position += len(new)
            *whole, rest = (rest + new).split(b"\n")
            for line in whole:
                typer.echo(printable(line.decode("utf-8", "replace")))
