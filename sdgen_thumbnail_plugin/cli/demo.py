"""``demo``: the main job, live, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("demo", epilog="Example: sdgen-thumbnails demo")(demo)


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the demonstration project is made.")] = Path("sdgen-demo"),
) -> None:
    """Show the main job with drawn images: no sdgen, no network, under 30 seconds."""
    from rich.console import Console

    from sdgen_thumbnail_plugin.demo.story import run_demo

    run_demo(folder, console=Console())
