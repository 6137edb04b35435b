"""``catchup``: once, with a progress bar, then exit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sdgen_thumbnail_plugin.cli.edge import EXIT_FAILED
from sdgen_thumbnail_plugin.cli.options import JsonOption, SourceOption, TargetOption, WorkersOption

if TYPE_CHECKING:
    from sdgen_thumbnail_plugin.engine.catchup import Limits, Summary
    from sdgen_thumbnail_plugin.errors import MachineError
    from sdgen_thumbnail_plugin.project import Opened

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("catchup", epilog="Example: sdgen-thumbnails catchup --source-dir results")(catchup)


def catchup(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    workers: WorkersOption = None,
    smart: Annotated[
        bool, typer.Option("--smart", help="Newest sessions only: stop at the first complete one.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make every thumbnail that is missing or stale, then exit. Exit code 1 if an image failed."""
    import json
    from dataclasses import asdict

    from sdgen_thumbnail_plugin import heap
    from sdgen_thumbnail_plugin.project import opened

    with opened(source_dir=source_dir, target_dir=target_dir, workers=workers) as place:
        heap.keep_freed()
        summary, fault = _work(place, smart=smart, quiet=as_json)
        failed = len(place.catalog.failures())
        misses_images = place.reconciler.misses_all_images()
    if fault is not None:
        raise fault
    if as_json:
        typer.echo(json.dumps({"schema": 1} | asdict(summary) | {"failures": failed}))
    else:
        _tell(summary, failed, place.source.location if misses_images else None)
    if summary.errors:
        raise typer.Exit(EXIT_FAILED)


def _work(place: Opened, *, smart: bool, quiet: bool) -> tuple[Summary, MachineError | None]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Progress
    from sdgen_thumbnail_plugin.engine.workers import Workers
    from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind

    console = Console(stderr=True)
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    task = bar.add_task("Looking", total=None, rate="")

    def show(progress: Progress) -> None:
        total = (base[0] + progress.total) if progress.total is not None else None
        bar.update(task, description=progress.session or "Looking at all sessions", total=total)

    def count(outcome: Outcome, _: float) -> None:
        if outcome.kind in (OutcomeKind.CREATED, OutcomeKind.FAILED, OutcomeKind.ADOPTED):
            bar.advance(task)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.0f} images/s" if speed else "")

    workers = Workers(
        place.reconciler,
        count=place.settings.worker_count,
        budget_pixels=place.settings.memory_pixels,
        patient=False,
        on_outcome=count,
    )
    base = [0]
    try:
        with bar:
            limits = _limits(place)
            catching_up = CatchUp(place.reconciler, workers, place.sessions, limits=limits, on_progress=show)
            summary = catching_up.smart()
            base[0] = int(bar.tasks[0].completed)
            if not smart and workers.fault is None:
                summary = _sum(summary, catching_up.audit())
            workers.wait_idle()
    finally:
        workers.close()
    return summary, workers.fault


def _limits(place: Opened) -> Limits:
    from sdgen_thumbnail_plugin.engine.catchup import Limits

    return Limits(place.settings.hold_back_count, place.settings.hold_back_fraction)


def _sum(smart: Summary, audit: Summary) -> Summary:
    """Both halves together; the audit alone has seen every image."""
    from sdgen_thumbnail_plugin.engine.catchup import Summary

    return Summary(
        sessions=smart.sessions + audit.sessions,
        created=smart.created + audit.created,
        skipped=max(0, audit.skipped - smart.created),
        errors=smart.errors + audit.errors,
        held_back=audit.held_back,
    )


def _tell(summary: Summary, failed: int, without_images: str | None) -> None:
    from sdgen_thumbnail_plugin.text import counted, printable

    typer.echo(f"✓ {counted(summary.created, 'thumbnail')} made, {summary.skipped:,} were up to date")
    if summary.errors:
        typer.echo(f"✗ {counted(summary.errors, 'image')} failed: sdgen-thumbnails failures shows them", err=True)
    elif failed:
        typer.echo(f"  {counted(failed, 'image')} failed earlier: sdgen-thumbnails failures shows them")
    if without_images is not None:
        typer.echo(f"✗ {printable(without_images)} holds no images; nothing was deleted", err=True)
        typer.echo("    Mount the drive; if its images are gone on purpose, delete the folder of thumbnails", err=True)
    elif summary.held_back:
        typer.echo(
            f"  {summary.held_back:,} thumbnails have no source any more and were kept: "
            "sdgen-thumbnails clean --dry-run shows them"
        )
