"""Loads the installed plugins, and calls each of their hooks through a typed method.

A failing plugin affects only itself: its error goes to the log with the plugin's name, and the others continue.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from sdgen_thumbnail_plugin.host import are_switched_off, hookspecs
from sdgen_thumbnail_plugin.host.hookspecs import ENTRY_POINT_GROUP, PROJECT_NAME, Project

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

    import typer


BLOCK_VARIABLE = "SDGEN_PLUGINS_BLOCK"
"""The environment variable with the names of plugins that are not loaded, separated by commas."""


class Plugins:
    """The loaded plugins.

    Attributes:
        failures: one line for each plugin that could not be loaded and each hook that raised: name and reason.
    """

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._manager = pluggy.PluginManager(PROJECT_NAME)
        self._manager.add_hookspecs(hookspecs)

    # -- loading

    def add(self, name: str, load: Callable[[], object]) -> bool:
        """Loads, validates and registers a plugin. A hook that does not exist makes it invalid.

        Returns:
            whether it is registered.
        """
        if self._manager.has_plugin(name):
            self._failed(name, "cannot be loaded", ValueError("another plugin has this name"))
            return False
        try:
            plugin = load()
            hash(plugin)  # pluggy keeps plugins in sets, and would fail in the middle of a call
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except (Exception, SystemExit) as error:
            plugin = self._manager.get_plugin(name)
            if plugin is not None:
                self._manager.unregister(plugin)
            self._failed(name, "cannot be loaded", error)
            return False
        return True

    def names(self) -> list[str]:
        """The names of the registered plugins, sorted."""
        return sorted(name for name, plugin in self._manager.list_name_plugin() if plugin is not None)

    # -- the hooks

    def register_commands(self, app: typer.Typer) -> None:
        self._call("sdgen_register_commands", app=app)

    def webui_start(self, project: Project) -> None:
        self._call("sdgen_webui_start", project=project)

    def webui_stop(self, project: Project) -> None:
        self._call("sdgen_webui_stop", project=project)

    def image_saved(self, project: Project, session_dir: Path, image: Path) -> None:
        self._call("sdgen_image_saved", project=project, session_dir=session_dir, image=image)

    def generate_finished(self, project: Project, session_dir: Path | None, images: Sequence[Path]) -> None:
        self._call("sdgen_generate_finished", project=project, session_dir=session_dir, images=images)

    def _call(self, hook: str, **arguments: Any) -> None:
        """Calls a hook of each plugin separately, in pluggy's order: in one call, the first raise would end it."""
        plugins = self._manager.get_plugins()
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            others = plugins - {implementation.plugin}
            try:
                self._manager.subset_hook_caller(hook, others)(**arguments)
            except Exception as error:
                self._failed(implementation.plugin_name, f"failed in {hook}", error)

    def _failed(self, name: str, what: str, error: BaseException) -> None:
        text = f"plugin {name} {what}: {type(error).__name__}: {error}"
        self.failures.append(text)
        write_to_log(text, error)


def load_plugins() -> Plugins:
    """Loads all installed plugins except those that the environment blocks."""
    plugins = Plugins()
    if not are_switched_off():
        blocked = {name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(",")}
        for entry_point in installed_plugins():
            if entry_point.name not in blocked:
                plugins.add(entry_point.name, entry_point.load)
    return plugins


def installed_plugins() -> list[EntryPoint]:
    """The entry points of the plugins that are installed, sorted by name.

    Of two with the same name, and of two versions of one package, the first on ``sys.path`` counts, as it does for
    imports. Packages with unreadable metadata are skipped, one by one: ``importlib.metadata.entry_points`` would raise
    and find no plugin at all.
    """
    from importlib.metadata import distributions

    found: dict[str, EntryPoint] = {}
    for distribution in distributions():
        try:
            entry_points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        except Exception:  # undecodable, or not in the format
            continue
        if entry_points and not _is_shadowed(distribution):
            for entry_point in entry_points:
                found.setdefault(entry_point.name, entry_point)
    return [found[name] for name in sorted(found)]


def _is_shadowed(distribution: Distribution) -> bool:
    """Whether another version of the package comes before this one on ``sys.path``."""
    from importlib import metadata

    try:
        first = metadata.distribution(distribution.metadata["Name"])
    except Exception:  # its metadata lacks the name
        return False
    return first.locate_file("") != distribution.locate_file("")


def write_to_log(text: str, error: BaseException | None = None) -> None:
    """Writes a line to the log that ``sdgen thumbnails logs`` shows, with the traceback of an error. Never raises."""
    from sdgen_thumbnail_plugin.daemon.logs import log_error  # only failures need logging

    log_error(text, error)
