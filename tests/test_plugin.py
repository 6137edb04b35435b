"""What we do at each hook."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from sdgen_thumbnail_plugin import plugin
from sdgen_thumbnail_plugin.daemon.identity import RunningWatcher
from sdgen_thumbnail_plugin.daemon.process import stop_watcher
from sdgen_thumbnail_plugin.daemon.state import find_watcher
from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
from sdgen_thumbnail_plugin.errors import NotRunningError, StartFailedError
from sdgen_thumbnail_plugin.host.hookspecs import Project as HostProject
from sdgen_thumbnail_plugin.paths import find_home
from support.project import Project
from support.waiting import wait_for

SESSION = "20261101_120000-s"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setattr(plugin, "_generation", None)
    monkeypatch.setenv("COLUMNS", "60")
    project = Project(tmp_path / "project")
    project.root.mkdir()
    yield project
    try:
        stop_watcher(find_home())
    except NotRunningError:
        pass


def host_view(project: Project) -> HostProject:
    return HostProject(project.root, project.results, project.thumbnails, {})


def the_watcher() -> RunningWatcher:
    """The watcher that was started; on a busy machine it may still be on its way when the start returns."""
    wait_for(lambda: (found := find_watcher(find_home())) is not None and found.source_dir)
    found = find_watcher(find_home())
    assert found is not None
    return found


def test_the_commands_are_mounted_as_a_group() -> None:
    app = typer.Typer()
    plugin.sdgen_register_commands(app)
    assert [group.name for group in app.registered_groups] == ["thumbnails"]


def test_what_others_wrote_is_said_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    plugin._say("✓ instead of the one for \x1b]0;owned\x07", "green", "\u202e")
    assert "✓ instead of the one for \\x1b]0;owned\\x07  \\u202e" in capsys.readouterr().out


def test_remedies_name_the_program_as_it_is_typed_in_sdgen(capsys: pytest.CaptureFixture[str]) -> None:
    plugin._say_error(StartFailedError("the watcher did not start"))
    assert "(fix: read the log with: sdgen thumbnails logs)" in " ".join(capsys.readouterr().out.split())


def test_the_watcher_is_started_once_and_stopped(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.image(f"{SESSION}/a.png")
    plugin.sdgen_webui_start(host_view(project))
    watcher = the_watcher()
    told = capsys.readouterr().out
    assert told.count("\n") == 1, "one line, however narrow the terminal"
    assert told.startswith("✓ Thumbnail watcher started  ")
    assert f"PID: {watcher.pid} " in told
    assert int(find_home().pid_file.read_text()) == watcher.pid
    wait_for(project.is_exact)
    plugin.sdgen_webui_start(host_view(project))
    assert capsys.readouterr().out == f"✓ Thumbnail watcher is running already (PID {watcher.pid})\n"
    plugin.sdgen_webui_stop(host_view(project))
    assert find_watcher(find_home()) is None
    assert not find_home().pid_file.exists()
    plugin.sdgen_webui_stop(host_view(project))
    assert capsys.readouterr().out == ""


def test_a_watcher_of_another_project_is_handed_over_and_told(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Project(tmp_path / "other")
    other.root.mkdir()
    plugin.sdgen_webui_start(host_view(other))
    capsys.readouterr()
    plugin.sdgen_webui_start(host_view(project))
    assert f"instead of the one for {other.results}" in capsys.readouterr().out
    watcher = the_watcher()
    assert watcher.source_dir == str(project.results)


def test_our_section_of_the_configuration_goes_before_what_the_host_says(project: Project) -> None:
    (project.root / "sdgen_config.json").write_text('{"thumbnails": {"target_dir": "small"}}')
    plugin.sdgen_webui_start(host_view(project))
    watcher = the_watcher()
    assert watcher.target_dir == str(project.root / "small")
    assert watcher.source_dir == str(project.results)


@pytest.mark.parametrize("config", ['{"thumbnails": {"height_px": 3}}', "{broken"])
def test_a_wrong_configuration_is_one_line(project: Project, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    (project.root / "sdgen_config.json").write_text(config)
    plugin.sdgen_webui_start(host_view(project))
    told = capsys.readouterr().out
    assert told.startswith("✗ Thumbnails: ")
    assert "(fix: " in told
    assert told.count("\n") == 1
    assert find_watcher(find_home()) is None


def test_a_generate_ends_with_one_line_about_its_thumbnails(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [project.image(f"{SESSION}/{number}.png") for number in range(2)]
    for image in images:
        plugin.sdgen_image_saved(host_view(project), image)
    plugin.sdgen_generate_finished(images)
    assert capsys.readouterr().out == "🖼 2 thumbnails ready\n"
    assert project.is_exact()


def test_a_second_generate_of_one_process_is_another(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        image = project.image(f"{SESSION}/{number}.png")
        plugin.sdgen_image_saved(host_view(project), image)
        plugin.sdgen_generate_finished([image])
        plugin.sdgen_image_saved(host_view(project), image)  # a late annotator is part of the old one
    assert capsys.readouterr().out == "🖼 1 thumbnail ready\n" * 2


def test_a_generate_without_images_says_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    plugin.sdgen_generate_finished([])
    assert capsys.readouterr().out == ""


def test_what_failed_and_what_was_not_made_is_told(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    images = [project.image(f"{SESSION}/{number}.png") for number in range(3)]
    images[1].write_text("no image")
    images[2].unlink()
    for image in images:
        plugin.sdgen_image_saved(host_view(project), image)
    plugin.sdgen_generate_finished(images)
    assert capsys.readouterr().out == (
        "🖼 1 thumbnail ready, 1 failed (sdgen thumbnails failures), "
        "1 left to the watcher, or: sdgen thumbnails catchup\n"
    )


def test_what_is_wrong_is_red_and_on_the_screen_alone(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    (project.root / "sdgen_config.json").write_text("{broken")
    plugin.sdgen_webui_start(host_view(project))
    told = capsys.readouterr()
    assert told.out.startswith("\x1b[31m✗ Thumbnails: ")
    assert told.out.count("\n") == 1
    assert told.err == ""


def test_a_home_that_cannot_be_used_is_one_line_for_start_and_nothing_for_stop(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    with monkeypatch.context() as here:
        here.setenv("SDGEN_THUMBNAILS_HOME", str(tmp_path / "a file"))
        plugin.sdgen_webui_start(host_view(project))
        told = capsys.readouterr().out
        plugin.sdgen_webui_stop(host_view(project))
    assert told.startswith(f"✗ Thumbnails: {tmp_path}/a file")
    assert told.count("\n") == 1
    assert capsys.readouterr() == ("", "")


def test_a_target_that_cannot_be_used_is_told_with_the_remedy(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [project.image(f"{SESSION}/{number}.png") for number in range(2)]
    project.thumbnails.write_text("in the way")
    for image in images:
        plugin.sdgen_image_saved(host_view(project), image)
    plugin.sdgen_generate_finished(images)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "🖼 0 thumbnails ready, 2 not made"
    assert second.startswith(f"✗ Thumbnails: {project.thumbnails}")
    assert "(fix: " in second


class _Terminal(io.StringIO):
    """What a person watches; lets go of what is held once it has been written to."""

    def __init__(self, let_go: threading.Event) -> None:
        super().__init__()
        self._let_go = let_go

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if "making thumbnails" in text:
            self._let_go.set()
        return super().write(text)


def test_a_longer_wait_shows_how_far_it_is_to_a_person_and_is_wiped(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = project.image(f"{SESSION}/0.png")
    held, let_go = threading.Event(), threading.Event()
    terminal = _Terminal(let_go)

    def hold() -> None:
        with BuildLocks(find_home().build_locks_file).holding(
            f"{os.path.realpath(project.thumbnails)}/{SESSION}/0.webp"
        ):
            held.set()
            let_go.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(10)
        with monkeypatch.context() as here:
            here.setenv("TERM", "xterm")
            here.setattr(sys, "stdout", terminal)
            plugin.sdgen_image_saved(host_view(project), image)
            plugin.sdgen_generate_finished([image])
    finally:
        let_go.set()
        holder.join()
    progress, wiped, rest = terminal.getvalue().partition("\r\x1b[K")
    assert wiped
    shown = progress.split("\r")[1:]
    assert shown
    assert set(shown) <= {"🖼 making thumbnails: 0/1", "🖼 making thumbnails: 1/1"}
    assert "making thumbnails" not in rest
    assert "1 thumbnail ready" in rest
