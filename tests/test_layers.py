"""The house: a room imports only from rooms below it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

_SPEC = importlib.util.find_spec("sdgen_thumbnail_plugin")
assert _SPEC is not None
assert _SPEC.origin is not None
PACKAGE = Path(_SPEC.origin).parent

HOUSE = (
    ("doors", ("__init__", "__main__", "plugin")),
    ("cli", ()),
    ("web", ()),
    ("demo", ()),
    ("hooks", ("generation",)),
    ("host", ()),
    ("daemon", ()),
    ("assembly", ("api", "project")),
    ("engine", ()),
    ("storage", ()),
    ("imaging", ()),
    ("ground", ("settings", "paths", "model", "errors", "text", "version", "config_file")),
)
"""The rooms from the top, and the modules of those that are no packages."""

ROOMS = [room for room, _ in HOUSE]

FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {
    "PIL",
    "numpy",
    "imagecodecs",
    "cykooz_resizer",
    "watchdog",
    "sqlite3",
    "starlette",
    "obstore",
    "psutil",
    "filelock",
    "pluggy",
}
"""Imported inside the function that needs them, or by a module that only such functions import."""


def module_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(PACKAGE).with_suffix("").parts


def room_of(parts: tuple[str, ...]) -> str:
    """The room that a module lies in; its own name where that is no room."""
    return next((room for room, modules in HOUSE if parts[0] in modules), parts[0])


def imports_of(path: Path) -> Iterator[tuple[str, ...]]:
    """The modules of ours that a file imports anywhere, as parts below the package."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == PACKAGE.name:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == PACKAGE.name and rest:
                yield tuple(rest)


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(module_of(path)))
def test_a_room_imports_only_from_itself_and_from_rooms_below(path: Path) -> None:
    here = room_of(module_of(path))
    assert here in ROOMS, f"{path.name} lies in no room: give it one here and in the design"
    for module in imports_of(path):
        there = room_of(module)
        assert ROOMS.index(there) >= ROOMS.index(here), f"{here} imports {'.'.join(module)}"


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {".".join(module_of(path)): {".".join(module) for module in imports_of(path)} for path in FILES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " imports ".join((*path, module))
        if module not in done:
            for other in sorted(graph.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize(
    "name", ["errors", "model", "paths", "text", "config_file", "storage.base", "storage.local", "engine.plan"]
)
def test_the_ground_is_cheap_to_import(name: str) -> None:
    tree = ast.parse((PACKAGE / (name.replace(".", "/") + ".py")).read_text("utf-8"))
    imported = {
        alias.name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    } | {node.module.split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
    assert not imported & (HEAVY | {"pydantic", "pydantic_settings", "typer", "rich", "logging", "asyncio"})


def test_host_can_be_deleted_once_sdgen_loads_plugins() -> None:
    users = {
        (".".join(module_of(path)), ".".join(module[:2]))
        for path in FILES
        if room_of(module_of(path)) != "host"
        for module in imports_of(path)
        if module[0] == "host"
    }
    contract = {("plugin", "host.hookspecs"), ("generation", "host.hookspecs")}
    assert {module for module, _ in users - contract} <= {"cli.doctor"}


def test_the_plan_knows_neither_disk_nor_clock() -> None:
    tree = ast.parse((PACKAGE / "engine" / "plan.py").read_text("utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not imported & {"os", "time", "pathlib", "random", "datetime", "logging"}


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert not {path.stem for path in FILES} & {"utils", "util", "helpers", "helper", "manager", "core", "common"}


@pytest.mark.parametrize("path", [path for path in FILES if path.stem != "__main__"], ids=lambda path: path.stem)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))
