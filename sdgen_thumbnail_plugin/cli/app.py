"""``sdgen-thumbnails``: the application that holds all commands."""

from __future__ import annotations

from typing import Annotated

import typer

from sdgen_thumbnail_plugin.cli import catchup, clean, doctor, failures, logs, service, showcase, status, watch
from sdgen_thumbnail_plugin.cli.edge import EdgeGroup
from sdgen_thumbnail_plugin.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="thumbnails",
    cls=EdgeGroup,
    help="Keeps a WebP thumbnail for every PNG that sdgen generates.",
    epilog="Example: sdgen-thumbnails start && sdgen-thumbnails status",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sdgen-thumbnails {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keeps a WebP thumbnail for every PNG that sdgen generates."""


for module in (service, status, watch, catchup, logs, failures, clean, doctor, showcase):
    module.register(app)


def main() -> None:
    """The console script."""
    app(prog_name="sdgen-thumbnails")
