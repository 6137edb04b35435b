"""``failures`` and ``retry``: the images that could not be shown, and why."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from sdgen_thumbnail_plugin.cli.edge import EXIT_FAILED
from sdgen_thumbnail_plugin.cli.options import JsonOption, SourceOption, TargetOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("failures", epilog="Example: sdgen-thumbnails failures --json")(failures)
    app.command("retry", epilog="Example: sdgen-thumbnails retry 20251110_151059-harbour/harbour_0003.png")(retry)


def failures(source_dir: SourceOption = None, target_dir: TargetOption = None, as_json: JsonOption = False) -> None:
    """Show the images that have no thumbnail because they cannot be shown, and why."""
    import json
    from dataclasses import asdict

    from sdgen_thumbnail_plugin.project import opened
    from sdgen_thumbnail_plugin.text import counted, printable

    with opened(source_dir=source_dir, target_dir=target_dir) as place:
        found = sorted(place.catalog.failures().values(), key=lambda failure: failure.key)
    if as_json:
        typer.echo(json.dumps({"schema": 1, "failures": [asdict(failure) for failure in found]}))
        return
    if not found:
        typer.echo("✓ No image failed")
        return
    for failure in found:
        typer.echo(f"✗ {printable(failure.key)}: {printable(failure.message)}")
        typer.echo(f"    {printable(failure.remedy)}")
    typer.echo(
        f"{counted(len(found), 'image')} failed. Changed files are tried again by themselves, others with: retry"
    )


def retry(
    keys: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer 0.19 on Python 3.10 reads annotations at run time
        typer.Argument(help="Images as `failures` names them. All where none is named.", metavar="[IMAGE]..."),
    ] = None,
    source_dir: SourceOption = None,
    target_dir: TargetOption = None,
) -> None:
    """Try failed images again, now. Exit code 1 if one fails again."""
    import contextlib

    from sdgen_thumbnail_plugin.errors import SettingsError
    from sdgen_thumbnail_plugin.model import OutcomeKind
    from sdgen_thumbnail_plugin.project import opened
    from sdgen_thumbnail_plugin.text import printable

    with opened(source_dir=source_dir, target_dir=target_dir) as place:
        known = place.catalog.failures()
        unknown = [key for key in keys or () if key not in known]
        if unknown:
            remedy = "see their names with: sdgen-thumbnails failures"
            raise SettingsError("is not among the failed images", path=printable(unknown[0]), remedy=remedy)
        again = []
        for key in sorted(keys or known):
            place.catalog.drop_failure(key)
            outcome = place.reconciler.make_image_right(key, room=lambda _: contextlib.nullcontext())
            if outcome.kind is OutcomeKind.FAILED:
                again.append(key)
                typer.echo(f"✗ {printable(key)}: {printable(outcome.error or '')}", err=True)
    tried = len(keys or known)
    typer.echo(f"✓ {tried - len(again)} of {tried} images have their thumbnail now" if tried else "✓ No image failed")
    if again:
        raise typer.Exit(EXIT_FAILED)
