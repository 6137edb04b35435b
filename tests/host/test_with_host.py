"""The installed wheel beside an installed host: the real ``sdgen`` command, run as a user would.

The host is the stand-in of ``tests/hosts``, or the real one of the environment that ``SDGEN_HOST_PYTHON`` names.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from support.host import REAL_HOST, Host, is_gone, make_environment
from support.pictures import png
from support.project import Project
from support.sd_api import drawing_api
from support.waiting import wait_for

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]

standin_only = pytest.mark.skipif(bool(REAL_HOST), reason="the real host has no such thing")


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of environments, shared by all test processes."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "environments"


@pytest.fixture(scope="session")
def host_python(environments: Path) -> Path:
    return make_environment(environments, "standin")


@pytest.fixture(scope="session")
def native_python(environments: Path) -> Path:
    return make_environment(environments, "native")


@pytest.fixture(scope="session")
def api_url() -> Iterator[str]:
    with drawing_api() as address:
        yield address


@pytest.fixture
def host(host_python: Path, tmp_path: Path, api_url: str) -> Iterator[Host]:
    host = Host(host_python, Project(tmp_path / "project"), api_url)
    yield host
    host.end_everything()


def generate(host: Host, count: int = 3, *more: str, template: Path | None = None, code: int = 0) -> str:
    path = template or host.template("plain")
    return host.run("generate", "-t", str(path), "-n", str(count), *more, code=code)


def status(host: Host, code: int | None = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run("thumbnails", "status", "--json", code=code))
    return found


# -- installed together


@standin_only
def test_the_wheel_fits_beside_the_hosts_pins(host_python: Path) -> None:
    done = subprocess.run([str(host_python), "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_sdgen_help_lists_the_thumbnails(host: Host) -> None:
    assert "thumbnails" in host.run("--help")
    assert "catchup" in host.run("thumbnails", "--help")
    assert host.run("thumbnails", "--version").startswith("sdgen-thumbnails ")
    assert "✓ hooks: active" in host.run("thumbnails", "doctor")


def test_other_python_processes_do_not_load_the_plugin(host_python: Path) -> None:
    code = "import sys; print(any(name.startswith('sdgen_thumbnail') for name in sys.modules))"
    done = subprocess.run([str(host_python), "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


# -- sdgen webui


def test_webui_start_runs_the_watcher_and_status_shows_it(host: Host) -> None:
    host.project.image("20261101_120000-old/a.png")
    assert host.run("webui", "start").count("Thumbnail watcher started") == 1
    pid = host.pid()
    assert host.watchers() == [pid]
    wait_for(host.project.is_exact)
    assert "👀 Watching for new images..." in host.project.log()
    host.project.image("20261102_120000-new/b.png")
    wait_for(host.project.is_exact)
    assert str(pid) in host.run("webui", "status")
    assert status(host)["pid"] == pid


def test_a_second_webui_start_says_that_it_runs_already(host: Host) -> None:
    host.run("webui", "start")
    pid = host.pid()
    assert f"running already (PID {pid})" in host.run("webui", "start")
    assert host.watchers() == [pid]


def test_webui_restart_gives_a_new_process_and_loses_nothing(host: Host) -> None:
    host.run("webui", "start")
    before = host.pid()
    with host.spawn("webui", "restart") as restart:
        written = 0
        while restart.poll() is None:
            host.project.image(f"20261101_120000-busy/{written:04}.png")
            written += 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                restart.wait(0.02)
    assert restart.returncode == 0
    after = host.pid()
    assert after not in (None, before)
    assert host.watchers() == [after]
    assert written
    wait_for(host.project.is_exact, 30)


def test_webui_stop_ends_the_watcher_and_its_pid_file(host: Host) -> None:
    host.run("webui", "start")
    assert "services stopped" in host.run("webui", "stop")
    # It takes that away as the last thing, so it was not waited for in vain and then killed.
    assert not host.project.home.state_file.exists()
    assert host.pid() is None
    assert host.watchers() == []
    assert status(host, code=3)["running"] is False
    assert "services stopped" in host.run("webui", "stop")  # a second one has nothing to do


def test_the_hosts_other_services_are_as_they_were(host: Host) -> None:
    host.run("webui", "start")
    backend = host.pid("backend")
    assert backend is not None
    assert psutil.pid_exists(backend)
    host.run("webui", "stop")
    assert host.pid("backend") is None
    wait_for(lambda: is_gone(backend))


def test_only_ours_makes_thumbnails_where_the_old_watchdog_is_installed_too(host: Host) -> None:
    host.run("webui", "start")
    if not REAL_HOST:
        wait_for((host.project.root / "ran-run").exists)  # the host's own one for sessions is left alone
    assert host.watchers() == [host.pid()]
    assert not (host.project.root / "ran-thumbnail").exists()


@pytest.mark.parametrize("command", ["start", "stop"])
def test_a_reused_pid_in_the_pid_file_costs_nobody_the_life(host: Host, command: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as innocent:
        try:
            pid_file = host.project.home.pid_file
            pid_file.parent.mkdir(parents=True)
            pid_file.write_text(str(innocent.pid))
            host.run("webui", command)
            assert innocent.poll() is None
            assert host.pid() != innocent.pid
            assert len(host.watchers()) == (command == "start")
        finally:
            innocent.kill()


@standin_only
@pytest.mark.parametrize("command", ["start", "stop"])
def test_the_old_watchdog_of_an_earlier_start_is_ended(host: Host, command: str) -> None:
    host.environment["SDGEN_PLUGINS"] = "0"
    host.run("webui", "start")
    old = host.pid()
    assert old is not None
    assert "sd_generator_watchdog.cli" in psutil.Process(old).cmdline()
    del host.environment["SDGEN_PLUGINS"]
    host.run("webui", command)
    assert is_gone(old)
    assert host.watchers() == ([host.pid()] if command == "start" else [])


def test_a_broken_configuration_is_one_line_and_no_reason_to_fail(host: Host) -> None:
    (host.project.root / "sdgen_config.json").write_text('{"thumbnails": {"hight_px": 240}}')
    told = host.run("webui", "start")
    line = next(line for line in told.splitlines() if "thumbnails.hight_px" in line)
    assert "thumbnails.height_px" in line
    assert "services started" in told
    assert host.watchers() == []


# -- sdgen generate


def test_generate_leaves_its_thumbnails_behind_it(host: Host) -> None:
    told = generate(host)
    assert len(host.images()) == 3
    assert host.project.is_exact()
    assert told.splitlines()[-1] == "🖼 3 thumbnails ready"
    with Image.open(host.project.thumbnail(host.images()[0])) as thumbnail:
        assert thumbnail.size == (160, 240)


def test_generate_beside_the_watcher_makes_no_thumbnail_twice(host: Host) -> None:
    host.run("webui", "start")
    with host.spawn("generate", "-t", str(host.template("plain")), "-n", "3") as process:
        inodes: dict[Path, set[int]] = {}
        while process.poll() is None:
            for path in host.project.thumbnails.rglob("*.webp"):
                inodes.setdefault(path, set()).add(path.stat().st_ino)
        assert process.stdout is not None
        assert "🖼 3 thumbnails ready" in process.stdout.read()
    assert host.project.is_exact()
    host.run("thumbnails", "catchup")
    for path, seen in inodes.items():
        assert {path.stat().st_ino} == seen
    assert len(inodes) == 3
    wait_for(lambda: status(host, code=None)["images"] == 3)  # the folder was not there when the watcher started


def test_annotated_images_have_annotated_thumbnails(host: Host) -> None:
    annotations = "output:\n  annotations: {enabled: true, keys: [Mood], font_size: 40, position: bottom-left}\n"
    told = generate(host, 2, template=host.template("annotated", annotations))
    assert "🖼 2 thumbnails ready" in told
    assert len(host.images()) == 2
    assert host.project.is_exact()
    for key in host.images():
        with Image.open(host.project.results / key) as image, Image.open(host.project.thumbnail(key)) as thumbnail:
            assert image.mode == "RGBA", "what the annotator leaves"
            small = image.convert("RGB").resize(thumbnail.size, Image.Resampling.LANCZOS).convert("L")
            pairs = zip(small.tobytes(), thumbnail.convert("L").tobytes(), strict=True)
            assert sum(abs(a - b) for a, b in pairs) / (small.width * small.height) < 4


def test_an_interrupted_generate_leaves_thumbnails_of_what_it_made(host: Host) -> None:
    count = 3 if REAL_HOST else 50  # seconds of work, of which the first is enough
    process = host.spawn("generate", "-t", str(host.template("plain")), "-n", str(count))
    wait_for(lambda: host.images() and host.project.is_fresh(host.images()[0]), 30)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 0, told
    made = len(host.images())
    assert 1 <= made < count
    assert host.project.is_exact()
    assert f"🖼 {made} thumbnail{'s' if made > 1 else ''} ready" in told
    manifest = next(host.project.results.glob("*/manifest.json"))
    assert json.loads(manifest.read_text())["status"] == "aborted"


def test_an_interrupted_catchup_exits_130_and_says_how_to_go_on(host: Host) -> None:
    content = png((1024, 1024))
    for number in range(300):
        path = host.project.results / "20251110_151059-a" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    process = host.spawn("thumbnails", "catchup", "--workers", "1")
    wait_for(lambda: any(host.project.thumbnails.rglob("*.webp")), 30)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert output.strip().endswith("make the others with: sdgen thumbnails catchup")


@standin_only
def test_a_failing_generate_fails_as_before_and_leaves_thumbnails(host: Host) -> None:
    told = generate(host, 2, template=host.template("failing", "# broken\n"), code=1)
    assert "🖼 1 thumbnail ready" in told
    assert host.project.is_exact()


@pytest.mark.skipif(not REAL_HOST, reason="the stand-in has one way to generate")
def test_the_hosts_new_architecture_leaves_its_thumbnails_too(host: Host) -> None:
    host.environment["SDGEN_USE_NEW_ARCH"] = "true"
    told = generate(host, 2)
    assert "🖼 2 thumbnails ready" in told
    assert host.project.is_exact()


def test_generate_succeeds_where_thumbnails_cannot_be_written(host: Host) -> None:
    host.project.thumbnails.write_text("in the way")
    told = generate(host, 2)
    assert len(host.images()) == 2
    assert "2 not made" in told
    assert "is not a folder" in told
    assert host.project.thumbnails.read_text() == "in the way"


def test_a_dry_run_makes_and_says_nothing(host: Host) -> None:
    assert "🖼" not in generate(host, 2, "--dry-run")
    assert not host.project.thumbnails.exists()


def test_status_tells_the_truth_after_a_generate_without_watcher(host: Host) -> None:
    generate(host, 2)
    assert status(host, code=3)["running"] is False
    inodes = {path: path.stat().st_ino for path in host.project.thumbnails.rglob("*.webp")}
    host.run("thumbnails", "catchup")
    assert {path: path.stat().st_ino for path in host.project.thumbnails.rglob("*.webp")} == inodes
    assert host.project.is_exact()


# -- other plugins, and none


def install_plugin(host: Host, name: str, code: str) -> None:
    """Installs a plugin of somebody else's for this project's processes."""
    site = host.project.root / "site"
    (site / f"{name}-1.0.dist-info").mkdir(parents=True)
    (site / f"{name}-1.0.dist-info" / "entry_points.txt").write_text(f"[sdgen]\n{name} = {name}\n")
    (site / f"{name}.py").write_text(code)
    host.environment["PYTHONPATH"] = str(site)


RECORDER = """
from pathlib import Path
import pluggy
import typer

