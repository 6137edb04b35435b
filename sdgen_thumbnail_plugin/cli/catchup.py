"""``catchup``: once, with a progress bar, then exit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from sdgen_thumbnail_plugin.cli.app import EXIT_FAILED, print_document, say
from sdgen_thumbnail_plugin.cli.options import JsonOption, SourceOption, TargetOption, WorkersOption, chosen_project
from sdgen_thumbnail_plugin.engine.catchup import Progress, Summary
from sdgen_thumbnail_plugin.project import OpenProject
from sdgen_thumbnail_plugin.text import counted, printable


def catchup(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    workers: WorkersOption = None,
    smart: Annotated[
        bool, typer.Option("--smart", help="Newest sessions only: stop at the first complete one.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Example: sdgen-thumbnails catchup --source-dir results"""
    with chosen_project(source_dir=source_dir, target_dir=target_dir, workers=workers) as project:
        try:
            summary = _work(project, smart_only=smart, quiet=as_json)
        except KeyboardInterrupt:
            say("\nInterrupted. Thumbnails made so far stay; make the others with: sdgen-thumbnails catchup", err=True)
            raise
        failed = project.catalog.count_failures()
        without_images = project.directories.misses_all_images()
    if as_json:
        print_document(**asdict(summary), failures=failed)
    else:
        _report(summary, failed, project.source.location if without_images else None)
    if summary.errors:
        raise typer.Exit(EXIT_FAILED)


def _work(project: OpenProject, *, smart_only: bool, quiet: bool) -> Summary:
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
        speed = bar.tasks[0].speed
        bar.update(
            task,
            description=progress.session or "Looking at all sessions",
            total=progress.total,
            completed=progress.done,
            rate=f"{speed:.0f} images/s" if speed else "",
        )

    workers = project.workers(patient=False)
    try:
        with bar:
            summary = project.catch_up(workers, on_progress=show).run(smart_only=smart_only)
    finally:
        workers.close()
    if workers.fault is not None:
        raise workers.fault
    return summary


def _report(summary: Summary, failed: int, without_images: str | None) -> None:
    typer.echo(f"✓ {counted(summary.created, 'thumbnail')} made, {summary.skipped:,} were up to date")
    if summary.errors:
        say(f"✗ {counted(summary.errors, 'image')} failed: sdgen-thumbnails failures shows them", err=True)
    elif failed:
        say(f"  {counted(failed, 'image')} failed earlier: sdgen-thumbnails failures shows them")
    if without_images is not None:
        typer.echo(f"✗ {printable(without_images)} holds no images; nothing was deleted", err=True)
        typer.echo("    Mount the drive; if its images are gone on purpose, delete the folder of thumbnails", err=True)
    elif summary.held_back:
        kept = f"{summary.held_back:,} thumbnails have no source any more and were kept"
        say(f"  {kept}: sdgen-thumbnails clean --dry-run shows them")
