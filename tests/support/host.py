"""Environments with a host and our wheel, and projects in which tests run the real ``sdgen`` command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import psutil

from support.project import Project
from support.waiting import wait_for

HOSTS = Path(__file__).parents[1] / "hosts"
REAL_HOST = os.environ.get("SDGEN_HOST_PYTHON")
"""The Python of an environment with the real host; our wheel is installed into it."""

_TEMPLATE = """\
version: '2.0'
type: prompt
name: Plain
imports:
  Mood: moods.variations.yaml
prompt: |
  portrait, {Mood}
generation: {mode: combinatorial, seed: 100, seed_mode: progressive, max_images: 3}
parameters: {width: 256, height: 384, steps: 1}
"""

_VARIATIONS = """\
type: variations
name: Moods
version: "1.0"
variations: {calm: calm, happy: happy, sad: sad}
"""


def find_wheel(folder: Path) -> Path:
    """The wheel under test: the one that tox built, else one built from the checkout into the folder."""
    built = os.environ.get("TOX_PACKAGE")
    if built:
        return Path(built.split(os.pathsep)[0])
    checkout = Path(__file__).parents[2]
    _pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", str(folder), str(checkout))
    return next(folder.glob("*.whl"))


def make_environment(folder: Path, host: str) -> Path:
    """An environment with a host and our wheel, made by the first test process that needs it; returns its Python."""
    folder.mkdir(parents=True, exist_ok=True)
    python = Path(REAL_HOST) if REAL_HOST and host == "standin" else folder / host / "bin" / "python"
    with filelock.FileLock(folder / f"{host}.lock"):
        made = folder / f"{host}.made"
        if not made.exists():
            wheel = find_wheel(folder / f"{host}-wheel")
            if REAL_HOST and host == "standin":
                _pip(python, "install", str(wheel))
                _pip(python, "install", "--force-reinstall", "--no-deps", str(wheel))
            else:
                subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
                _pip(python, "install", str(HOSTS / host), str(wheel))
            made.touch()
    return python


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Host:
    """``sdgen`` of one environment, in a project and a home of its own."""

    python: Path
    project: Project
    api_url: str
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        root = self.project.root
        (root / "prompts").mkdir(parents=True)
        (root / "prompts" / "moods.variations.yaml").write_text(_VARIATIONS)
        config = {"configs_dir": "./prompts", "output_dir": "./results", "api_url": self.api_url}
        (root / "sdgen_config.json").write_text(json.dumps(config))
        # The real host starts its backend with this.
        poetry = root / "bin" / "poetry"
        poetry.parent.mkdir()
        poetry.write_text("#!/bin/sh\nexec sleep 600\n")
        poetry.chmod(0o755)

    def template(self, name: str, more: str = "") -> Path:
        """Writes a template."""
        path = self.project.root / "prompts" / f"{name}.prompt.yaml"
        path.write_text(_TEMPLATE + more)
        return path

    @property
    def variables(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("SDGEN_", "PYTHON", "TOX"))}
        home = str(self.project.root)
        path = f"{self.project.root / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**ours, "HOME": home, "PATH": path, "COLUMNS": "200", **self.environment}

    def command(self, *arguments: str) -> list[str]:
        return [str(self.python.parent / "sdgen"), *arguments]

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """Runs ``sdgen`` and returns its output."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.project.root, env=self.variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
        )  # fmt: skip
        assert code is None or done.returncode == code, f"exit code {done.returncode}:\n{done.stdout}"
        return done.stdout

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts ``sdgen``; the caller waits for its end."""
        return subprocess.Popen(
            self.command(*arguments), cwd=self.project.root, env=self.variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    # -- what is there

    def pid(self, service: str = "thumbnail_watchdog") -> int | None:
        try:
            return int((self.project.home.root / "pids" / f"{service}.pid").read_text())
        except FileNotFoundError:
            return None

    def images(self) -> list[str]:
        return sorted(path.relative_to(self.project.results).as_posix() for path in self.project.results.rglob("*.png"))

    def watchers(self) -> list[int]:
        """PIDs of the watchers that run for this project, however they were started."""
        return [process.pid for process in self._processes() if "watch" in process.info["cmdline"]]

    def _processes(self) -> list[psutil.Process]:
        root = str(self.project.root)
        found = []
        for process in psutil.process_iter(["cmdline", "cwd", "status"]):
            if process.info["cwd"] == root and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def end_everything(self) -> None:
        """Ends all processes that were started in this project; for the end of a test."""
        for process in self._processes():
            process.kill()
        wait_for(lambda: not self._processes())


def is_gone(pid: int) -> bool:
    """Whether a process has ended, waited for by its parent or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
