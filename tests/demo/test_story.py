"""The demonstration: its refusals, and the whole of it as a person runs it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image
from rich.console import Console

from sdgen_thumbnail_plugin.cli.status import render
from sdgen_thumbnail_plugin.demo import sessions
from sdgen_thumbnail_plugin.demo.story import run_demo
from sdgen_thumbnail_plugin.errors import MachineError, ProcessError, SettingsError
from support.waiting import wait_for

DEMO = (sys.executable, "-m", "sdgen_thumbnail_plugin", "demo")


def quiet() -> Console:
    return Console(file=io.StringIO(), width=80)


def left_running(folder: Path) -> list[str]:
    """Processes that work in a folder, or name it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "results").mkdir(parents=True)
    (folder / "results" / "1.png").write_bytes(b"mine")
    (folder / "sdgen_config.json").write_text("{}", "utf-8")
    before = everything(tmp_path)
    with pytest.raises(SettingsError) as caught:
        run_demo(folder, console=quiet(), render=render)
    assert caught.value.path == str(folder)
    assert "sdgen-thumbnails demo FOLDER" in caught.value.remedy
    with pytest.raises(SettingsError):
        run_demo(folder / "sdgen_config.json", console=quiet(), render=render)
    assert everything(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_reported_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError) as caught:
        run_demo(tmp_path / "file" / "demo", console=quiet(), render=render)
    assert "sdgen-thumbnails demo FOLDER" in caught.value.remedy


def test_a_watcher_that_does_not_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SIZES_PX", ((32, 48),))
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no watcher today' >&2\nexit 7\n", "utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(ProcessError, match="start failed with exit code 7: no watcher today") as caught:
        run_demo(tmp_path / "demo", console=quiet(), render=render)
    assert caught.value.remedy


def test_the_whole_demonstration(tmp_path: Path) -> None:
    # The user's own settings are not meant for the demonstration's project.
    own = {**os.environ, "SDGEN_THUMBNAILS_HEIGHT_PX": "100"}
    done = subprocess.run(DEMO, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "sdgen-demo"
    images = sorted((folder / "results").rglob("*.png"))
    assert len(images) == 32
    for image in images:
        thumbnail = (folder / "thumbnails" / image.relative_to(folder / "results")).with_suffix(".webp")
        assert thumbnail.stat().st_mtime_ns == image.stat().st_mtime_ns
        with Image.open(image) as source, Image.open(thumbnail) as shown:
            assert shown.size == (max(1, round(240 * source.width / source.height)), 240)
    with Image.open(folder / "contact-sheet.png") as sheet:
        assert min(sheet.size) > 1000
    assert "All 32 images have their thumbnail" in done.stdout
    assert done.stdout.count("aurora_0005_seed-105.png") >= 2
    assert "\x1b" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["sdgen-demo"]
    assert left_running(tmp_path) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demonstration_leaves_no_watcher(tmp_path: Path, number: int, code: int) -> None:
    with subprocess.Popen(DEMO, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        wait_for((tmp_path / "sdgen-demo" / "arrivals.jsonl").exists, timeout_s=60)
        running.send_signal(number)
        output, _ = running.communicate(timeout=60)
    assert (running.returncode, "Traceback" in output) == (code, False)
    assert left_running(tmp_path) == []
