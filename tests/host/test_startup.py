"""What Python calls when it starts: nothing at all, unless the process is sdgen."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import sdgen_thumbnail_plugin
from sdgen_thumbnail_plugin.host import HOST_MODULE, STARTUP_FILES, startup

FILES = Path(__file__).parent.parent.parent / "startup"
PTH = (FILES / STARTUP_FILES[0]).read_text("utf-8")


@pytest.fixture(autouse=True)
def _finders_as_before() -> Iterator[None]:
    before = list(sys.meta_path)
    # The environment's own .pth may have put one there, if this process looks like sdgen.
    sys.meta_path[:] = [finder for finder in before if type(finder).__name__ != "_HostFinder"]
    yield
    sys.meta_path[:] = before


def finders() -> int:
    return sum(1 for finder in sys.meta_path if type(finder).__name__ == "_HostFinder")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/venv/bin/python", "/venv/bin/sdgen", "webui", "start"], True),
        (["python3", "-X", "importtime", "bin/sdgen"], True),
        (["python3", "-W", "sdgen", "-u", "/venv/bin/other"], False),
        (["python3", "-m", "pytest", "tests/sdgen"], False),
        (["python3", "x.py", "sdgen"], False),
        (["python3", "-c", "pass", "sdgen"], False),
        (["sdgen"], False),
        (["/venv/bin/python", "/venv/bin/sdgen-thumbnails", "start"], False),
        (["/venv/bin/python", "-m", "sd_generator_cli.cli"], False),
        (["/venv/bin/python", "-m", "sdgen_thumbnail_plugin", "watch"], False),
        (["/home/sdgen/venv/bin/python", "/home/sdgen/x.py"], False),
        ([], False),
    ],
)
def test_sdgen_is_known_by_its_command_line(arguments: list[str], expected: bool) -> None:
    assert startup.is_sdgen(arguments) is expected


def test_it_waits_for_the_host_once_however_often_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "/bin/sdgen"])
    startup.start()
    startup.start()
    assert finders() == 1
    import json.tool  # noqa: F401 - any other import goes on as ever

    assert finders() == 1


@pytest.mark.parametrize("why", ["another process", "switched off"])
def test_it_does_nothing_in_other_processes_or_switched_off(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "/bin/other" if why == "another process" else "/bin/sdgen"])
    if why == "switched off":
        monkeypatch.setenv("SDGEN_PLUGINS", "0")
    startup.start()
    assert finders() == 0


def test_the_start_file_names_what_is_to_be_called() -> None:
    lines = (FILES / STARTUP_FILES[1]).read_text("utf-8").split()
    assert [pkgutil.resolve_name(line) for line in lines] == [startup.start]


def test_the_pth_file_is_one_line_that_python_executes() -> None:
    assert PTH.startswith("import ")
    assert PTH.count("\n") == 1


def run_sdgen(
    tmp_path: Path, cli: str, *, path: bool = True, before: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a script called ``sdgen`` that imports a host made of this code, after the line of the ``.pth`` file."""
    package = tmp_path / "sd_generator_cli"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text(cli)
    script = tmp_path / "bin" / "sdgen"
    script.parent.mkdir()
    script.write_text(
        f"{PTH}\n{PTH}\n{before}\nimport sys, sd_generator_cli.cli\nprint('ran', sd_generator_cli.cli.app)\n"
    )
    place = sdgen_thumbnail_plugin.__file__
    assert place is not None
    found = [str(tmp_path)]
    if path:
        found += [str(Path(place).parent.parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(found), **environment}
    # Without the site-packages of this environment, so that nothing but the line in the script is at work.
    return subprocess.run(
        [sys.executable, "-S", str(script)], env=environment, capture_output=True, text=True, cwd=tmp_path
    )


def test_behind_the_hosts_import_the_bridge_is_built(tmp_path: Path) -> None:
    done = run_sdgen(tmp_path, "import typer\napp = typer.Typer()\nprint('imported')\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("imported\nran <typer.main.Typer")
    check = "class App:\n    def add_typer(self, app, name): print('mounted', name)\n    command = 1\napp = App()\n"
    (tmp_path / "again").mkdir()
    assert "mounted thumbnails\nran" in run_sdgen(tmp_path / "again", check).stdout


def test_a_host_that_is_quite_different_works_as_before(tmp_path: Path) -> None:
    done = run_sdgen(tmp_path, "app = 'something else'\n")
    assert (done.stdout, done.stderr, done.returncode) == ("ran something else\n", "", 0)


def test_an_error_of_the_hosts_own_import_is_the_same(tmp_path: Path) -> None:
    done = run_sdgen(tmp_path, "raise ValueError('of the host')\n")
    assert "ValueError: of the host" in done.stderr
    assert done.returncode == 1


def test_without_the_package_the_line_says_nothing(tmp_path: Path) -> None:
    done = run_sdgen(tmp_path, "app = 1\n", path=False)
    assert (done.stdout, done.stderr) == ("ran 1\n", "")


def test_in_other_processes_the_line_imports_nothing() -> None:
    code = f"{PTH}\nimport sys; print([name for name in sys.modules if name.startswith('sdgen_')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


MOUNTING = "class App:\n    def add_typer(self, app, name): print('mounted', name)\n    command = 1\napp = App()\n"


def test_switched_off_the_host_is_as_if_we_were_not_there(tmp_path: Path) -> None:
    done = run_sdgen(tmp_path, MOUNTING, SDGEN_PLUGINS="0")
    assert done.stdout.startswith("ran <")
    assert done.stderr == ""


def test_an_exception_in_the_bridge_does_not_break_the_import_and_prints_nothing(tmp_path: Path) -> None:
    """A module may answer for attributes by itself, and raise anything when it is asked for one."""
    done = run_sdgen(tmp_path, "app = 1\ndef __getattr__(name): raise RuntimeError(name)\n")
    assert (done.stdout, done.stderr, done.returncode) == ("ran 1\n", "", 0)


def test_a_missing_host_is_missed_as_ever(tmp_path: Path) -> None:
    before = "import shutil; shutil.rmtree('sd_generator_cli')"
    done = run_sdgen(tmp_path, "app = 1\n", before=before)
    assert "ModuleNotFoundError: No module named 'sd_generator_cli'" in done.stderr
    assert "sdgen_thumbnail_plugin" not in done.stderr


def test_a_host_that_is_there_already_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "/bin/sdgen"])
    monkeypatch.setitem(sys.modules, HOST_MODULE, ModuleType(HOST_MODULE))
    startup.start()
    assert finders() == 0


