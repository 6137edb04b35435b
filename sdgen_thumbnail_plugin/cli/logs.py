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
    for line in last_lines(path, lines):
        typer.echo(line)
    if follow:
        _follow(path)


def _follow(path: Path) -> None:
    position, inode = (path.stat().st_size, path.stat().st_ino) if path.exists() else (0, 0)
    rest = b""
    while True:
        time.sleep(0.2)
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if status.st_ino != inode or status.st_size < position:  # rotated, or truncated
            position, inode, rest = 0, status.st_ino, b""
        if status.st_size > position:
            with path.open("rb") as file:
                file.seek(position)
                new = file.read()
            position += len(new)
            *whole, rest = (rest + new).split(b"\n")
            for line in whole:
                typer.echo(printable(line.decode("utf-8", "replace")))
