"""``clean``: thumbnails whose source is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from sdgen_thumbnail_plugin.cli.options import JsonOption, SourceOption, TargetOption

if TYPE_CHECKING:
    from sdgen_thumbnail_plugin.engine.reconcile import Reconciler

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("clean", epilog="Example: sdgen-thumbnails clean --dry-run")(clean)


def clean(
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show what would be deleted; delete nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete the thumbnails whose image is gone. Nothing else is ever deleted."""
    import json

    from sdgen_thumbnail_plugin.errors import RootsError
    from sdgen_thumbnail_plugin.project import opened
    from sdgen_thumbnail_plugin.text import counted, printable

    with opened(source_dir=source_dir, target_dir=target_dir) as place:
        orphans = list(_orphans(place.reconciler))
        if not place.reconciler.trusts_root() and (orphans or not place.source.root_holds_anything()):
            raise RootsError(
                "holds no images, so every thumbnail would go; nothing is deleted",
                path=place.source.location,
                remedy="mount the drive, or delete the thumbnail folder by hand",
            )
        deleted = [] if dry_run else [key for key in orphans if place.reconciler.delete_orphan(key)]
    if as_json:
        typer.echo(json.dumps({"schema": 1, "orphans": orphans, "deleted": deleted}))
    elif dry_run:
        for key in orphans:
            typer.echo(printable(key))
        typer.echo(f"{counted(len(orphans), 'thumbnail')} without an image; nothing was deleted", err=True)
    else:
        typer.echo(f"✓ {counted(len(deleted), 'thumbnail')} deleted" if orphans else "✓ Every thumbnail has its image")


def _orphans(reconciler: Reconciler) -> Iterator[str]:
    """Keys of all thumbnails without a source, directory by directory."""
    from sdgen_thumbnail_plugin.model import ActionKind, Reason

    waiting = [""]
    while waiting:
        survey = reconciler.survey(waiting.pop())
        waiting.extend(reversed(survey.view.directories))
        for action in survey.actions:
            if action.kind is ActionKind.DELETE and action.reason is Reason.ORPHAN:
                yield action.key
