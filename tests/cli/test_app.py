"""The application around all commands: names, errors, exit codes and Ctrl+C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from sdgen_thumbnail_plugin.cli.app import COMMANDS, app
from support.project import Project
from support.waiting import wait_for

runner = CliRunner()
Run = Callable[..., tuple[int, str]]

# Like sdgen: its SIGINT handler, set when it is imported, ends the process with exit code 0.
_HOST = """
import signal, sys, typer
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
from sdgen_thumbnail_plugin.cli.app import app as thumbnails
app = typer.Typer(name="sdgen")
app.add_typer(thumbnails, name="thumbnails")
app(prog_name="sdgen")
"""


@pytest.fixture
def host() -> typer.Typer:
    """An application that the commands are mounted in, as they are in sdgen."""
    host = typer.Typer(name="sdgen")
    host.add_typer(app, name="thumbnails")
    return host


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example_as_it_is_typed(command: str, host: typer.Typer) -> None:
    alone = runner.invoke(app, [command, "--help"], prog_name="sdgen-thumbnails")
    assert alone.exit_code == 0
    assert f"Example: sdgen-thumbnails {command}" in alone.output
    mounted = runner.invoke(host, ["thumbnails", command, "--help"], prog_name="sdgen")
    assert f"Example: sdgen thumbnails {command}" in mounted.output
    assert "sdgen-thumbnails" not in mounted.output


def test_the_help_of_all_shows_an_example_as_it_is_typed(host: typer.Typer) -> None:
    assert "Example: sdgen-thumbnails start && sdgen-thumbnails status" in runner.invoke(app, ["--help"]).output
    mounted = runner.invoke(host, ["thumbnails", "--help"], prog_name="sdgen").output
    assert "Example: sdgen thumbnails start && sdgen thumbnails status" in mounted


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["stop"], "fix: start it with: sdgen{}thumbnails start"),
        (["status"], "start it with: sdgen{}thumbnails start"),
        (["logs"], "fix: start it with: sdgen{}thumbnails start"),
        (["retry", "x.png"], "see their names with: sdgen{}thumbnails failures"),
        (["catchup"], "sdgen{}thumbnails failures shows them"),
        (["demo", "results"], "name another folder: sdgen{}thumbnails demo FOLDER"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_hints_name_the_program_as_it_was_typed(
    project: Project, host: typer.Typer, arguments: list[str], hint: str
) -> None:
    (project.results / "20251110_151059-a" / "bad.png").write_bytes(b"no image")
    assert hint.format("-") in runner.invoke(app, arguments).output
    assert hint.format(" ") in runner.invoke(host, ["thumbnails", *arguments], prog_name="sdgen").output


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: sys.exit(0)], ids=["ignored", "the host's"])
def test_the_hosts_handler_of_signals_is_in_place_again_after_a_command(handler: signal.Handlers) -> None:
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, handler)
    try:
        runner.invoke(app, ["status"])
        assert signal.getsignal(signal.SIGINT) is handler
        assert {number: signal.getsignal(number) for number in former} == former | {signal.SIGINT: handler}
    finally:
        signal.signal(signal.SIGINT, former[signal.SIGINT])


@pytest.fixture(params=["alone", "in sdgen"])
def command(request: pytest.FixtureRequest) -> list[str]:
    """The program, by itself or mounted in a host."""
    if request.param == "alone":
        return [sys.executable, "-m", "sdgen_thumbnail_plugin"]
    return [sys.executable, "-c", _HOST, "thumbnails"]


@pytest.fixture
def many(project: Project) -> Project:
    """More images than can be made at once."""
    content = (project.results / "20251110_151059-a" / "1.png").read_bytes()
    for number in range(2000):
        (project.results / "20251110_151059-a" / f"{number:04}.png").write_bytes(content)
    return project


def test_an_interrupted_catchup_says_how_to_go_on(many: Project, command: list[str]) -> None:
    with subprocess.Popen(
        [*command, "catchup", "--workers", "1"], cwd=many.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        wait_for(lambda: any(many.thumbnails.rglob("*.webp")))
        process.send_signal(signal.SIGINT)
        output, complaint = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, "")
    typed = "sdgen-thumbnails" if "-m" in command else "sdgen thumbnails"
    assert complaint.strip().endswith(f"make the others with: {typed} catchup")
    assert "Traceback" not in complaint
    assert len(list(many.thumbnails.rglob("*.webp"))) < 2002


def test_an_interrupted_watch_ends_well(project: Project, command: list[str]) -> None:
    with subprocess.Popen([*command, "watch"], cwd=project.root, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: project.is_exact() and project.state().get("phase") == "watching")
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "✓ Stopped" in log
    assert not project.home.pid_file.exists()
    assert project.is_exact()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('{"thumbnails": {"hight_px": 100}}', "did you mean 'thumbnails.height_px'?"),
        ('{"thumbnail": {}}', "did you mean 'thumbnails'?"),
        ('{"thumbnails": {"quality": 101}}', "thumbnails.quality"),
        ('{"thumbnails": []}', "must be an object"),
        ("{", "is not valid JSON"),
        ("[]", "must hold a JSON object"),
    ],
)
def test_a_mistake_in_the_configuration_is_reported_in_words(
    project: Project, config: str, said: str, run: Run
) -> None:
    (project.root / "sdgen_config.json").write_text(config, "utf-8")
    code, output = run("catchup")
    assert code == 2
    assert said in output.replace("\n", " ")


def test_a_mistake_in_the_environment_is_reported_in_words(
    project: Project, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setenv("SDGEN_THUMBNAILS_HIGHT_PX", "3")
    code, output = run("status")
    assert (code, "SDGEN_THUMBNAILS_HEIGHT_PX" in output) == (2, True)


def test_a_mistake_in_a_flag_is_reported_in_words(project: Project, run: Run) -> None:
    code, output = run("catchup", "--workers", "0")
    assert (code, "--workers" in output) == (2, True)


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("results", "results", "both the source and the target"),
        ("results", "results/thumbnails", "thumbnails of thumbnails"),
        ("results/20251110_151059-a", "results", "inside the target"),
        ("nowhere", "thumbnails", "is missing"),
        ("sdgen_config.json", "thumbnails", "is not a folder"),
    ],
)
def test_roots_that_cannot_work_are_refused(project: Project, source: str, target: str, said: str, run: Run) -> None:
    (project.root / "sdgen_config.json").write_text("{}", "utf-8")
    code, output = run("catchup", "--source-dir", source, "--target-dir", target)
    assert code == 2
    assert said in output.replace("\n", " ")


def test_a_bug_of_ours_is_one_line_unless_the_traceback_is_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("sdgen_thumbnail_plugin.cli.status.load_settings", broken)
    code, output = run("status")
    assert code == 1
    assert output.startswith("error: unexpected: RuntimeError: a bug")
    monkeypatch.setenv("SDGEN_THUMBNAILS_DEBUG", "1")
    assert isinstance(CliRunner().invoke(app, ["status"]).exception, RuntimeError)
