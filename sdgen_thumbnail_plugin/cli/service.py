"""``start``, ``stop``, ``restart``: the watcher in the background."""

from __future__ import annotations

from pathlib import Path

import typer

from sdgen_thumbnail_plugin.cli.app import say
from sdgen_thumbnail_plugin.cli.options import (
    ObserverOption,
    PollingIntervalOption,
    SourceOption,
    TargetOption,
    WorkersOption,
    watcher_settings,
)
from sdgen_thumbnail_plugin.daemon.process import start_watcher, stop_watcher
from sdgen_thumbnail_plugin.daemon.state import WatcherState, find_watcher, load_state
from sdgen_thumbnail_plugin.errors import NotRunningError
from sdgen_thumbnail_plugin.paths import find_home
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.text import printable


def start(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    observer: ObserverOption = None,
    polling_interval_s: PollingIntervalOption = None,
    workers: WorkersOption = None,
) -> None:
    """Example: sdgen-thumbnails start --source-dir results"""
    _start(watcher_settings(source_dir, target_dir, observer, polling_interval_s, workers))


def stop(source_dir: SourceOption = None, target_dir: TargetOption = None) -> None:
    """Example: sdgen-thumbnails stop"""
    if source_dir is not None or target_dir is not None:
        running = find_watcher(find_home())
        if running is not None and not running.watches(watcher_settings(source_dir, target_dir)):
            message = f"the running watcher watches {printable(running.source_dir)}"
            raise NotRunningError(message, remedy="stop it with: sdgen-thumbnails stop")
    _stop()


def restart(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    observer: ObserverOption = None,
    polling_interval_s: PollingIntervalOption = None,
    workers: WorkersOption = None,
) -> None:
    """Example: sdgen-thumbnails restart --workers 1"""
    # First of all: a mistake must not cost the watcher that runs.
    settings = watcher_settings(source_dir, target_dir, observer, polling_interval_s, workers)
    try:
        _stop()
    except NotRunningError:
        typer.echo("No watcher was running")
    _start(settings)


def _stop() -> None:
    typer.echo(f"✓ Stopped the watcher (PID {stop_watcher(find_home()).pid})")


def _start(settings: Settings) -> None:
    home = find_home()
    started = start_watcher(settings, home, folder=Path.cwd())
    watcher = started.watcher
    if started.already:
        typer.echo(f"The watcher is running already (PID {watcher.pid}), watching {printable(watcher.source_dir)}")
        return
    if started.replaced:
        typer.echo(f"Stopped the watcher of {printable(started.replaced)}: there is one per user")
    typer.echo(f"✓ Watching {printable(watcher.source_dir)} (PID {watcher.pid})")
    if not settings.source_dir.is_dir():
        typer.echo("  The folder does not exist yet; watching begins when it appears")
    state = load_state(home.state_file)
    for problem in state.problems if isinstance(state, WatcherState) and state.pid == watcher.pid else ():
        say(f"  ✗ {printable(problem.message)}\n    → {printable(problem.remedy)}", err=True)
    say("  sdgen-thumbnails status shows what it does")
