"""``status``: what it shows of the report."""

from __future__ import annotations

import io
import re
import time
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sdgen_thumbnail_plugin.cli.app import app
from sdgen_thumbnail_plugin.cli.status import phase_text, render
from support.commands import output_of as run_ours
from support.project import Project
from support.waiting import wait_for
from support.watcher import watcher_process


def shown(health: str, *problems: dict[str, Any], **more: Any) -> str:
    """What a person sees of a report."""
    console = Console(file=io.StringIO(), width=120)
    console.print(render({"health": health, "problems": problems, **more}))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_status_without_a_watcher() -> None:
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 3
    assert "start it with: sdgen-thumbnails start" in result.output


@pytest.mark.parametrize(
    ("health", "more", "headline"),
    [
        ("healthy", {"uptime_s": 7200, "pid": 7}, "● thumbnail watcher: running for 2 h (PID 7)"),
        ("degraded", {"uptime_s": 7200, "pid": 7}, "▲ thumbnail watcher: running for 2 h, degraded (PID 7)"),
        ("stalled", {"uptime_s": 100, "pid": 7}, "▲ thumbnail watcher: running for 2 min, stalled (PID 7)"),
        ("degraded", {"pid": 7}, "▲ thumbnail watcher: running, degraded"),
        ("not running", {}, "○ thumbnail watcher: not running"),
    ],
)
def test_the_headline_says_how_long_the_watcher_runs(health: str, more: dict[str, Any], headline: str) -> None:
    assert shown(health, **more).splitlines()[0].rstrip() == headline


def test_a_problem_says_how_long_it_lasts_where_that_is_known() -> None:
    lasting = {"message": "disk full", "remedy": "free some space", "since_s": time.time() - 300}
    unknown = {"message": "damaged", "remedy": "restart it", "since_s": None}
    lines = shown("degraded", lasting, unknown, uptime_s=7200, pid=7).splitlines()
    assert "  ✗ disk full (for 5 min)" in lines
    assert "    → free some space" in lines
    assert "  ✗ damaged" in lines


@pytest.mark.parametrize(
    ("progress", "rate", "text"),
    [
        ({}, 3.0, "smart catch-up"),
        ({"done": 0, "total": None, "session": ""}, 3.0, "smart catch-up"),
        ({"done": 0, "total": 60_000, "session": "s"}, 0.0, "smart catch-up, 0 of 60,000, in s"),
        (
            {"done": 1_200, "total": 60_000, "session": "s"},
            49.0,
            "smart catch-up, 1,200 of 60,000, about 20 min left, in s",
        ),
        ({"done": 60_000, "total": 60_000, "session": ""}, 49.0, "smart catch-up, 60,000 of 60,000"),
    ],
)
def test_status_tells_how_far_the_watcher_has_come(progress: dict[str, object], rate: float, text: str) -> None:
    assert phase_text({"phase": "smart catch-up", "progress": progress, "images_per_s": rate}) == text


def test_status_tells_how_soon_a_new_image_was_shown_and_how_long_one_took_that_was_there(project: Project) -> None:
    def last_image() -> str:
        output = " ".join(run_ours(project, "status").split())
        return output.partition("last image ")[2].partition(" costs")[0]

    with watcher_process(project):
        wait_for(project.is_exact)
        wait_for(lambda: last_image())
        assert re.fullmatch(r"\S+-(a/1|b/2)\.png \d+ s ago, made in \d+ ms", last_image())  # of two workers, either
        project.image("20251111_151059-b/3.png")
        wait_for(lambda: "b/3.png" in last_image())
        assert re.fullmatch(r"20251111_151059-b/3\.png \d+ s ago, \d+ ms after it was seen", last_image())
