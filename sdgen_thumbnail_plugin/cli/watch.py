"""``watch``: the watcher, in the foreground; also what ``start`` runs in the background."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import typer

from sdgen_thumbnail_plugin.cli.options import (
    ObserverOption,
    PollingIntervalOption,
    SourceOption,
    TargetOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from sdgen_thumbnail_plugin.daemon.readiness import Readiness
    from sdgen_thumbnail_plugin.paths import Home
    from sdgen_thumbnail_plugin.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(
        "watch",
        epilog="Example: sdgen-thumbnails watch --source-dir results --target-dir thumbnails --observer polling",
    )(watch)


def watch(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    observer: ObserverOption = None,
    polling_interval: PollingIntervalOption = None,
    workers: WorkersOption = None,
) -> None:
    """Watch in the foreground until Ctrl+C."""
    import logging

    from sdgen_thumbnail_plugin.daemon.logs import OneLine, WatcherLog, log_to
    from sdgen_thumbnail_plugin.daemon.process import READY_VARIABLE
    from sdgen_thumbnail_plugin.daemon.readiness import Readiness
    from sdgen_thumbnail_plugin.paths import find_home
    from sdgen_thumbnail_plugin.settings import check_roots, load_settings

    home = find_home()
    descriptor = os.environ.pop(READY_VARIABLE, None)
    with Readiness(int(descriptor) if descriptor else None) as readiness:
        settings = load_settings(
            source_dir=source_dir,
            target_dir=target_dir,
            observer=observer,
            polling_interval_s=polling_interval,
            workers=workers,
        )
        check_roots(settings, must_exist=False)
        home.prepare()
        log_to(WatcherLog(home.log_file, settings.log_max_bytes, settings.log_backups))
        if descriptor is None:
            screen = logging.StreamHandler()
            screen.setFormatter(OneLine("%(message)s"))
            log_to(screen)
        _run(settings, home, readiness)


def _run(settings: Settings, home: Home, readiness: Readiness) -> None:
    from sdgen_thumbnail_plugin import heap
    from sdgen_thumbnail_plugin.daemon.priority import be_polite
    from sdgen_thumbnail_plugin.daemon.process import holding_the_lock
    from sdgen_thumbnail_plugin.daemon.watcher import Watcher

    def leave(*_: object) -> None:
        raise SystemExit(0)  # through holding_the_lock, which tidies up

    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in signals:
        signal.signal(number, leave)
    with holding_the_lock(home):
        be_polite()
        heap.keep_freed()
        watcher = Watcher(settings, home)
        for number in signals:
            signal.signal(number, lambda *_: watcher.stop())
        watcher.run(on_watching=readiness.watching)
