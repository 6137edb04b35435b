"""``failures`` and ``retry``: the images that could not be shown, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Optional

import typer

from sdgen_thumbnail_plugin.cli.app import EXIT_FAILED, print_document, say
from sdgen_thumbnail_plugin.cli.options import JsonOption, SourceOption, TargetOption, chosen_project
from sdgen_thumbnail_plugin.engine.memory_budget import MemoryBudget
from sdgen_thumbnail_plugin.errors import ImageError, SettingsError
from sdgen_thumbnail_plugin.text import counted, printable


def failures(source_dir: SourceOption = None, target_dir: TargetOption = None, as_json: JsonOption = False) -> None:
    """Example: sdgen-thumbnails failures --json"""
    with chosen_project(source_dir=source_dir, target_dir=target_dir) as project:
        found = sorted(project.catalog.failures().values(), key=lambda failure: failure.key)
    if as_json:
        print_document(failures=[asdict(failure) for failure in found])
        return
    for failure in found:
        typer.echo(f"✗ {printable(failure.key)}: {printable(failure.message)}")
        say(f"    {printable(failure.remedy)}")
    if found:
        what = f"{counted(len(found), 'image')} failed"
        say(f"{what}. Changed files are tried again by themselves, the others with: sdgen-thumbnails retry")
    else:
        typer.echo("✓ No image failed")


def retry(
    keys: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer 0.19 on Python 3.10 reads annotations at run time
        typer.Argument(help="Images as `failures` names them; all by default.", metavar="[IMAGE]..."),
    ] = None,
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
) -> None:
    """Example: sdgen-thumbnails retry 20251110_151059-harbour/harbour_0003.png"""
    with chosen_project(source_dir=source_dir, target_dir=target_dir) as project:
        known = project.catalog.failures()
        unknown = [key for key in keys or () if key not in known]
        if unknown:
            remedy = "see their names with: sdgen-thumbnails failures"
            raise SettingsError("is not among the failed images", path=printable(unknown[0]), remedy=remedy)
        budget = MemoryBudget(project.settings.memory_pixels)
        tried, again = sorted(keys or known), 0
        for key in tried:
            project.catalog.drop_failure(key)
            try:
                project.images.reconcile(key, budget=budget)
            except ImageError as error:
                again += 1
                typer.echo(f"✗ {printable(key)}: {printable(error.message)}", err=True)
    if not tried:
        typer.echo("✓ No image failed")
        return
    typer.echo(f"✓ {len(tried) - again} of {len(tried)} images have their thumbnail now")
    if again:
        raise typer.Exit(EXIT_FAILED)
