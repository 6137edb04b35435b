"""``status``: what a person, or a script, wants to know. The JSON is documented in ``docs/schemas.md``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdgen_thumbnail_plugin.cli.edge import EXIT_NOT_RUNNING, EXIT_TROUBLED
from sdgen_thumbnail_plugin.cli.options import JsonOption, SourceOption, TargetOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sdgen_thumbnail_plugin.paths import Home
    from sdgen_thumbnail_plugin.settings import Settings

__all__ = ["EXIT_CODES", "gather", "phase_text", "register", "render"]

EXIT_CODES = {"well": 0, "not running": EXIT_NOT_RUNNING, "stalled": EXIT_TROUBLED, "degraded": EXIT_TROUBLED}


def register(app: typer.Typer) -> None:
    app.command("status", epilog="Example: sdgen-thumbnails status --watch")(status)


def status(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it, until Ctrl+C.")] = False,
) -> None:
    """Show what the watcher is doing. Exit code 0: well, 3: not running, 4: stalled or degraded."""
    import json

    from rich.console import Console

    from sdgen_thumbnail_plugin.paths import find_home
    from sdgen_thumbnail_plugin.settings import load_settings

    home = find_home()
    settings = load_settings(source_dir=source_dir, target_dir=target_dir)
    if watch and not as_json:
        _show_live(home, settings)
        return
    report = gather(home, settings)
    if as_json:
        typer.echo(json.dumps(report))
    else:
        Console().print(render(report))
    raise typer.Exit(EXIT_CODES[str(report["health"])])


def _show_live(home: Home, settings: Settings) -> None:
    from rich.live import Live

    with Live(render(gather(home, settings)), refresh_per_second=4) as live:
        while True:
            time.sleep(0.5)
            live.update(render(gather(home, settings)))


def gather(home: Home, settings: Settings) -> dict[str, Any]:
    """The report: the state file, checked against the process itself.

    Args:
        home: where the state file is.
        settings: the folders a person asks about, for when nothing runs.
    """
    from sdgen_thumbnail_plugin.daemon.process import find_watcher, is_locked
    from sdgen_thumbnail_plugin.daemon.state import STALLED_S, STATE_SCHEMA, age_s, read_state

    state = read_state(home.state_file)
    watcher = find_watcher(home)
    report: dict[str, Any] = {"schema": STATE_SCHEMA, "running": watcher is not None, "health": "well"}
    problems: list[Mapping[str, Any]] = []
    if watcher is None:
        if is_locked(home):
            report |= {"running": True, "health": "degraded"}
            newer = state is not None and state["schema"] > STATE_SCHEMA
            message = "of a newer version" if newer else "missing or damaged"
            problems.append(
                {"message": f"a watcher runs, but its state file is {message}", "remedy": "update, or restart it"}
            )
        else:
            report["health"] = "not running"
            report |= {"source_dir": str(settings.source_dir), "target_dir": str(settings.target_dir)}
            if home.pid_file.exists():
                remedy = "start it again: sdgen-thumbnails start"
                problems.append({"message": "the last watcher ended without tidying up", "remedy": remedy})
    elif state is not None and state["schema"] <= STATE_SCHEMA:
        report |= {key: value for key, value in state.items() if key not in ("schema", "identity")}
        report |= _of_process(watcher.pid)
        report["uptime_s"] = round(max(0.0, time.time() - state["started_at_s"]), 1)
        problems += state["problems"]
        silent_s = age_s(state)
        if silent_s > STALLED_S:
            report["health"] = "stalled"
            remedy = "restart it: sdgen-thumbnails restart"
            problems.insert(0, {"message": f"no sign of life for {silent_s:.0f} s", "remedy": remedy})
        elif problems:
            report["health"] = "degraded"
    else:
        report |= {"pid": watcher.pid, "health": "degraded"}
        problems.append({"message": "its state file is damaged", "remedy": "restart it: sdgen-thumbnails restart"})
    report["problems"] = problems
    return report


def _of_process(pid: int) -> dict[str, Any]:
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            age = max(0.001, time.time() - process.create_time())
            memory = process.memory_info().rss
    except psutil.Error:
        return {}
    return {"cpu_percent": round(100 * (times.user + times.system) / age, 2), "memory_bytes": memory}


def render(report: Mapping[str, Any]) -> RenderableType:
    """The report for people."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from sdgen_thumbnail_plugin.text import printable

    health = str(report["health"])
    colour = {"well": "green", "not running": "yellow"}.get(health, "red")
    mark = {"well": "●", "not running": "○"}.get(health, "▲")
    headline = Text.assemble((f"{mark} ", colour), ("thumbnail watcher: ", "bold"), (_headline(report), colour))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(report):
        table.add_row(f"  {name}", Text(printable(value)))  # a str would be read as markup
    problems = [
        Text.assemble(
            ("  ✗ ", "red"), printable(str(problem["message"])), ("\n    → ", "dim"), printable(str(problem["remedy"]))
        )
        for problem in report["problems"]
    ]
    if health == "not running":
        problems.append(Text("  start it with: sdgen-thumbnails start", style="dim"))
    return Group(headline, table, *problems)


def _headline(report: Mapping[str, Any]) -> str:
    if report["health"] == "not running":
        return "not running"
    text = "running" if report["health"] == "well" else f"running, but {report['health']}"
    return f"{text} for {_duration(report['uptime_s'])} (PID {report['pid']})" if "uptime_s" in report else text


def _rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("source", str(report.get("source_dir", "?"))), ("thumbnails", str(report.get("target_dir", "?")))]
    if "phase" not in report:
        return rows
    queue, last = report["queue"], report["last_image"]
    waiting = ", ".join(f"{count:,} {name.replace('_', '-')}" for name, count in queue.items() if count)
    sessions = report["sessions"]
    rows += [
        ("observer", f"{report['observer']['kind']} ({report['observer']['reason']})"),
        ("phase", phase_text(report)),
        ("queue", f"{waiting or 'empty'}, {report['images_per_s']:.1f} images/s"),
        ("sessions", f"{sessions['complete']:,} complete, {sessions['incomplete']:,} incomplete"),
        ("images", f"{report['images']:,} images, {report['thumbnails']:,} thumbnails, {report['failures']:,} failed"),
    ]
    if last:
        ago = _duration(max(0.0, time.time() - last["at_s"]))
        seen_s = last["latency_s"]
        pace = (
            f"made in {last['build_s'] * 1000:.0f} ms"
            if seen_s is None
            else f"{seen_s * 1000:.0f} ms after it was seen"
        )
        rows.append(("last image", f"{last['key']} {ago} ago, {pace}"))
    if "memory_bytes" in report:
        rows.append(
            ("costs", f"{report['cpu_percent']:.1f} % of a core on average, {report['memory_bytes'] / 2**20:.0f} MiB")
        )
    return rows


def phase_text(report: Mapping[str, Any]) -> str:
    """What the watcher is doing, how far it has come, and how long that will take at the rate of now."""
    progress, rate = report["progress"], report["images_per_s"]
    parts = [str(report["phase"])]
    if progress.get("total"):
        parts.append(f"{progress['done']:,} of {progress['total']:,}")
        left = progress["total"] - progress["done"]
        if left and rate > 0:
            parts.append(f"about {_duration(left / rate)} left")
        if progress["session"]:
            parts.append(f"in {progress['session']}")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 129_600 else f"{seconds / 86_400:.0f} days"
