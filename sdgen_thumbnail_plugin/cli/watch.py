"""``watch``: the watcher, in the foreground; also what ``start`` runs in the background."""

from __future__ import annotations

import logging
import os
import signal

from sdgen_thumbnail_plugin.cli.options import (
    ObserverOption,
    PollingIntervalOption,
    SourceOption,
    TargetOption,
    WorkersOption,
    watcher_settings,
)
from sdgen_thumbnail_plugin.daemon.logs import OneLine, WatcherLog, log_to
from sdgen_thumbnail_plugin.daemon.priority import be_polite
from sdgen_thumbnail_plugin.daemon.process import READY_VARIABLE, answering, holding_the_lock
from sdgen_thumbnail_plugin.daemon.watcher import Watcher
from sdgen_thumbnail_plugin.paths import find_home


def watch(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    observer: ObserverOption = None,
    polling_interval_s: PollingIntervalOption = None,
    workers: WorkersOption = None,
) -> None:
    """Example: sdgen-thumbnails watch --source-dir results --target-dir thumbnails --observer polling"""
    home = find_home()
    descriptor = os.environ.pop(READY_VARIABLE, None)
    with answering(int(descriptor) if descriptor else None) as say_watching:
        settings = watcher_settings(source_dir, target_dir, observer, polling_interval_s, workers)
        home.prepare()
        log_to(WatcherLog(home.log_file, settings.log_max_bytes, settings.log_backups))
        if descriptor is None:
            screen = logging.StreamHandler()
            screen.setFormatter(OneLine("%(message)s"))
            log_to(screen)

        def leave(*_: object) -> None:
            raise SystemExit(0)  # through holding_the_lock, which tidies up

        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        for number in signals:
            signal.signal(number, leave)
        with holding_the_lock(home):
            be_polite()
            watcher = Watcher(settings, home)
            for number in signals:
                signal.signal(number, lambda *_: watcher.stop())
            watcher.run(say_watching)
