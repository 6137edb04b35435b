"""Options that several commands share, and how they become settings."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sdgen_thumbnail_plugin.paths import find_home
from sdgen_thumbnail_plugin.settings import Settings, check_roots, load_settings

if TYPE_CHECKING:
    from sdgen_thumbnail_plugin.project import OpenProject


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


def watcher_settings(
    source_dir: Path | None = None,
    target_dir: Path | None = None,
    observer: str | None = None,
    polling_interval_s: float | None = None,
    workers: int | None = None,
) -> Settings:
    """The settings of a watcher by its options. The source folder may be missing: watching begins when it appears.

    Raises:
        SettingsError, RootsError
    """
    settings = load_settings(
        source_dir=source_dir,
        target_dir=target_dir,
        observer=observer,
        polling_interval_s=polling_interval_s,
        workers=workers,
    )
    check_roots(settings, must_exist=False)
    return settings


def chosen_project(**flags: Any) -> AbstractContextManager[OpenProject]:
    """The project that the flags, the environment and ``sdgen_config.json`` name, open until the context ends.

    Raises:
        SettingsError, RootsError, CatalogError
    """
    from sdgen_thumbnail_plugin.project import open_project  # `start` and `status` do without the engine

    settings = load_settings(**flags)
    check_roots(settings)
    return open_project(settings, find_home())
