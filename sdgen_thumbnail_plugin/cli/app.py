"""``sdgen-thumbnails``: the application that holds all commands. Each one's module is loaded when it is asked for, so
that mounting the whole in another application costs next to nothing."""

from __future__ import annotations

import importlib
import logging
from typing import Annotated, Any

import typer
import typer.main

from sdgen_thumbnail_plugin.cli.edge import EdgeGroup
from sdgen_thumbnail_plugin.daemon.logs import LOGGER_NAME
from sdgen_thumbnail_plugin.version import __version__

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = {
    "start": "service",
    "stop": "service",
    "restart": "service",
    "status": "status",
    "watch": "watch",
    "catchup": "catchup",
    "logs": "logs",
    "failures": "failures",
    "retry": "failures",
    "clean": "clean",
    "doctor": "doctor",
    "demo": "demo",
}
"""Every command, in the order in which help lists them, and the module that registers it."""


class CommandGroup(EdgeGroup):
    """The group of all commands."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the same in every click
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # For a name that is not known, all are loaded: the nearest ones are then suggested.
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self._load(COMMANDS[name])
        return super().get_command(ctx, cmd_name)

    def _load(self, module: str) -> None:
        part = typer.Typer(rich_markup_mode=self.rich_markup_mode)
        importlib.import_module(f"sdgen_thumbnail_plugin.cli.{module}").register(part)
        self.commands.update(typer.main.get_group(part).commands)


app = typer.Typer(
    name="thumbnails",
    cls=CommandGroup,
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
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keeps a WebP thumbnail for every PNG that sdgen generates."""
    # What the engine logs is for the watcher's log; commands say it in their own way.
    logging.getLogger(LOGGER_NAME).addHandler(logging.NullHandler())


def main() -> None:
    """The console script."""
    app(prog_name="sdgen-thumbnails")
