"""The contract between sdgen and its plugins.

A plugin is a module (or any object) that an entry point of the group ``sdgen`` names. It implements the hooks that it
wants, each marked with ``hookimpl``, with those of the parameters that it needs. Documented for authors in
``docs/hooks.md``.

Whatever a plugin raises is written to the log, with the plugin's name; the other plugins and sdgen itself go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import typer

__all__ = [
    "ENTRY_POINT_GROUP",
    "PROJECT_NAME",
    "Project",
    "hookimpl",
    "hookspec",
    "sdgen_generate_finished",
    "sdgen_image_saved",
    "sdgen_register_commands",
    "sdgen_webui_start",
    "sdgen_webui_stop",
]

PROJECT_NAME = "sdgen"
ENTRY_POINT_GROUP = "sdgen"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@dataclass(frozen=True, slots=True)
class Project:
    """The project that sdgen works on at this moment. All paths are absolute.

    Attributes:
        root: the folder that holds ``sdgen_config.json``, which is the working directory.
        output_dir: where sessions are written; it need not exist yet.
        target_dir: where thumbnails are kept; it need not exist yet.
        config: the content of ``sdgen_config.json`` as it was read; empty where there is none that can be read.
    """

    root: Path
    output_dir: Path
    target_dir: Path
    config: Mapping[str, Any]


@hookspec
def sdgen_register_commands(app: typer.Typer) -> None:
    """Adds commands, or groups of commands, to ``sdgen``.

    Fires once in every ``sdgen`` process, after sdgen has registered its own commands and before it reads its
    arguments; so it has to be quick. A raise: the plugin's commands are missing.

    Args:
        app: the application behind ``sdgen``.
    """


@hookspec
def sdgen_webui_start(project: Project) -> None:
    """Starts what belongs to the web UI.

    Fires while ``sdgen webui start`` starts its services, and in the second half of ``sdgen webui restart``. sdgen
    waits for it. A raise: the web UI starts without it.

    Args:
        project: the project whose web UI it is.
    """


@hookspec
def sdgen_webui_stop(project: Project) -> None:
    """Ends what ``sdgen_webui_start`` started.

    Fires while ``sdgen webui stop`` stops its services, and in the first half of ``sdgen webui restart``; also where
    nothing was started. sdgen waits for it. A raise: the rest is stopped all the same.

    Args:
        project: the project in whose folder the command was given.
    """


@hookspec
def sdgen_image_saved(project: Project, session_dir: Path, image: Path) -> None:
    """An image was written, whole, by ``sdgen generate``.

    Fires after each write: once more, from another thread, when the annotator has overwritten the image, and that even
    after ``sdgen_generate_finished`` where the annotator came late. sdgen waits for it, so work belongs into a thread.
    A raise: the generation goes on.

    Args:
        project: the project.
        session_dir: the session's folder, absolute.
        image: the image's path, absolute.
    """


@hookspec
def sdgen_generate_finished(project: Project, session_dir: Path | None, images: Sequence[Path]) -> None:
    """``sdgen generate`` is at its end, however it ends: finished, failed, or interrupted.

    Fires once, just before the command returns (or its error, or its ``SystemExit``, goes on). sdgen waits for it. A
    raise: the command ends as it would have.

    Args:
        project: the project.
        session_dir: the session's folder, absolute; None where no image was written, as in a dry run.
        images: the images written, absolute paths in the order of their first write, none twice.
    """
