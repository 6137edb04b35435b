"""Runs the plugin's commands, and other Python code, in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sdgen_thumbnail_plugin.paths import ENVIRONMENT_PREFIX, HOME_VARIABLE
from support.project import Project

__all__ = ["command_line", "environment_of", "failures", "output_of", "python_process", "run", "status"]

_EXIT_CODES = {"healthy": 0, "not running": 3}
"""The exit code of ``status`` for each health; 4 for all others."""

_NOTHING: Mapping[str, str] = {}


def command_line(*arguments: str, prefix: Sequence[str] = ()) -> list[str]:
    """One of our commands, run by this Python; the prefix is a program that runs another, such as ``unshare``."""
    return [*prefix, sys.executable, "-m", "sdgen_thumbnail_plugin", *arguments]


def environment_of(project: Project, more: Mapping[str, str] = _NOTHING) -> dict[str, str]:
    """This process's environment with the project's home, and without other settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    return kept | {HOME_VARIABLE: str(project.home.root)} | dict(more)


def run(
    project: Project, *arguments: str, prefix: Sequence[str] = (), environment: Mapping[str, str] = _NOTHING
) -> subprocess.CompletedProcess[str]:
    """Runs one of our commands in the project; it may fail.

    Its output is decoded with all line ends as they were printed: a carriage return in it matters to some tests.
    """
    done = subprocess.run(
        command_line(*arguments, prefix=prefix), cwd=project.root, env=environment_of(project, environment),
        capture_output=True, timeout=60,
    )  # fmt: skip
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def output_of(project: Project, *arguments: str, prefix: Sequence[str] = ()) -> str:
    """Runs one of our commands in the project and returns what it prints; the test fails if the command does."""
    done = run(project, *arguments, prefix=prefix)
    assert done.returncode == 0, f"{arguments} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def status(
    project: Project, *, prefix: Sequence[str] = (), environment: Mapping[str, str] = _NOTHING
) -> dict[str, Any]:
    """What ``status --json`` prints; its exit code must be that of the health it reports."""
    answer = run(project, "status", "--json", prefix=prefix, environment=environment)
    report: dict[str, Any] = json.loads(answer.stdout)
    assert answer.returncode == _EXIT_CODES.get(report["health"], 4)
    return report


def failures(project: Project) -> dict[str, dict[str, Any]]:
    """What ``failures --json`` prints, by key."""
    found = json.loads(output_of(project, "failures", "--json"))["failures"]
    return {failure["key"]: failure for failure in found}


@contextlib.contextmanager
def python_process(code: str, *arguments: str, says: str) -> Iterator[subprocess.Popen[str]]:
    """Runs code in a process until the context ends; the context begins when the code has printed its first line."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{says}\n"
            yield process
        finally:
            process.kill()
