"""The settings: defaults < ``sdgen_config.json`` < environment < flags.

``sdgen_config.json`` is the host's file. We read its ``output_dir`` and our own section ``"thumbnails"``, which may
hold any of the settings below. Paths in the file and the environment are relative to the folder of the file, those of
flags to the working directory.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sdgen_thumbnail_plugin.config_file import CONFIG_NAME, SECTION, read_config
from sdgen_thumbnail_plugin.errors import RootsError, SettingsError
from sdgen_thumbnail_plugin.model import MAX_PIXELS, Recipe
from sdgen_thumbnail_plugin.paths import DEBUG_VARIABLE, ENVIRONMENT_PREFIX, FAST_VARIABLE, HOME_VARIABLE
from sdgen_thumbnail_plugin.text import printable

_RECIPE = Recipe()
_NOT_SETTINGS = {DEBUG_VARIABLE, FAST_VARIABLE, HOME_VARIABLE}

ObserverChoice = Literal["auto", "native", "polling"]


class Settings(BaseModel):
    """All settings. Times are in seconds, sizes in pixels or bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source_dir: Path = Field(default=Path("results"), description="folder of the sessions")
    target_dir: Path = Field(default=Path("thumbnails"), description="folder of the thumbnails")
    height_px: int = Field(default=_RECIPE.height_px, ge=16, le=4096, description="thumbnail height, in pixels")
    quality: int = Field(default=_RECIPE.quality, ge=0, le=100, description="WebP quality, 0 to 100")
    method: int = Field(default=_RECIPE.method, ge=0, le=6, description="WebP effort, 0 (fast) to 6 (small)")
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, description="largest image taken, in pixels")
    memory_pixels: int = Field(default=64_000_000, ge=1, description="pixels decoded at once, in all workers together")
    workers: int | None = Field(
        default=None, ge=1, le=256, description="threads that make thumbnails; one per usable core"
    )
    observer: ObserverChoice = Field(default="auto", description="auto, native (inotify, FSEvents) or polling")
    polling_interval_s: float = Field(
        default=0.5, ge=0.05, le=3600, description="shortest pause between two polls, in seconds"
    )
    tick_interval_s: float = Field(
        default=1.0, ge=0.05, le=3600, description="shortest pause between two ticks, in seconds"
    )
    sweep_interval_s: float = Field(
        default=86_400.0, ge=1, description="time between two sweeps over every file, in seconds"
    )
    hold_back_count: int = Field(default=100, ge=0, description="orphans are kept if they are more than this many")
    hold_back_fraction: float = Field(default=0.2, ge=0, le=1, description="and more than this fraction of thumbnails")
    log_max_bytes: int = Field(default=2_000_000, ge=10_000, description="size at which the log is rotated, in bytes")
    log_backups: int = Field(default=3, ge=0, le=100, description="rotated logs kept")

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.height_px, self.quality, self.method)

    @property
    def worker_count(self) -> int:
        """The number of workers: the setting, else the number of cores that this process may use."""
        if self.workers is not None:
            return self.workers
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1


def load_settings(
    folder: Path | None = None, *, usual_folders: tuple[Path, Path] | None = None, **flags: Any
) -> Settings:
    """Loads the settings of a folder.

    Args:
        folder: the folder that may hold ``sdgen_config.json``; the working directory if None.
        usual_folders: default source and target folder, instead of ``results`` and ``thumbnails``.
        flags: values from the command line; None means not given. Paths are relative to the working directory.

    Returns:
        The settings, with absolute folders.

    Raises:
        SettingsError: an unknown name (with the nearest known one), a value out of range, an unreadable file.
    """
    base = (folder or Path.cwd()).absolute()
    stored = _settings_in(base / CONFIG_NAME)
    _check_environment()
    chosen = {name: value for name, value in flags.items() if value is not None}
    for name in ("source_dir", "target_dir"):
        if name in chosen:
            chosen[name] = Path.cwd() / chosen[name]
    # pydantic-settings would import asyncio, ssl and email into a process that lives for weeks.
    variables = {name: ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields}
    environment = {name: os.environ[variable] for name, variable in variables.items() if variable in os.environ}
    usual = dict(zip(("source_dir", "target_dir"), usual_folders or (), strict=False))
    try:
        settings = Settings(**(usual | stored | environment | chosen))
    except ValidationError as error:
        raise _explain(error, set(chosen), set(environment), base) from error
    return settings.model_copy(
        update={"source_dir": base / settings.source_dir, "target_dir": base / settings.target_dir}
    )


