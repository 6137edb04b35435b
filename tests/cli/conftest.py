"""What the tests of commands share: a project of two sessions, and a way to run a command in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdgen_thumbnail_plugin.cli.app import app
from sdgen_thumbnail_plugin.paths import HOME_VARIABLE
from support.project import Project

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two sessions with an image each; commands run in its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / ".sdgen"))
    project = Project(tmp_path)
    project.image("20251110_151059-a/1.png")
    project.image("20251111_151059-b/2.png")
    return project


@pytest.fixture
def run() -> Run:
    """Runs a command with its arguments; returns its exit code and everything it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, list(arguments))
        assert "Traceback" not in result.output
        return result.exit_code, result.output

    return run


@pytest.fixture(params=["", "lost+found", ".Trash-1000", "System Volume Information", "somebody's/papers"])
def without_images(project: Project, run: Run, request: pytest.FixtureRequest) -> Project:
    """A project whose source is not there, but another folder is, in which there is this folder at most."""
    run("catchup")
    project.results.rename(project.root / "elsewhere")
    (project.results / request.param).mkdir(parents=True)
    return project