hookimpl = pluggy.HookimplMarker("sdgen")

def note(text):
    with Path("noted").open("a") as file:
        file.write(text + "\\n")

@hookimpl
def sdgen_register_commands(app):
    app.command("hello")(lambda: typer.echo("hello from a plugin"))

@hookimpl
def sdgen_image_saved(image):
    note(f"saved {image.name}")

@hookimpl
def sdgen_generate_finished(project, session_dir, images):
    note(f"finished {len(images)} in {session_dir.parent == project.output_dir}")
"""

RAISER = """
import pluggy

@pluggy.HookimplMarker("sdgen")(tryfirst=True)
def sdgen_image_saved(image):
    raise RuntimeError("out of coffee")
"""


def test_other_plugins_are_called_and_their_failures_are_their_own(host: Host) -> None:
    install_plugin(host, "recorder", RECORDER)
    install_plugin(host, "raiser", RAISER)
    assert host.run("hello") == "hello from a plugin\n"
    told = generate(host, 2)
    assert "🖼 2 thumbnails ready" in told
    assert "coffee" not in told
    noted = (host.project.root / "noted").read_text().splitlines()
    assert noted == [*(f"saved {Path(key).name}" for key in host.images()), "finished 2 in True"]
    assert "plugin raiser failed in sdgen_image_saved: RuntimeError: out of coffee" in host.project.log()


def test_switched_off_the_host_is_as_it_was(host: Host) -> None:
    host.environment["SDGEN_PLUGINS"] = "0"
    assert "thumbnails" not in host.run("--help")
    assert "🖼" not in generate(host, 2)
    assert not host.project.thumbnails.exists()


@standin_only
def test_blocked_ours_leaves_the_hosts_own_watchdog_alone(host: Host) -> None:
    host.environment["SDGEN_PLUGINS_BLOCK"] = "thumbnails"
    host.run("webui", "start")
    wait_for((host.project.root / "ran-thumbnail").exists)
    assert host.watchers() == []
    host.run("webui", "stop")
    assert host.pid() is None


@pytest.fixture
def altered(host: Host, tmp_path: Path) -> Host:
    """The same host in an environment of its own, which a test may alter."""
    copy = tmp_path / "environment"
    shutil.copytree(host.python.parent.parent, copy, symlinks=True)
    host.python = copy / "bin" / "python"
    # Scripts name the interpreter of the environment they were copied from.
    script = copy / "bin" / "sdgen"
    script.write_text(f"#!{host.python}\n" + script.read_text().partition("\n")[2])
    return host


def pip(host: Host, *arguments: str) -> None:
    command = [str(host.python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def site_packages(host: Host) -> Path:
    return next((host.python.parent.parent / "lib").glob("python3.*")) / "site-packages"


def test_after_uninstall_the_host_works_as_before(altered: Host) -> None:
    pip(altered, "uninstall", "-y", "sdgen-thumbnail-plugin")
    environment = altered.python.parent.parent
    assert not [path for path in environment.rglob("*") if "sdgen" in path.name and "thumbnail" in path.name]
    assert "thumbnail" not in altered.run("--help")
    assert "thumbnail" not in generate(altered, 1)
    assert altered.images()
    assert not altered.project.thumbnails.exists()


def test_an_editable_install_plugs_in_too(altered: Host) -> None:
    pip(altered, "uninstall", "-y", "sdgen-thumbnail-plugin")
    pip(altered, "install", "--no-deps", "--editable", str(Path(__file__).parent.parent.parent))
    assert "🖼 1 thumbnail ready" in generate(altered, 1)
    pip(altered, "uninstall", "-y", "sdgen-thumbnail-plugin")
    assert not [path for path in site_packages(altered).iterdir() if path.name.startswith("sdgen_thumbnail_plugin")]


def test_a_place_that_is_not_as_expected_is_left_alone_and_told(altered: Host) -> None:
    daemon = next(site_packages(altered).glob("sd_generator_cli/daemon.py"))
    code = daemon.read_text("utf-8")
    assert "def start_thumbnail_watchdog(sessions_dir" in code
    daemon.write_text(code.replace("def start_thumbnail_watchdog(sessions_dir", "def start_thumbnail_watchdog(folder"))
    assert "🖼 1 thumbnail ready" in generate(altered, 1)
    doctor = altered.run("thumbnails", "doctor")
    assert "left alone: sd_generator_cli.daemon.start_thumbnail_watchdog takes (folder, target_dir)" in doctor
    assert altered.project.log().count("start_thumbnail_watchdog takes (folder, target_dir)") == 1


# -- a host that loads plugins itself


def test_a_host_that_loads_plugins_itself_is_left_to_it(native_python: Path, tmp_path: Path) -> None:
    host = Host(native_python, Project(tmp_path / "project"), "")
    try:
        assert "thumbnails" in host.run("--help")
        assert "✓ hooks: fired by sdgen itself" in host.run("thumbnails", "doctor")
        assert "🖼 2 thumbnails ready" in host.run("generate", "-n", "2")
        assert host.project.is_exact()
        assert host.run("webui", "start").count("Thumbnail watcher started") == 1
        assert host.watchers() == [host.pid()]
        session = host.project.results / "20261102_120000-later"
        session.mkdir()
        (session / "later.png").write_bytes(png())
        wait_for(host.project.is_exact)
        host.run("webui", "stop")
        assert host.watchers() == []
    finally:
        host.end_everything()
