"""How flags become settings, and settings an open project."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.cli.options import chosen_project, watcher_settings
from sdgen_thumbnail_plugin.errors import RootsError, SettingsError
from support.project import Project


def test_flags_that_are_not_given_leave_the_settings_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDGEN_THUMBNAILS_WORKERS", "3")
    assert watcher_settings().workers == 3
    assert watcher_settings(workers=2).workers == 2
    assert watcher_settings().source_dir == project.results


def test_a_watcher_may_begin_before_its_source_is_there_and_a_command_may_not(project: Project) -> None:
    missing = Path("not-there")
    assert watcher_settings(source_dir=missing).source_dir == project.root / missing
    with pytest.raises(RootsError, match="is missing"):
        chosen_project(source_dir=missing)


def test_a_flag_that_is_wrong_is_named_as_it_was_typed() -> None:
    with pytest.raises(SettingsError, match="--polling-interval"):
        watcher_settings(polling_interval_s=-1.0)


@pytest.mark.usefixtures("project")
def test_folders_inside_each_other_are_refused() -> None:
    with pytest.raises(RootsError, match="lies inside the source folder"):
        watcher_settings(source_dir=Path("results"), target_dir=Path("results/thumbnails"))


def test_the_project_of_the_flags_is_open_until_the_context_ends(project: Project) -> None:
    with chosen_project(target_dir=Path("elsewhere"), workers=1) as opened:
        assert opened.settings.workers == 1
        assert opened.target.location == str(project.root / "elsewhere")
