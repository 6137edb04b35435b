"""``status``: shows what the watcher is doing, to a person or to a script."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sdgen_thumbnail_plugin.cli.app import EXIT_NOT_RUNNING, EXIT_TROUBLED
from sdgen_thumbnail_plugin.cli.options import JsonOption, SourceOption, TargetOption
from sdgen_thumbnail_plugin.daemon.state import watcher_report
from sdgen_thumbnail_plugin.paths import find_home
from sdgen_thumbnail_plugin.settings import load_settings
from sdgen_thumbnail_plugin.text import as_typed, printable

EXIT_CODES = {"healthy": 0, "not running": EXIT_NOT_RUNNING, "stalled": EXIT_TROUBLED, "degraded": EXIT_TROUBLED}


def status(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it, until Ctrl+C.")] = False,
) -> None:
    """Example: sdgen-thumbnails status --watch"""
    home, settings = find_home(), load_settings(source_dir=source_dir, target_dir=target_dir)
    report = watcher_report(home, settings)
    if as_json:
        typer.echo(json.dumps(report))
    elif watch:
        with Live(render(report), refresh_per_second=4) as live:
            while True:
                time.sleep(0.5)
                live.update(render(watcher_report(home, settings)))
    else:
        Console().print(render(report))
    raise typer.Exit(EXIT_CODES[report["health"]])


def render(report: Mapping[str, Any]) -> RenderableType:
    """The report for people.

    Args:
        report: the document that ``watcher_report`` returns.
    """
    health = report["health"]
    mark, colour = {"healthy": ("●", "green"), "not running": ("○", "yellow")}.get(health, ("▲", "red"))
    headline = Text.assemble((f"{mark} ", colour), ("thumbnail watcher: ", "bold"), (_headline(report), colour))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(report):
        table.add_row(f"  {name}", Text(printable(value)))  # a str would be read as markup
    notes = [_problem(problem) for problem in report["problems"]]
    if health == "not running":
        notes.append(Text(as_typed("  start it with: sdgen-thumbnails start"), style="dim"))
    return Group(headline, table, *notes)


def _headline(report: Mapping[str, Any]) -> str:
    """``running for 2 h (PID 22959)``, ``running for 2 h, degraded (PID 22959)``, ``not running``."""
    health = str(report["health"])
    if health == "not running":
        return health
    uptime = f" for {_duration(report['uptime_s'])}" if "uptime_s" in report else ""
    text = f"running{uptime}" if health == "healthy" else f"running{uptime}, {health}"
    return f"{text} (PID {report['pid']})" if uptime else text


def _problem(problem: Mapping[str, Any]) -> Text:
    """What is wrong, for how long where that is known, and what to do about it."""
    since_s = problem["since_s"]
    lasting = "" if since_s is None else f" (for {_ago(since_s)})"
    remedy = ("\n    → ", "dim"), printable(as_typed(problem["remedy"]))
    return Text.assemble(("  ✗ ", "red"), printable(problem["message"]), (lasting, "dim"), *remedy)


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "source", str(report.get("source_dir", "?"))
    yield "thumbnails", str(report.get("target_dir", "?"))
    if "phase" not in report:
        return
    waiting = ", ".join(f"{count:,} {name.replace('_', '-')}" for name, count in report["queue"].items() if count)
    sessions, last = report["sessions"], report["last_image"]
    yield "observer", f"{report['observer']['kind']} ({report['observer']['reason']})"
    yield "phase", phase_text(report)
    yield "queue", f"{waiting or 'empty'}, {report['images_per_s']:.1f} images/s"
    yield "sessions", f"{sessions['complete']:,} complete, {sessions['incomplete']:,} incomplete"
    counts = f"{report['images']:,} images, {report['thumbnails']:,} thumbnails, {report['failures']:,} failed"
    yield "images", counts
    if last:
        pace = f"made in {last['build_s'] * 1000:.0f} ms"
        if last["latency_s"] is not None:
            pace = f"{last['latency_s'] * 1000:.0f} ms after it was seen"
        yield "last image", f"{last['key']} {_ago(last['at_s'])} ago, {pace}"
    if "memory_bytes" in report:
        memory = f"{report['memory_bytes'] / 2**20:.0f} MiB"
        yield "costs", f"{report['cpu_percent']:.1f} % of a core on average, {memory}"


def phase_text(report: Mapping[str, Any]) -> str:
    """What the watcher is doing, how far it has come, and how long the rest will take at the present rate."""
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


def _ago(at_s: float) -> str:
    return _duration(max(0.0, time.time() - at_s))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 129_600 else f"{seconds / 86_400:.0f} days"
