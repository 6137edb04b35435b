"""The demonstration: its pictures, its refusals, and the whole of it as a person runs it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageFont
from rich.console import Console

from sdgen_thumbnail_plugin.demo import pictures, story
from sdgen_thumbnail_plugin.demo.report import Arrival, Made, contact_sheet, line_of, summary_of, table_of
from sdgen_thumbnail_plugin.errors import MachineError, ProcessError, SettingsError
from waiting import wait_for

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


@pytest.mark.parametrize("scene", ["harbour", "hills", "paper", "aurora"])
def test_a_scene_is_drawn_the_same_for_the_same_seed(scene: str) -> None:
    for size_px in ((96, 144), (160, 96)):
        picture = pictures.draw(scene, 7, size_px)
        assert (picture.mode, picture.size) == ("RGB", size_px)
        assert picture.tobytes() == pictures.draw(scene, 7, size_px).tobytes()
        assert picture.tobytes() != pictures.draw(scene, 8, size_px).tobytes()


def test_a_png_carries_its_prompt() -> None:
    content = pictures.encode(Image.new("RGB", (64, 96)), prompt="misty hills", seed=42)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        parameters = picture.info["parameters"]
    assert parameters.startswith("misty hills")
    assert "\nNegative prompt: " in parameters
    assert "Seed: 42, Size: 64x96" in parameters


def test_a_session_is_written_as_the_host_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SIZES_PX", ((32, 48), (48, 32)))
    session = tmp_path / "20251110_151059-paper-cut"
    pictures.write_session(session, 3)
    names = [f"paper-cut_000{number}_seed-10{number}.png" for number in range(3)]
    assert sorted(path.name for path in session.iterdir()) == ["manifest.json", *names]
    assert json.loads((session / "manifest.json").read_text("utf-8"))["status"] == "completed"


def test_live_images_arrive_in_every_way_and_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SIZES_PX", ((32, 48), (48, 32)))
    session, record = tmp_path / "20251113_120000-aurora", tmp_path / "arrivals.jsonl"
    pictures.write_live(session, 8, record=record, pause_s=0)
    arrivals = [Arrival(**json.loads(line)) for line in record.read_text("utf-8").splitlines()]
    assert {arrival.way for arrival in arrivals} == {"plain", "in pieces", "renamed", "overwritten"}
    last = {arrival.name: arrival for arrival in arrivals}
    assert len(arrivals) == 9
    assert sorted(last) == sorted(path.name for path in session.glob("*.png*"))
    for name, arrival in last.items():
        stat = (session / name).stat()
        assert (arrival.mtime_ns, arrival.bytes) == (stat.st_mtime_ns, stat.st_size)
        with Image.open(session / name) as picture:
            picture.load()
            assert (picture.width, picture.height) == (arrival.width_px, arrival.height_px)
            assert (picture.mode == "RGBA") == (arrival.way == "overwritten")


@pytest.mark.parametrize("failure", [None, TypeError, ImportError])
def test_the_contact_sheet_shows_every_thumbnail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[Exception] | None
) -> None:
    if failure is not None:  # Pillow 10.0 knows no size; a Pillow without FreeType has no such font
        plain = ImageFont.load_default()

        def old(size: float | None = None) -> object:
            if size is not None:
                raise failure
            return plain

        monkeypatch.setattr(ImageFont, "load_default", old)
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    for number, colour in enumerate(colours):
        Image.new("RGB", (360, 240), colour).save(tmp_path / f"{number}.webp", lossless=True)
    paths = sorted(tmp_path.glob("*.webp"))
    sheet = contact_sheet({"20251110_151059-a": paths * 3, "20251111_151059-b": paths[:1]})
    counted = {colour: count for count, colour in sheet.getcolors(sheet.width * sheet.height) or []}
    assert [counted[colour] // (360 * 240) for colour in colours] == [4, 3, 3]


def test_a_contact_sheet_of_nothing_is_a_picture_too() -> None:
    assert contact_sheet({}).width > 0


def test_the_table_fits_into_80_columns() -> None:
    image = Arrival("aurora_0000_seed-100.png", "overwritten", 1.0, 1, 1_450_000, 1024, 1024)
    console = quiet()
    console.print(table_of([Made(image, 12_345, 1.234)]))
    text = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    for word in (image.name, "overwritten", "1024×1024", "1,416 KiB", "12.1 KiB", "1,234 ms"):
        assert word in text
    assert line_of(Made(image, 1, 0.05)) == "   50 ms  aurora_0000_seed-100.png  (overwritten)"
    assert summary_of([Made(image, 1, 0.05)], glance_s=0.005).startswith("median 50 ms, slowest 50 ms")
    assert summary_of([], glance_s=0.005) == "none was seen in time"


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "results").mkdir(parents=True)
    (folder / "results" / "1.png").write_bytes(b"mine")
    (folder / "sdgen_config.json").write_text("{}", "utf-8")
    before = everything(tmp_path)
    with pytest.raises(SettingsError) as caught:
        story.run_demo(folder, console=quiet())
    assert caught.value.path == str(folder)
    assert "sdgen-thumbnails demo FOLDER" in caught.value.remedy
    with pytest.raises(SettingsError):
        story.run_demo(folder / "sdgen_config.json", console=quiet())
    assert everything(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_told_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError) as caught:
        story.run_demo(tmp_path / "file" / "demo", console=quiet())
    assert "sdgen-thumbnails demo FOLDER" in caught.value.remedy


def test_a_watcher_that_does_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SIZES_PX", ((32, 48),))
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no watcher today' >&2\nexit 7\n", "utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(ProcessError, match="start failed with exit code 7: no watcher today") as caught:
        story.run_demo(tmp_path / "demo", console=quiet())
    assert caught.value.remedy


def test_making_it_anew_removes_only_what_it_made(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    story._prepare(folder)
    (folder / "results" / "old").mkdir()
    (folder / "notes.txt").write_text("mine", "utf-8")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.webp").touch()
    (folder / "thumbnails").symlink_to(outside)
    story._prepare(folder)
    assert not (folder / "results" / "old").exists()
    assert not (folder / "thumbnails").exists()
    assert (folder / "notes.txt").exists()
    assert (outside / "1.webp").exists()


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
        wait_for((tmp_path / "sdgen-demo" / "arrivals.jsonl").exists, timeout=60)
        running.send_signal(number)
        output, _ = running.communicate(timeout=60)
    assert (running.returncode, "Traceback" in output) == (code, False)
    assert left_running(tmp_path) == []
