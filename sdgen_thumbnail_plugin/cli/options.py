"""Options that several commands share, and how they become settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

__all__ = [
    "JsonOption",
    "ObserverOption",
    "PollingIntervalOption",
    "SourceOption",
    "TargetOption",
    "WorkersOption",
    "arguments_for",
]

SourceOption = Annotated[
    Optional[Path],  # noqa: UP045 - typer 0.19 on Python 3.10 reads annotations at run time
    typer.Option(
        "--source-dir", "-s", help="Folder of the sessions. Default: output_dir of sdgen_config.json, ./results"
    ),
]
TargetOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--target-dir", "-t", help="Folder of the thumbnails. Default: ./thumbnails"),
]
ObserverOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--observer", help="auto (by the mount), native or polling.", metavar="auto|native|polling"),
]
PollingIntervalOption = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--polling-interval", help="Shortest pause between two polls, in seconds."),
]
WorkersOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--workers", "-w", help="Threads that make thumbnails. Default: one per usable core."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For scripts: one JSON document on stdout.")]


def arguments_for(flags: dict[str, Any]) -> list[str]:
    """Command-line arguments that say again what a person said to ``start``."""
    names = {"source_dir": "--source-dir", "target_dir": "--target-dir", "polling_interval_s": "--polling-interval"}
    arguments: list[str] = []
    for name, value in flags.items():
        if value is not None:
            shown = str(Path.cwd() / value) if name in ("source_dir", "target_dir") else str(value)
            arguments += [names.get(name, f"--{name}"), shown]
    return arguments
