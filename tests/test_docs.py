"""The documentation says what the code does."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import sdgen_thumbnail_plugin
from sdgen_thumbnail_plugin.cli.app import COMMANDS
from sdgen_thumbnail_plugin.host import OFF_VARIABLE, STARTUP_FILES, bridge, hookspecs
from sdgen_thumbnail_plugin.host.plugins import BLOCK_VARIABLE, Plugins
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.settings import Settings

ROOT = Path(__file__).parents[1]
"""The checkout, or the unpacked sdist: the wheel holds no documentation."""

HOOKS = [name for name in vars(hookspecs) if name.startswith("sdgen_")]
PAGE = (ROOT / "docs" / "hooks.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
INTEGRATION = (ROOT / "docs" / "host-integration.md").read_text("utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_hook_has_a_heading_that_is_its_signature() -> None:
    headings = re.findall(r"^## `(.+)`$", PAGE, re.MULTILINE)
    signatures = [f"{name}({', '.join(inspect.signature(getattr(hookspecs, name)).parameters)})" for name in HOOKS]
    assert headings == signatures


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_where_it_is_specified_and_on_its_page(hook: str) -> None:
    function = getattr(hookspecs, hook)
    section = PAGE.split(f"## `{hook}(")[1].split("\n## ")[0]
    for text in (inspect.getdoc(function) or "", section):
        assert "Fires" in text, "when it fires"
        assert re.search(r"If\s+it\s+raises,", text), "what happens if it raises"
    for parameter in inspect.signature(function).parameters:
        assert f"{parameter}: " in (inspect.getdoc(function) or "")
        assert f"- `{parameter}`: " in section
    assert "```python" in section, "an example"
    assert "Used here" in section, "who uses it"


def test_the_project_is_documented_with_all_its_attributes() -> None:
    section = PAGE.split("\n## The project\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert documented == [field.name for field in dataclasses.fields(hookspecs.Project)]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test(hook: str) -> None:
    tests = "".join(
        path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py") if path.name != "test_docs.py"
    )
    assert re.search(rf"^def test_{hook}_\w+\(", tests, re.MULTILINE)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run_and_their_hooks_are_accepted(number: int) -> None:
    plugin = ModuleType("example")
    exec(compile(EXAMPLES[number], f"example {number}", "exec", dont_inherit=True), vars(plugin))
    manager = Plugins()
    assert manager.add("example", lambda: plugin), manager.failures
    assert any(name in vars(plugin) for name in HOOKS)


def test_the_readme_names_every_command_and_what_is_installed() -> None:
    for command in COMMANDS:
        assert f"| `{command}` |" in README
    switches = (f"{OFF_VARIABLE}=0", f"{BLOCK_VARIABLE}={bridge.OUR_NAME}")
    for name in (*STARTUP_FILES, *switches, "pip uninstall sdgen-thumbnail-plugin"):
        assert name in README


def test_the_bridge_touches_the_six_places_of_the_table() -> None:
    section = INTEGRATION.split("\n## What the bridge touches\n")[1].split("\n## ")[0]
    places = [place.rpartition(".")[2] for place in re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)]
    code = inspect.getsource(bridge.Bridge)
    for place in places:
        assert re.search(rf'[."]{place}"', code)
    assert len(set(places)) == 6


def test_a_host_that_adopts_the_hooks_finds_every_call_and_the_mark() -> None:
    assert f"`{bridge.NATIVE_MARK}`" in INTEGRATION
    for hook in HOOKS:
        method = hook.removeprefix("sdgen_")
        parameters = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
        assert list(inspect.signature(getattr(Plugins, method)).parameters) == ["self", *parameters.split(", ")]
        assert f"| `{bridge.NATIVE_MARK}.{method}({parameters})` |" in INTEGRATION


def test_the_configuration_page_names_every_file_and_switch() -> None:
    home = Home(Path("/home"))
    for path in (
        home.pid_file,
        home.log_file,
        home.lock_file,
        home.state_file,
        home.reported_file,
        home.build_locks_file,
    ):
        assert f"| `{path.relative_to(home.root).as_posix()}` |" in CONFIGURATION
    for variable in (OFF_VARIABLE, BLOCK_VARIABLE):
        assert f"| `{variable}` |" in CONFIGURATION


def test_the_configuration_page_lists_every_setting_with_its_default() -> None:
    section = CONFIGURATION.split("\n## Settings\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE))
    assert list(rows) == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, (int, float)):
            assert float(rows[name]) == field.default


def test_the_architecture_page_names_every_module_in_its_room() -> None:
    package = Path(str(sdgen_thumbnail_plugin.__file__)).parent
    modules = {path.relative_to(package).as_posix().removesuffix(".py") for path in package.rglob("*.py")}
    rows = re.findall(r"^\| (\S*) ?\| ((?:`\w+`(?:, )?)+) \|", ARCHITECTURE, re.MULTILINE)
    named: set[str] = set()
    room = ""
    for cell, names in rows:
        room = cell.strip("`") or room
        folder = room if room.endswith("/") else ""
        named.update(folder + name for name in re.findall(r"`(\w+)`", names))
    assert named == {module for module in modules if not module.endswith("/__init__")}


def test_the_reliability_page_says_in_which_file_each_group_of_promises_is_tested() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "docs" / "reliability.md").read_text("utf-8"))
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "faults").glob("test_*.py")]
    assert sorted(named) == sorted(files)