def test_a_process_without_a_command_line_of_its_own_is_not_sdgen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "orig_argv")
    startup.start()
    assert finders() == 0
    exec(PTH, {})
    assert finders() == 0


def test_the_pth_line_starts_the_waiting_in_sdgen_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "/bin/sdgen-thumbnails"])
    exec(PTH, {})
    assert finders() == 0
    monkeypatch.setattr(sys, "orig_argv", ["python", "/bin/sdgen"])
    exec(PTH, {})
    exec(PTH, {})
    assert finders() == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["/venv/bin/python", "/venv/bin/pytest", "-q", "tests/sdgen"],
        ["python3", "-m", "http.server", "--directory", "/srv/sdgen"],
        ["python3", "-c", "import this", "sdgen"],
        ["python3", "-c", "import this  # not bin/sdgen"],
        ["python3", "backup.py", "/home/me/sdgen"],
    ],
)
def test_a_process_that_is_only_given_something_called_sdgen_is_not_sdgen(arguments: list[str]) -> None:
    assert not startup.is_sdgen(arguments)


def test_a_finder_of_old_kind_in_front_does_not_break_the_hosts_import(tmp_path: Path) -> None:
    before = "import sys; sys.meta_path.insert(1, type('Old', (), {'find_module': lambda *_: None})())"
    done = run_sdgen(tmp_path, MOUNTING, before=before)
    assert done.stdout.startswith("mounted thumbnails\nran"), done.stderr


def test_looking_for_the_host_before_its_import_does_not_lose_the_bridge(tmp_path: Path) -> None:
    before = "import importlib.util; importlib.util.find_spec('sd_generator_cli.cli')"
    assert run_sdgen(tmp_path, MOUNTING, before=before).stdout.startswith("mounted thumbnails\nran")