def _settings_in(path: Path) -> dict[str, Any]:
    """Our settings in the host's file; empty if it does not exist."""
    content = read_config(path)
    section = content.get(SECTION, {})
    if not isinstance(section, dict):
        raise SettingsError(f'"{SECTION}" must be an object: {{"{SECTION}": {{"height_px": 240}}}}', path=str(path))
    # The other keys are the host's, but a key that nearly has our section's name is a misspelt section.
    near = difflib.get_close_matches(SECTION, [key for key in content if key != SECTION], n=1, cutoff=0.85)
    if near:
        raise _unknown(near[0], [SECTION], str(path))
    for key in section:
        if key not in Settings.model_fields:
            raise _unknown(f"{SECTION}.{key}", [f"{SECTION}.{name}" for name in Settings.model_fields], str(path))
    found = dict(section)
    if "source_dir" not in found and "output_dir" in content:
        if not isinstance(content["output_dir"], str):
            raise SettingsError('"output_dir" must be a string', path=str(path))
        found["source_dir"] = content["output_dir"]
    return found


def _check_environment() -> None:
    known = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields} | _NOT_SETTINGS
    for name in os.environ:
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
            raise _unknown(name, known, "environment")


def _unknown(name: str, known: Iterable[str], place: str) -> SettingsError:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    meant = f", did you mean {near[0]!r}?" if near else ""
    return SettingsError(f"unknown setting {name!r}{meant}", path=place)


def flag_of(name: str) -> str:
    """The flag of a setting on the command line."""
    return f"--{name.removesuffix('_s').replace('_', '-')}"


def _explain(error: ValidationError, flags: set[str], environment: set[str], base: Path) -> SettingsError:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "?"
    if name in flags:
        place, shown = "command line", flag_of(name)
    elif name in environment:
        place, shown = "environment", ENVIRONMENT_PREFIX + name.upper()
    else:
        place, shown = str(base / CONFIG_NAME), f"{SECTION}.{name}"
    return SettingsError(f"{shown}: {first['msg'].lower()}, not {first['input']!r}", path=place)


def check_roots(settings: Settings, *, must_exist: bool = True) -> None:
    """Checks that the source and target folder are usable: readable folders, neither inside the other.

    Args:
        settings: settings with absolute folders.
        must_exist: whether a missing source folder is an error too.

    Raises:
        RootsError: a folder is not usable; it names the folder and the remedy.
    """
    for path in (settings.source_dir, settings.target_dir):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass
        except (OSError, ValueError) as error:  # a null character, a lone surrogate, too long, a loop of links
            what = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "not a valid name"
            raise RootsError(f"cannot be used: {what}", path=printable(str(path))) from error
    source, target = (Path(os.path.realpath(path)) for path in (settings.source_dir, settings.target_dir))
    if source == target:
        raise RootsError("is both the source and the target folder", path=str(source))
    if source in target.parents:
        raise RootsError(f"lies inside the source folder {source}: thumbnails of thumbnails", path=str(target))
    if target in source.parents:
        raise RootsError(f"lies inside the target folder {target}", path=str(source))
    for path, what in ((source, "source"), (target, "target")):
        if path.exists() and not path.is_dir():
            raise RootsError(f"is not a folder, so it cannot be the {what}", path=str(path))
    if source.exists():
        if not os.access(source, os.R_OK | os.X_OK):
            raise RootsError("cannot be read", path=str(source), remedy="check its permissions")
    elif must_exist:
        remedy = "generate some images first, or name the folder with --source-dir"
        raise RootsError("is missing", path=str(source), remedy=remedy)
