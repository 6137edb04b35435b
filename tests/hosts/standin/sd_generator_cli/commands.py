"""``sdgen webui``."""

import time
from pathlib import Path

import typer
from rich.console import Console

from sd_generator_cli import daemon
from sd_generator_cli.config.global_config import load_global_config

console = Console()
webui_app = typer.Typer(name="webui", help="Manage the web UI")
SERVICES = {
    "watchdog": "Session Watchdog",
    "thumbnail_watchdog": "Thumbnail Watchdog",
    "backend": "Backend",
}


def _start():
    try:
        import sd_generator_webui
    except ImportError:
        console.print("[red]✗ WebUI package not found[/red]")
        raise typer.Exit(1) from None
    try:
        sessions = Path(load_global_config().output_dir)
    except Exception:
        sessions = Path.cwd() / "apioutput"
    daemon.start_watchdog(sessions, db_path=sessions.parent / "metadata" / "sessions.db")
    time.sleep(0.1)
    daemon.start_thumbnail_watchdog(sessions)
    time.sleep(0.1)
    daemon.start_backend(8000, Path(sd_generator_webui.__file__).parent)
    console.print("[bold green]✓ WebUI services started[/bold green]")


def _stop():
    return all([daemon.stop_service(service) for service in SERVICES])


@webui_app.command("start")
def webui_start():
    """Start the services."""
    _start()


@webui_app.command("stop")
def webui_stop():
    """Stop the services."""
    if not _stop():
        console.print("[yellow]⚠ Some services failed to stop[/yellow]")
        raise typer.Exit(1)
    console.print("[bold green]✓ WebUI services stopped[/bold green]")


@webui_app.command("restart")
def webui_restart():
    """Stop, then start."""
    _stop()
    time.sleep(0.1)
    _start()


@webui_app.command("status")
def webui_status():
    """Show the services."""
    for service, name in SERVICES.items():
        running, pid = daemon.get_service_status(service)
        console.print(f"{name} {'Running' if running else 'Stopped'} {pid or '—'}")
