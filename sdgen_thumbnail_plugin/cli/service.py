"""``start``, ``stop``, ``restart``: the background process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from sdgen_thumbnail_plugin.cli.options import (
    ObserverOption,
    PollingIntervalOption,
    SourceOption,
    TargetOption,
    WorkersOption,
    arguments_for,
)

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("start", epilog="Example: sdgen-thumbnails start --source-dir results")(start)
    app.command("stop", epilog="Example: sdgen-thumbnails stop")(stop)
    app.command("restart", epilog="Example: sdgen-thumbnails restart --workers 1")(restart)


def start(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    observer: ObserverOption = None,
    polling_interval: PollingIntervalOption = None,
    workers: WorkersOption = None,
) -> None:
    """Start the watcher in the background; returns when it is watching."""
    _start(
        {
            "source_dir": source_dir,
            "target_dir": target_dir,
            "observer": observer,
            "polling_interval_s": polling_interval,
            "workers": workers,
        }
    )


def stop(source_dir: SourceOption = None, target_dir: TargetOption = None) -> None:
    """Stop the watcher; images being made are finished. With folders named: only if it watches those."""
    from sdgen_thumbnail_plugin.daemon.process import find_watcher, stop_watcher
    from sdgen_thumbnail_plugin.errors import NotRunningError
    from sdgen_thumbnail_plugin.paths import find_home
    from sdgen_thumbnail_plugin.text import printable

    home = find_home()
    if source_dir is not None or target_dir is not None:
        running = find_watcher(home)
        if running is not None and not running.watches(_checked({"source_dir": source_dir, "target_dir": target_dir})):
            remedy = "stop it with: sdgen-thumbnails stop"
            raise NotRunningError(f"the watcher that runs watches {printable(running.source_dir)}", remedy=remedy)
    watcher = stop_watcher(home)
    typer.echo(f"✓ Stopped the watcher (PID {watcher.pid})")


def restart(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    observer: ObserverOption = None,
    polling_interval: PollingIntervalOption = None,
    workers: WorkersOption = None,
) -> None:
    """Stop the watcher if it runs, then start it."""
    from sdgen_thumbnail_plugin.daemon.process import stop_watcher
    from sdgen_thumbnail_plugin.errors import NotRunningError
    from sdgen_thumbnail_plugin.paths import find_home

    flags = {
        "source_dir": source_dir,
        "target_dir": target_dir,
        "observer": observer,
        "polling_interval_s": polling_interval,
        "workers": workers,
    }
    _checked(flags)  # a mistake must not cost the watcher that runs
    try:
        watcher = stop_watcher(find_home())
        typer.echo(f"✓ Stopped the watcher (PID {watcher.pid})")
    except NotRunningError:
        typer.echo("No watcher was running")
    _start(flags)


def _checked(flags: dict[str, Any]) -> Any:
    from sdgen_thumbnail_plugin.settings import check_roots, load_settings

    settings = load_settings(**flags)
    check_roots(settings, must_exist=False)
    return settings


def _start(flags: dict[str, Any]) -> None:
    from sdgen_thumbnail_plugin.daemon.process import start_watcher
    from sdgen_thumbnail_plugin.daemon.state import read_state
    from sdgen_thumbnail_plugin.paths import find_home
    from sdgen_thumbnail_plugin.text import printable

    settings, home = _checked(flags), find_home()
    started = start_watcher(settings, home, arguments=arguments_for(flags), folder=Path.cwd())
    watcher = started.watcher
    if started.already:
        typer.echo(f"The watcher is running already (PID {watcher.pid}), watching {printable(watcher.source_dir)}")
        return
    if started.replaced:
        typer.echo(f"Stopped the watcher of {printable(started.replaced)}: there is one per user")
    typer.echo(f"✓ Watching {printable(watcher.source_dir)} (PID {watcher.pid})")
    if not settings.source_dir.is_dir():
        typer.echo("  The folder is not there yet; watching begins when it appears")
    state = read_state(home.state_file) or {}
    for problem in state.get("problems", ()) if state.get("pid") == watcher.pid else ():
        typer.echo(f"  ✗ {printable(problem['message'])}\n    → {printable(problem['remedy'])}", err=True)
    typer.echo("  sdgen-thumbnails status shows what it does")
