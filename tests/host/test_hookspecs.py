"""The contract between sdgen and its plugins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import pluggy
import pytest

from sdgen_thumbnail_plugin.host import hookspecs
from sdgen_thumbnail_plugin.host.hookspecs import PROJECT_NAME, Project
from sdgen_thumbnail_plugin.host.plugins import Plugins

HOOKS = [name for name in hookspecs.__all__ if name.startswith("sdgen_")]


def test_pluggy_knows_every_hook() -> None:
    manager = pluggy.PluginManager(PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    assert sorted(name for name in vars(manager.hook) if not name.startswith("_")) == sorted(HOOKS)


def test_a_plugin_with_a_marker_of_its_own_does_not_need_this_package() -> None:
    seen: list[Project] = []

    def sdgen_webui_stop(project: Project) -> None:
        seen.append(project)

    plugin = ModuleType("plugin")
    vars(plugin)["sdgen_webui_stop"] = pluggy.HookimplMarker("sdgen")(sdgen_webui_stop)
    plugins = Plugins()
    assert plugins.add("one", lambda: plugin)
    project = Project(Path("/p"), Path("/p/results"), Path("/p/thumbnails"), {})
    plugins.webui_stop(project)
    assert seen == [project]


def test_a_plugin_cannot_change_the_project_of_the_others() -> None:
    project = Project(Path("/p"), Path("/p/results"), Path("/p/thumbnails"), {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        project.root = Path("/other")  # type: ignore[misc]
