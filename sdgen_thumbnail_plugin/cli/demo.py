"""``demo``: the main job, live, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sdgen_thumbnail_plugin.cli.status import render
from sdgen_thumbnail_plugin.demo.story import run_demo


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the demonstration project is made.")] = Path("sdgen-demo"),
) -> None:
    """Example: sdgen-thumbnails demo"""
    run_demo(folder, console=Console(), render=render)
