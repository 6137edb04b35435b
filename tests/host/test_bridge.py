"""The bridge over a host made for the test: what it changes, what it leaves alone, and that nothing of ours shows."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import filelock
import pytest
import typer

from sdgen_thumbnail_plugin.host.bridge import NATIVE_MARK, Bridge, project_here
from sdgen_thumbnail_plugin.host.hookspecs import hookimpl
from sdgen_thumbnail_plugin.host.plugins import Plugins
from sdgen_thumbnail_plugin.paths import find_home


class FakeHost:
    """The host's modules, in ``sys.modules`` for the test; every call of its own functions is noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.behaviour: Callable[[], Any] = lambda: "generated"
        calls = self.calls
        self.cli = ModuleType("sd_generator_cli.cli")
        self.daemon = ModuleType("sd_generator_cli.daemon")
        self.image_writer = ModuleType("sd_generator_cli.api.image_writer")
        self.annotator = ModuleType("sd_generator_cli.api.annotator")
        package, api = ModuleType("sd_generator_cli"), ModuleType("sd_generator_cli.api")
        for owner, name, module in (
            (package, "cli", self.cli),
            (package, "daemon", self.daemon),
            (package, "api", api),
            (api, "image_writer", self.image_writer),
            (api, "annotator", self.annotator),
        ):
            setattr(owner, name, module)
        for module in (package, api, self.cli, self.daemon, self.image_writer, self.annotator):
            monkeypatch.setitem(sys.modules, module.__name__, module)

        def start_thumbnail_watchdog(sessions_dir: Path, target_dir: Path | None = None) -> int | None:
            calls.append(("start", sessions_dir, target_dir))
            return 77

        def stop_service(service: str, timeout: int = 5) -> bool:
            calls.append(("stop", service, timeout))
            return True

        def _generate(template_path: Path, global_config: Any, dry_run: bool = False) -> Any:
            calls.append(("generate", template_path))
            return self.behaviour()

        class ImageWriter:
            def save_image(self, image_data_b64: str, filename: str) -> Path:
                calls.append(("save", image_data_b64, filename))
                return Path("results/s") / filename

        class ImageAnnotator:
            def annotate_image(
                self, image_path: Path, variations: Any, keys: Any = None, output_path: Path | None = None
            ) -> Path:
                calls.append(("annotate", image_path))
                return output_path or image_path

        vars(self.cli).update(app=typer.Typer(), _generate=_generate)
        vars(self.daemon).update(start_thumbnail_watchdog=start_thumbnail_watchdog, stop_service=stop_service)
        vars(self.image_writer).update(ImageWriter=ImageWriter)
        vars(self.annotator).update(ImageAnnotator=ImageAnnotator)

    def save(self, name: str) -> Any:
        return self.image_writer.ImageWriter().save_image("data", name)

    def generate(self, **named: Any) -> Any:
        config = type("Config", (), {"output_dir": "./out"})()
        return self.cli._generate(template_path=Path("t"), global_config=config, **named)


