"""``doctor``: what could keep thumbnails from being made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdgen_thumbnail_plugin.cli import doctor
from sdgen_thumbnail_plugin.daemon import observers
from sdgen_thumbnail_plugin.host import STARTUP_FILES
from sdgen_thumbnail_plugin.settings import Settings
from support.project import Project

Run = Callable[..., tuple[int, str]]


def test_doctor_has_nothing_to_complain_about(project: Project, run: Run) -> None:
    code, output = run("doctor")
    assert code == 0
    assert "WebP" in output
    assert "observer" in output


def test_doctor_fails_on_roots_that_overlap(project: Project, run: Run) -> None:
    assert run("doctor", "--target-dir", "results/thumbnails")[0] == 1


def settings_of(project: Project) -> Settings:
    return Settings(source_dir=project.results, target_dir=project.thumbnails)


def test_doctor_for_scripts_prints_json_alone(project: Project, run: Run) -> None:
    checks = json.loads(run("doctor", "--json")[1])["checks"]
    assert {"Python", "Pillow", "source", "thumbnails", "observer", "home", "watcher", "sdgen"} <= {
        check["name"] for check in checks
    }
    assert all(check["well"] == (check["remedy"] == "") for check in checks)


def test_a_folder_is_writable_if_it_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._check_writable("home", tmp_path).finding == f"{tmp_path} can be written"
    below = tmp_path / "a" / "b"
    assert doctor._check_writable("home", below).finding == f"{below} will be made"
    monkeypatch.setattr(os, "access", lambda *_: False)
    refused = doctor._check_writable("home", below)
    assert (refused.well, refused.fatal, refused.finding) == (False, True, f"{tmp_path} cannot be written")


@pytest.mark.parametrize(("allowed", "well"), [(8192, True), (4, False)])
def test_inotify_needs_watches_for_all_directories_and_as_many_again(
    project: Project, run: Run, monkeypatch: pytest.MonkeyPatch, allowed: int, well: bool
) -> None:
    monkeypatch.setattr(observers, "inotify_limits", lambda: {"max_user_watches": allowed})
    monkeypatch.setattr(observers, "choose_observer", lambda *_: observers.Choice("native", "ext4 on /"))
    for _ in range(2):  # without a catalog, then with one
        (_, check) = doctor._check_observer(settings_of(project), project.home)
        assert check.finding == f"3 folders to watch, {allowed:,} watches allowed"
        assert (check.well, check.fatal) == (well, False)
        run("catchup")


def test_a_damaged_catalog_is_reported(project: Project, run: Run) -> None:
    run("catchup")
    assert list(doctor._check_catalog(settings_of(project), project.home)) == []
    (path,) = project.home.state_dir.glob("*.sqlite3")
    path.write_bytes(b"no catalog at all")
    (check,) = doctor._check_catalog(settings_of(project), project.home)
    assert str(path) in check.finding
    assert "delete it" in check.remedy
    code, output = run("doctor")
    assert (code, "catalog" in output) == (0, True)


def test_the_web_ui_has_to_find_the_thumbnails(project: Project) -> None:
    assert list(doctor._check_web_ui(settings_of(project))) == []
    (check,) = doctor._check_web_ui(Settings(source_dir=project.results, target_dir=project.root / "small"))
    assert str(project.thumbnails) in check.remedy


@pytest.mark.parametrize(
    ("found", "finding", "remedy"),
    [
        ({"native": True, "plugins": []}, "fired by sdgen itself", ""),
        ({"native": False, "plugins": ["thumbnails"]}, f"active, by {STARTUP_FILES[0]}", ""),
        ({"native": False, "plugins": []}, "active, but not for thumbnails", "see: sdgen-thumbnails logs"),
    ],
)
def test_our_hooks_are_active_if_we_are_among_the_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], finding: str, remedy: str
) -> None:
    caller = tmp_path / STARTUP_FILES[0]
    monkeypatch.setattr(doctor, "_startup_file", lambda: caller)
    if not found["native"]:
        missing = doctor._check_our_hooks(found)
        assert missing.finding == f"not active: {caller} is missing"
        assert "install the plugin again" in missing.remedy
    caller.touch()
    check = doctor._check_our_hooks(found)
    assert (check.finding, check.remedy) == (finding, remedy)
