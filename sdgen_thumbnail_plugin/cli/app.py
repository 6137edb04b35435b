"""``sdgen-thumbnails``: the application that holds all commands, and the boundary at which errors become exit codes.

What help says about the commands is in a table, and the module of a command is loaded when that command is called. So
mounting the application in another one costs next to nothing, and every command imports what it needs at its top.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from sdgen_thumbnail_plugin.daemon.logs import LOGGER_NAME
from sdgen_thumbnail_plugin.errors import NotRunningError, SettingsError, ThumbnailError
from sdgen_thumbnail_plugin.paths import DEBUG_VARIABLE
from sdgen_thumbnail_plugin.text import PROGRAM, as_typed, printable_lines, typed_as
from sdgen_thumbnail_plugin.version import __version__

COMMANDS = {
    "start": "Start the watcher in the background; returns when it is watching.",
    "stop": "Stop the watcher; images being made are finished. With folders named: only if it watches those.",
    "restart": "Stop the watcher if it runs, then start it.",
    "status": "Show what the watcher is doing. Exit code 0: healthy, 3: not running, 4: stalled or degraded.",
    "watch": "Watch in the foreground until Ctrl+C.",
    "catchup": "Make every thumbnail that is missing or stale, then exit. Exit code 1 if an image failed.",
    "logs": "Show the watcher's log.",
    "failures": "Show the images that have no thumbnail because they cannot be shown, and why.",
    "retry": "Try failed images again, now. Exit code 1 if one fails again.",
    "clean": "Delete the thumbnails whose image is gone. Nothing else is ever deleted.",
    "doctor": "Look for what could keep thumbnails from being made. Exit code 1 if something is wrong.",
    "demo": "Show the main job with drawn images: no sdgen, no network, under 30 seconds.",
}
"""Every command and its help, in the order in which help lists them. Its function has its name, and an example as its
docstring; it is in the module of this name, or in the one below."""

_MODULES = {"start": "service", "stop": "service", "restart": "service", "retry": "failures"}

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_TROUBLED = 4
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def say(text: str, *, err: bool = False) -> None:
    """Prints a text of ours, in which this program has the name under which it was typed.

    Args:
        text: calls the program ``sdgen-thumbnails``.
        err: whether it goes to stderr.
    """
    typer.echo(as_typed(text), err=err)


def print_document(**content: Any) -> None:
    """Prints the JSON document of a command, for scripts."""
    typer.echo(json.dumps({"schema": 1, **content}))


# Usage errors, exits and aborts. Newer typers bring their own copy of click, so the classes are found by inheritance.
_TYPERS_OWN = (typer.Exit, typer.Abort, typer.BadParameter.__mro__[2])


class CommandGroup(typer.core.TyperGroup):
    """The group of all commands: one or two lines on stderr and an exit code for every error, never a traceback.

    A ``ctx`` here is a ``click.Context``, from click or from the copy that typer brings.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # These stand in for the commands in help, suggestions and completion.
        self.commands = {name: typer.core.TyperCommand(name, help=text) for name, text in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, self._loaded(ctx, name) if name in COMMANDS else command, rest

    def _loaded(self, ctx: Any, name: str) -> Any:
        module = importlib.import_module(f"sdgen_thumbnail_plugin.cli.{_MODULES.get(name, name)}")
        function = getattr(module, name)
        alone = typer.Typer(rich_markup_mode=self.rich_markup_mode)
        example = as_typed(function.__doc__ or "", _typed_name(ctx))
        alone.command(name, help=COMMANDS[name], epilog=example)(function)
        return typer.main.get_group(alone).commands[name]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.epilog = as_typed("Example: sdgen-thumbnails start && sdgen-thumbnails status", _typed_name(ctx))
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        with typed_as(_typed_name(ctx)), _interrupts_raised():
            if os.environ.get(DEBUG_VARIABLE):
                return super().invoke(ctx)
            try:
                return super().invoke(ctx)
            except ThumbnailError as error:
                _say_error(str(error), error.remedy)
                code = EXIT_NOT_RUNNING if isinstance(error, NotRunningError) else EXIT_FAILED
                ctx.exit(EXIT_USAGE if isinstance(error, SettingsError) else code)
            except BrokenPipeError:
                # The reader of our output (head, less) has seen enough; there is nowhere left to say anything.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                ctx.exit(EXIT_FAILED)
            except KeyboardInterrupt:
                typer.echo("", err=True)
                ctx.exit(EXIT_INTERRUPTED)
            except Exception as error:
                if isinstance(error, _TYPERS_OWN):
                    raise
                # A bug of ours is reported like every other error.
                remedy = f"please report it, with {DEBUG_VARIABLE}=1 set"
                _say_error(f"unexpected: {type(error).__name__}: {error}", remedy)
                ctx.exit(EXIT_FAILED)


def _typed_name(ctx: Any) -> str:
    """How this program was called: by its own name, or as the command of another application that it is mounted in."""
    return PROGRAM if ctx.parent is None else str(ctx.command_path)


@contextlib.contextmanager
def _interrupts_raised() -> Iterator[None]:
    """While a command of ours runs, Ctrl+C raises ``KeyboardInterrupt``.

    sdgen sets a handler of its own when it is imported, which ends the process with exit code 0. It is in place again
    afterwards. An ignored signal stays ignored: then the command was started in the background.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _say_error(message: str, remedy: str) -> None:
    colour = None if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else False
    for heading, hue, text in (("error: ", "red", message), ("  fix: ", "green", remedy)):
        if text:
            styled = typer.style(heading, fg=hue, bold=hue == "red")
            typer.echo(styled + printable_lines(as_typed(text)), err=True, color=colour)


app = typer.Typer(
    name="thumbnails",
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keeps a WebP thumbnail for every PNG that sdgen generates."""
    # The engine logs for the watcher's log; commands have words of their own.
    logging.getLogger(LOGGER_NAME).addHandler(logging.NullHandler())


def main() -> None:
    """The console script."""
    app(prog_name=PROGRAM)
