"""The contract between sdgen and its plugins.

A plugin is a module (or any object) named by an entry point of the group ``sdgen``. It implements any of the hooks,
marked with ``hookimpl``, and takes those of the parameters that it needs. ``docs/hooks.md`` documents them for authors.

Whatever a plugin raises goes to the log with the plugin's name; the other plugins and sdgen continue.
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
    """The project that sdgen works on. All paths are absolute.

    Attributes:
        root: the folder that holds ``sdgen_config.json``, which is the working directory.
        output_dir: the folder of the sessions; it may not exist yet.
        target_dir: the folder of the thumbnails; it may not exist yet.
        config: the content of ``sdgen_config.json``; empty if the file does not exist or cannot be read.
    """

    root: Path
    output_dir: Path
    target_dir: Path
    config: Mapping[str, Any]


@hookspec
def sdgen_register_commands(app: typer.Typer) -> None:
    """Adds commands, or groups of commands, to ``sdgen``.

    Fires once in every ``sdgen`` process, after sdgen has registered its own commands and before it reads its
    arguments, so it must be quick. If it raises, the plugin's commands are missing.

    Args:
        app: the application behind ``sdgen``.
    """


@hookspec
def sdgen_webui_start(project: Project) -> None:
    """Starts services that accompany the web UI.

    Fires while ``sdgen webui start`` starts its services, and in the second half of ``sdgen webui restart``. sdgen
    waits for it. If it raises, the web UI starts without it.

    Args:
        project: the project of the web UI.
    """


@hookspec
def sdgen_webui_stop(project: Project) -> None:
    """Stops what ``sdgen_webui_start`` started.

    Fires while ``sdgen webui stop`` stops its services, and in the first half of ``sdgen webui restart``, even if
    nothing was started. sdgen waits for it. If it raises, sdgen still stops the rest.

    Args:
        project: the project in the folder where the command was run.
    """


@hookspec
def sdgen_image_saved(project: Project, session_dir: Path, image: Path) -> None:
    """``sdgen generate`` has written a whole image.

    Fires after each write: again, from another thread, when the annotator has overwritten the image, which may be
    after ``sdgen_generate_finished``. sdgen waits for it, so work belongs in a thread. If it raises, the generation
    continues.

    Args:
        project: the project.
        session_dir: the session's folder, absolute.
        image: the image's path, absolute.
    """


@hookspec
def sdgen_generate_finished(project: Project, session_dir: Path | None, images: Sequence[Path]) -> None:
    """``sdgen generate`` ends: it is finished, has failed, or is interrupted.

    Fires once, just before the command returns or its exception (a ``SystemExit``, for example) propagates. sdgen waits
    for it. If it raises, the command ends as it would have.

    Args:
        project: the project.
        session_dir: the session's folder, absolute; None if no image was written, as in a dry run.
        images: the images written, absolute paths in the order of their first write, without duplicates.
    """
