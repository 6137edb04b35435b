"""The documentation says what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from sdgen_thumbnail_plugin.cli.app import COMMANDS
from sdgen_thumbnail_plugin.sdgen import STARTUP_FILES, hookspecs
from sdgen_thumbnail_plugin.sdgen.plugins import Plugins

ROOT = Path(__file__).parent.parent
HOOKS = [name for name in vars(hookspecs) if name.startswith("sdgen_")]
PAGE = (ROOT / "docs" / "hooks.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
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
        assert re.search(r"A\s+raise:", text), "what a raise does"
    for parameter in inspect.signature(function).parameters:
        assert f"{parameter}: " in (inspect.getdoc(function) or "")
        assert f"- `{parameter}`: " in section
    assert "```python" in section, "an example"
    assert "Used here" in section, "who uses it"


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test(hook: str) -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests" / "sdgen").glob("test_*.py"))
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
    for name in (*STARTUP_FILES, "SDGEN_PLUGINS=0", "pip uninstall sdgen-thumbnail-plugin"):
        assert name in README
