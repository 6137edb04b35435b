"""The edge: where errors become one or two lines on stderr and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
import typer.core

from sdgen_thumbnail_plugin.errors import NotRunningError, SettingsError, ThumbnailError
from sdgen_thumbnail_plugin.paths import DEBUG_VARIABLE
from sdgen_thumbnail_plugin.text import printable_lines

__all__ = [
    "EXIT_FAILED",
    "EXIT_NOT_RUNNING",
    "EXIT_TROUBLED",
    "EXIT_USAGE",
    "EdgeGroup",
    "exit_code_of",
]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_TROUBLED = 4


def exit_code_of(error: ThumbnailError) -> int:
    """1 for what failed, 2 for what was asked wrongly, 3 for a watcher that is not there."""
    if isinstance(error, SettingsError):
        return EXIT_USAGE
    return EXIT_NOT_RUNNING if isinstance(error, NotRunningError) else EXIT_FAILED


# Usage errors, exits and aborts. Newer typers bring their own copy of click, so the classes are found by inheritance.
_TYPERS_OWN = (typer.Exit, typer.Abort, typer.BadParameter.__mro__[2])


class EdgeGroup(typer.core.TyperGroup):
    """A group of commands whose errors are told in words, alone or mounted in another application."""

    def invoke(self, ctx: Any) -> Any:  # a click.Context, from click or from the copy that typer brings
        if os.environ.get(DEBUG_VARIABLE):
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except ThumbnailError as error:
            _tell(str(error), error.remedy)
            ctx.exit(exit_code_of(error))
        except BrokenPipeError:
            # Whoever read our output (head, less) has seen enough; there is nowhere left to say anything.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_FAILED)
        except KeyboardInterrupt:
            typer.echo("", err=True)
            ctx.exit(130)
        except Exception as error:
            if isinstance(error, _TYPERS_OWN):
                raise
            # A bug of ours is told like every other error.
            _tell(f"unexpected: {type(error).__name__}: {error}", f"please report it, with {DEBUG_VARIABLE}=1 set")
            ctx.exit(EXIT_FAILED)


def _tell(message: str, remedy: str) -> None:
    colour = None if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else False
    text = printable_lines(message)  # paths in it may be called anything
    typer.echo(typer.style("error: ", fg="red", bold=True) + text, err=True, color=colour)
    if remedy:
        typer.echo(typer.style("  fix: ", fg="green") + printable_lines(remedy), err=True, color=colour)
