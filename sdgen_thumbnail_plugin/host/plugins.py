"""The plugins that are there: loads them, and calls each of their hooks by a typed method.

One plugin's failure is its own: it is written to the log with the plugin's name, and everybody else goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from sdgen_thumbnail_plugin.host import hookspecs
from sdgen_thumbnail_plugin.host.entry_points import find_entry_points
from sdgen_thumbnail_plugin.host.hookspecs import ENTRY_POINT_GROUP, PROJECT_NAME, Project

if TYPE_CHECKING:
    import typer

__all__ = ["BLOCK_VARIABLE", "OFF_VARIABLE", "Plugins", "are_switched_off", "load_plugins", "write_to_log"]

OFF_VARIABLE = "SDGEN_PLUGINS"
"""``0`` switches all plugins off."""

BLOCK_VARIABLE = "SDGEN_PLUGINS_BLOCK"
"""Names of plugins, separated by commas, that are not loaded."""


class Plugins:
    """The loaded plugins.

    Attributes:
        failures: what could not be loaded, or raised, as a person reads it: plugin's name and reason.
    """

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._manager = pluggy.PluginManager(PROJECT_NAME)
        self._manager.add_hookspecs(hookspecs)

    # -- loading

    def add(self, name: str, load: Callable[[], object]) -> bool:
        """Loads and registers one plugin, and validates it: a hook that does not exist is a mistake, not a wish.

        Returns:
            whether it is registered now.
        """
        if self._manager.has_plugin(name):
            self._failed(name, "cannot be loaded", ValueError("another one has its name"))
            return False
        try:
            plugin = load()
            hash(plugin)  # pluggy keeps plugins in sets, and would fail over it in the middle of a call
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
        """Calls a hook of each plugin by itself, in pluggy's order: in one call, the first raise would end it."""
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


def are_switched_off() -> bool:
    """Whether the environment switches all plugins off."""
    return os.environ.get(OFF_VARIABLE) == "0"


def load_plugins(*, blocked: Iterable[str] = ()) -> Plugins:
    """All installed plugins, but those that the environment or the caller blocks.

    Args:
        blocked: names of plugins that are not loaded, beside those in ``SDGEN_PLUGINS_BLOCK``.
    """
    plugins = Plugins()
    if not are_switched_off():
        named = {name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(",")} | set(blocked)
        for entry_point in find_entry_points(ENTRY_POINT_GROUP):
            if entry_point.name not in named:
                plugins.add(entry_point.name, entry_point.load)
    return plugins


def write_to_log(text: str, error: BaseException | None = None) -> None:
    """A line in the log that ``sdgen thumbnails logs`` shows, with the traceback of an error. Never raises."""
    try:
        import logging

        from sdgen_thumbnail_plugin.daemon.logs import LOGGER_NAME, log_beside_the_watcher
        from sdgen_thumbnail_plugin.paths import find_home

        log_beside_the_watcher(find_home().log_file)
        logging.getLogger(LOGGER_NAME).error("✗ %s", text, exc_info=error)
    except Exception:  # there is nowhere left to say it
        pass