class Recorder(ModuleType):
    """A plugin that notes each call; ``fails`` makes it raise as well."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__("recorder")
        self.seen: list[tuple[Any, ...]] = []

        def note(*what: Any) -> None:
            self.seen.append(what)
            if fails:
                raise RuntimeError("out of coffee")

        @hookimpl
        def sdgen_register_commands(app: Any) -> None:
            note("commands", app)

        @hookimpl
        def sdgen_webui_start(project: Any) -> None:
            note("start", project)

        @hookimpl
        def sdgen_webui_stop(project: Any) -> None:
            note("stop", project)

        @hookimpl
        def sdgen_image_saved(project: Any, session_dir: Path, image: Path) -> None:
            note("saved", session_dir, image)

        @hookimpl
        def sdgen_generate_finished(project: Any, session_dir: Path | None, images: Any) -> None:
            note("finished", project.output_dir, session_dir, images)

        vars(self).update(
            sdgen_register_commands=sdgen_register_commands,
            sdgen_webui_start=sdgen_webui_start,
            sdgen_webui_stop=sdgen_webui_stop,
            sdgen_image_saved=sdgen_image_saved,
            sdgen_generate_finished=sdgen_generate_finished,
        )


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    return FakeHost(monkeypatch)


def bridged(host: FakeHost, recorder: Recorder, *, name: str = "thumbnails") -> Bridge:
    """A bridge with the recorder as its only plugin."""
    bridge = Bridge(host.cli)
    bridge.plugins = Plugins()
    assert bridge.plugins.add(name, lambda: recorder)
    bridge.build()
    return bridge


def test_commands_are_registered_once(host: FakeHost) -> None:
    recorder = Recorder()
    bridged(host, recorder)
    assert recorder.seen == [("commands", host.cli.app)]


def test_webui_start_and_stop_go_to_the_plugins_instead_of_the_host(host: FakeHost, tmp_path: Path) -> None:
    recorder = Recorder()
    bridged(host, recorder)
    assert host.daemon.start_thumbnail_watchdog(Path("results")) is None, "no watcher, no PID"
    assert host.daemon.stop_service("thumbnail_watchdog") is True
    assert host.calls == []
    (_, start, stop) = recorder.seen
    assert start[0] == "start"
    assert start[1].root == tmp_path
    assert start[1].output_dir == tmp_path / "results"
    assert start[1].target_dir == tmp_path / "thumbnails"
    assert stop[0] == "stop"


def test_the_pid_in_the_pid_file_is_what_start_returns(host: FakeHost) -> None:
    bridged(host, Recorder())
    find_home().prepare()
    find_home().pid_file.write_text("4711")
    assert host.daemon.start_thumbnail_watchdog(Path("results")) == 4711


def test_other_services_are_stopped_by_the_host(host: FakeHost) -> None:
    recorder = Recorder()
    bridged(host, recorder)
    assert host.daemon.stop_service("backend", timeout=3) is True
    assert host.daemon.stop_service("watchdog", 4) is True
    assert host.calls == [("stop", "backend", 3), ("stop", "watchdog", 4)]
    assert [seen[0] for seen in recorder.seen] == ["commands"]


def test_without_ours_the_hosts_own_watchdog_runs_and_other_plugins_hear_of_it(host: FakeHost) -> None:
    recorder = Recorder()
    bridged(host, recorder, name="somebody else")
    assert host.daemon.start_thumbnail_watchdog(Path("results")) == 77
    assert host.daemon.stop_service("thumbnail_watchdog") is True
    assert host.calls == [("start", Path("results"), None), ("stop", "thumbnail_watchdog", 5)]
    assert [seen[0] for seen in recorder.seen] == ["commands", "start", "stop"]


def test_generate_fires_for_each_write_and_at_its_end(host: FakeHost, tmp_path: Path) -> None:
    recorder = Recorder()
    bridged(host, recorder)

    def work() -> str:
        assert host.save("a.png") == Path("results/s/a.png")
        host.save("b.png")
        annotated = host.annotator.ImageAnnotator().annotate_image(image_path=Path("results/s/a.png"), variations={})
        assert annotated == Path("results/s/a.png")
        return "generated"

    host.behaviour = work
    assert host.generate() == "generated"
    session = tmp_path / "results" / "s"
    a, b = session / "a.png", session / "b.png"
    assert recorder.seen[1:] == [
        ("saved", session, a),
        ("saved", session, b),
        ("saved", session, a),
        ("finished", tmp_path / "out", session, (a, b)),
    ]
    host.save("late.png")
    assert recorder.seen[-1] == ("saved", session, session / "late.png")


def test_a_dry_run_ends_without_images(host: FakeHost, tmp_path: Path) -> None:
    recorder = Recorder()
    bridged(host, recorder)
    host.generate(dry_run=True)
    assert recorder.seen[1:] == [("finished", tmp_path / "out", None, ())]


@pytest.mark.parametrize("error", [typer.Exit(3), SystemExit(0), KeyboardInterrupt(), ValueError("bad")])
def test_however_generate_ends_the_hook_fires_and_the_end_is_the_same(host: FakeHost, error: BaseException) -> None:
    recorder = Recorder()
    bridged(host, recorder)

    def work() -> None:
        host.save("a.png")
        raise error

    host.behaviour = work
    with pytest.raises(type(error)) as caught:
        host.generate()
    assert caught.value is error
    assert recorder.seen[-1][0] == "finished"
    assert len(recorder.seen[-1][3]) == 1


def test_what_the_plugins_raise_never_reaches_the_host(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder(fails=True)
    bridged(host, recorder)
    host.behaviour = lambda: host.save("a.png")
    assert host.generate() == Path("results/s/a.png")
    host.daemon.start_thumbnail_watchdog(Path("results"))
    assert host.daemon.stop_service("thumbnail_watchdog") is True
    assert [seen[0] for seen in recorder.seen] == ["commands", "saved", "finished", "start", "stop"]
    assert find_home().log_file.read_text("utf-8").count("RuntimeError: out of coffee\n") >= 5
    assert capsys.readouterr() == ("", "")


def _generate_renamed(host: FakeHost) -> tuple[Any, str]:
    def _generate(something_else: Any) -> Any: ...

    host.cli._generate = _generate  # type: ignore[attr-defined]
    return lambda: host.cli._generate, "sd_generator_cli.cli._generate takes (something_else)"


def _stop_missing(host: FakeHost) -> tuple[Any, str]:
    del host.daemon.stop_service
    return lambda: getattr(host.daemon, "stop_service", None), "sd_generator_cli.daemon.stop_service is missing"


def _start_is_no_function(host: FakeHost) -> tuple[Any, str]:
    host.daemon.start_thumbnail_watchdog = object()  # type: ignore[attr-defined]
    return lambda: host.daemon.start_thumbnail_watchdog, "start_thumbnail_watchdog is missing"


def _writer_takes_other_things(host: FakeHost) -> tuple[Any, str]:
    def save_image(self: Any, image: bytes) -> None: ...

    host.image_writer.ImageWriter.save_image = save_image
    return lambda: host.image_writer.ImageWriter.save_image, "ImageWriter.save_image takes (self, image)"


def _annotator_missing(host: FakeHost) -> tuple[Any, str]:
    del host.annotator.ImageAnnotator
    return lambda: getattr(host.annotator, "ImageAnnotator", None), "annotator.ImageAnnotator.annotate_image is missing"


def _app_is_something_else(host: FakeHost) -> tuple[Any, str]:
    host.cli.app = "an application"  # type: ignore[attr-defined]
    return lambda: host.cli.app, "sd_generator_cli.cli.app is not a Typer application"


@pytest.mark.parametrize(
    "alter",
    [
        _generate_renamed,
        _stop_missing,
        _start_is_no_function,
        _writer_takes_other_things,
        _annotator_missing,
        _app_is_something_else,
    ],
)
def test_a_place_that_is_not_as_expected_is_left_alone_and_the_rest_works(
    host: FakeHost, alter: Callable[[FakeHost], tuple[Callable[[], Any], str]]
) -> None:
    place, told = alter(host)
    before = place()
    recorder = Recorder()
    bridge = bridged(host, recorder)
    bridge.bridge_image_writing()
    assert place() is before
    assert len(bridge.findings) == 1
    assert told in bridge.findings[0]
    # Six places; the one apart, all others lead to the plugins.
    if alter is not _start_is_no_function:
        host.daemon.start_thumbnail_watchdog(Path("results"))
        assert recorder.seen[-1][0] == "start"
    if alter is not _writer_takes_other_things:
        host.save("a.png")
        assert recorder.seen[-1][0] == "saved"


def test_findings_are_told_once_in_the_log(host: FakeHost) -> None:
    _stop_missing(host)
    for _ in range(3):
        bridged(host, Recorder()).report_findings()
    assert find_home().log_file.read_text("utf-8").count("stop_service is missing") == 1


def test_a_host_that_loads_plugins_itself_is_left_alone(host: FakeHost) -> None:
    setattr(host.cli, NATIVE_MARK, None)
    before = {**vars(host.cli), **vars(host.daemon)}
    bridge = Bridge(host.cli)
    bridge.build()
    bridge.bridge_image_writing()
    assert bridge.is_native
    assert {**vars(host.cli), **vars(host.daemon)} == before
    assert bridge.plugins.names() == []


def test_the_project_is_what_the_host_and_the_configuration_say(tmp_path: Path, monkeypatch: Any) -> None:
    assert project_here().output_dir == tmp_path / "results"
    assert project_here().config == {}
    config = {"output_dir": "./made/here", "thumbnails": {"target_dir": "small"}}
    (tmp_path / "sdgen_config.json").write_text(json.dumps(config))
    project = project_here()
    assert (project.root, project.output_dir, project.target_dir) == (
        tmp_path,
        tmp_path / "made" / "here",
        tmp_path / "small",
    )
    assert project.config == config
    assert project_here("elsewhere", "/thumbs").output_dir == tmp_path / "elsewhere"
    assert project_here("elsewhere", "/thumbs").target_dir == Path("/thumbs")
    monkeypatch.setenv("SDGEN_THUMBNAILS_TARGET_DIR", "/by/environment")
    assert project_here().target_dir == Path("/by/environment")
    for content in ("[broken", "[]"):
        (tmp_path / "sdgen_config.json").write_text(content)
        assert project_here().output_dir == tmp_path / "results"
    (tmp_path / "sdgen_config.json").unlink()
    os.mkfifo(tmp_path / "sdgen_config.json")  # to open it would wait for a writer
    assert project_here().config == {}


def test_a_watcher_that_is_still_alive_makes_stopping_a_failure(host: FakeHost) -> None:
    bridged(host, Recorder())
    find_home().prepare()
    with filelock.FileLock(find_home().lock_file):
        assert host.daemon.stop_service("thumbnail_watchdog") is False
    assert host.daemon.stop_service(service="thumbnail_watchdog", timeout=1) is True
    assert host.calls == []


def test_the_folders_that_the_host_names_are_those_of_the_project(host: FakeHost, tmp_path: Path) -> None:
    recorder = Recorder()
    bridged(host, recorder)
    host.daemon.start_thumbnail_watchdog(sessions_dir=Path("a/../out"), target_dir=tmp_path / "small")
    (_, project) = recorder.seen[-1]
    assert (project.root, project.output_dir, project.target_dir) == (tmp_path, tmp_path / "out", tmp_path / "small")


def test_ours_blocked_leaves_the_hosts_own_watchdog_to_run(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDGEN_PLUGINS_BLOCK", "thumbnails")
    bridge = Bridge(host.cli)
    bridge.build()
    assert host.daemon.start_thumbnail_watchdog(Path("results"), Path("t")) == 77
    assert host.daemon.stop_service("thumbnail_watchdog", timeout=9) is True
    assert host.calls == [("start", Path("results"), Path("t")), ("stop", "thumbnail_watchdog", 9)]


def test_all_plugins_that_are_installed_are_called(host: FakeHost) -> None:
    bridge = Bridge(host.cli)
    bridge.build()
    assert "thumbnails" in bridge.plugins.names()
    assert [group.name for group in host.cli.app.registered_groups] == ["thumbnails"]


def test_wrong_arguments_of_generate_are_the_hosts_to_refuse(host: FakeHost) -> None:
    recorder = Recorder()
    bridged(host, recorder)
    with pytest.raises(TypeError, match="nonsense"):
        host.cli._generate(nonsense=1)
    assert recorder.seen[-1][0] == "finished"


def test_the_hosts_own_failure_to_write_an_image_is_no_image(host: FakeHost) -> None:
    recorder = Recorder()

    def save_image(self: Any, image_data_b64: str, filename: str) -> Path:
        raise OSError(28, "no space left on device")

    host.image_writer.ImageWriter.save_image = save_image
    bridged(host, recorder)
    host.behaviour = lambda: host.save("a.png")
    with pytest.raises(OSError, match="no space left"):
        host.generate()
    assert [seen[0] for seen in recorder.seen] == ["commands", "finished"]
    assert recorder.seen[-1][2:] == (None, ())


def test_a_writer_that_returns_something_else_is_no_trouble_to_the_host(host: FakeHost) -> None:
    recorder = Recorder()

    def save_image(self: Any, image_data_b64: str, filename: str) -> None:
        return None

    host.image_writer.ImageWriter.save_image = save_image
    bridged(host, recorder)
    host.behaviour = lambda: host.save("a.png")
    assert host.generate() is None
    assert recorder.seen[-1][0] == "finished"
    assert "unexpected: TypeError" in find_home().log_file.read_text("utf-8")


def test_what_was_told_before_is_not_told_again_beside_something_new(host: FakeHost) -> None:
    first = bridged(host, Recorder())
    first.findings = ["a is missing"]
    first.report_findings()
    second = Bridge(host.cli)
    second.findings = ["a is missing", "b is missing"]
    second.report_findings()
    assert find_home().reported_file.read_text("utf-8").splitlines() == ["a is missing", "b is missing"]
    log = find_home().log_file.read_text("utf-8")
    assert (log.count("a is missing"), log.count("b is missing")) == (1, 1)


def test_a_host_as_expected_is_not_mentioned(host: FakeHost) -> None:
    bridge = bridged(host, Recorder())
    bridge.bridge_image_writing()
    bridge.report_findings()
    assert bridge.findings == []
    assert not find_home().reported_file.exists()
    assert not find_home().log_file.exists()


def test_image_writing_is_bridged_once_however_often_is_generated(host: FakeHost) -> None:
    recorder = Recorder()
    bridged(host, recorder)
    host.behaviour = lambda: host.save("a.png")
    host.generate()
    host.generate()
    assert [seen[0] for seen in recorder.seen] == ["commands", "saved", "finished", "saved", "finished"]


@pytest.fixture
def gone_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, deleted under the process's feet."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        os.getcwd()
    return folder


@pytest.mark.parametrize("place", ["start", "stop", "generate"])
@pytest.mark.usefixtures("gone_folder")
def test_a_working_directory_that_is_gone_is_no_trouble_to_the_host(host: FakeHost, place: str) -> None:
    bridged(host, Recorder())
    if place == "start":
        host.daemon.start_thumbnail_watchdog(Path("results"))
    elif place == "stop":
        host.daemon.stop_service("thumbnail_watchdog")
    else:
        assert host.generate() == "generated"
