"""``clean``: thumbnails whose source is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from sdgen_thumbnail_plugin.cli.app import print_document
from sdgen_thumbnail_plugin.cli.options import JsonOption, SourceOption, TargetOption, chosen_project
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler
from sdgen_thumbnail_plugin.errors import RootsError
from sdgen_thumbnail_plugin.text import counted, printable


def clean(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show what would be deleted; delete nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Example: sdgen-thumbnails clean --dry-run"""
    with chosen_project(source_dir=source_dir, target_dir=target_dir) as project:
        orphans = list(_orphans(project.directories))
        if not project.directories.trusts_source() and (orphans or not project.source.root_holds_anything()):
            raise RootsError(
                "holds no images, so every thumbnail would go; nothing is deleted",
                path=project.source.location,
                remedy="mount the drive, or delete the thumbnail folder by hand",
            )
        deleted = [] if dry_run else [key for key in orphans if project.images.delete_orphan(key)]
    if as_json:
        print_document(orphans=orphans, deleted=deleted)
    elif dry_run:
        for key in orphans:
            typer.echo(printable(key))
        typer.echo(f"{counted(len(orphans), 'thumbnail')} without an image; nothing was deleted", err=True)
    else:
        typer.echo(f"✓ {counted(len(deleted), 'thumbnail')} deleted" if orphans else "✓ Every thumbnail has its image")


def _orphans(directories: DirectoryReconciler) -> Iterator[str]:
    """Keys of all thumbnails without a source, directory by directory."""
    waiting = [""]
    while waiting:
        look = directories.look(waiting.pop())
        waiting.extend(reversed(look.directories))
        yield from look.orphans
