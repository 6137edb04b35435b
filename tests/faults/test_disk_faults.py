"""Disks that fill up, turn read-only, disappear and return; thumbnails and catalogs that another program damages.

Every fault is a real one. The reports are read where a person reads them: in the state file, or in ``status``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from PIL import Image

from sdgen_thumbnail_plugin.engine.catalog_file import SCHEMA_VERSION
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage
from support.commands import output_of, python_process, run, status
from support.mounts import mounted
from support.pictures import as_png
from support.project import Project, inodes, wait_until_faultless
from support.waiting import wait_for
from support.watcher import watcher_process, watching

SOON_S = 60.0
"""Failed work is tried again after 1, 2, 4 … 30 s, and other tests may keep the machine busy."""

OLD = "20251110_151059-old"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.image(f"{OLD}/first.png")
    return project


@contextlib.contextmanager
def mounted_new(folder: Path) -> Iterator[None]:
    """Mounts a new file system, as ``mkfs`` leaves it, over a folder; or one that looks like it."""
    image = folder.parent / "new.ext4"
    with image.open("wb") as file:
        file.truncate(2 * 1024 * 1024)
    made = shutil.which("mkfs.ext4") and not subprocess.run(["mkfs.ext4", "-q", str(image)], check=False).returncode
    if not made or subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=False).returncode:
        with mounted(folder, "size=1m"):
            (folder / "lost+found").mkdir()
            yield
        return
    try:
        assert [path.name for path in folder.iterdir()] == ["lost+found"]
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


OTHER_DRIVES: dict[str, Sequence[str]] = {
    "empty": (),
    "new": (),
    "used by a desktop": (".Trash-1000/files", "System Volume Information", "$RECYCLE.BIN"),
    "somebody's": ("papers/letters", "music"),
}
"""Drives that may be mounted in the place of the source, and their folders."""


@contextlib.contextmanager
def mounted_instead(folder: Path, kind: str) -> Iterator[None]:
    """Mounts another drive over a folder until the context ends."""
    with mounted_new(folder) if kind == "new" else mounted(folder, "size=1m"):
        for name in OTHER_DRIVES[kind]:
            (folder / name).mkdir(parents=True)
        if kind == "somebody's":
            (folder / "list.txt").touch()
        yield


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def noisy_image(project: Project, name: str) -> Path:
    """An image whose thumbnail takes seven pages, so that a disk may fill up in the middle of it."""
    path = project.results / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_png(Image.effect_noise((180, 240), 100).convert("RGB")))
    return path


def told(project: Project, *words: str) -> bool:
    """Whether the state file reports a problem with all these words and a remedy."""
    problems = project.state().get("problems", ())
    return any(all(word in one["message"] for word in words) and one["remedy"] for one in problems)


def wait_until_told(project: Project, *words: str) -> None:
    wait_for(lambda: told(project, *words), SOON_S)


def wait_until_well(project: Project) -> None:
    """Waits until every image has its thumbnail, the target holds nothing else and no problem is reported."""
    wait_for(project.is_exact, SOON_S)
    wait_for(lambda: project.state().get("problems") == [], SOON_S)
    wait_for(lambda: project.state().get("phase") == "watching", SOON_S)
    wait_until_faultless(project, SOON_S)
    assert project.state()["failures"] == 0


def catalog_file(project: Project) -> Path:
    source, target = LocalImageStorage(project.results), LocalImageStorage(project.thumbnails, ".webp")
    return project.home.catalog_file(source.location, target.location)


# -- the target's disk


@pytest.mark.parametrize(
    ("full", "roomy"),
    [(f"size={16 * PAGE_BYTES // 1024}k", "size=8m"), ("size=8m,nr_inodes=5", "nr_inodes=100")],
    ids=["in the middle of a write", "no inodes left"],
)
def test_a_full_disk_is_told_and_made_up_for(project: Project, full: str, roomy: str) -> None:
    with mounted(project.thumbnails, full), watching(project):
        for number in range(6):
            noisy_image(project, f"{OLD}/noisy{number}.png")
        wait_until_told(project, "no space left")
        assert not project.is_exact()
        assert not list(project.thumbnails.rglob("*.sdgen-tmp")), "half a thumbnail was left on the full disk"
        for thumbnail in project.thumbnails.rglob("*.webp"):
            Image.open(thumbnail).load()
        remount(project.thumbnails, roomy)
        wait_until_well(project)


def test_status_tells_of_a_full_disk_and_of_its_end(project: Project) -> None:
    with mounted(project.thumbnails, f"size={16 * PAGE_BYTES // 1024}k"), watcher_process(project):
        for number in range(6):
            noisy_image(project, f"{OLD}/noisy{number}.png")
        wait_until_told(project, "no space left")
        report = status(project)
        assert report["health"] == "degraded"
        assert [one["remedy"] for one in report["problems"]] == ["free some space; work then resumes by itself"]
        remount(project.thumbnails, "size=8m")
        wait_until_well(project)
        assert status(project)["health"] == "healthy"


def test_images_deleted_while_the_disk_was_full_leave_no_problem_behind(project: Project) -> None:
    with mounted(project.thumbnails, f"size={16 * PAGE_BYTES // 1024}k"), watching(project):
        images = [noisy_image(project, f"{OLD}/noisy{number}.png") for number in range(6)]
        wait_until_told(project, "no space left")
        for image in images:
            if not project.is_fresh(f"{OLD}/{image.name}"):
                image.unlink()
        wait_until_well(project)


def test_a_read_only_target_is_told_and_made_up_for(project: Project) -> None:
    with mounted(project.thumbnails, "size=8m"), watching(project):
        wait_until_well(project)
        remount(project.thumbnails, "ro")
        project.image(f"{OLD}/second.png")
        wait_until_told(project, "read-only")
        remount(project.thumbnails, "rw")
        wait_until_well(project)


def test_a_delete_that_a_read_only_target_refused_is_told_and_made_up_for(project: Project) -> None:
    project.image(f"{OLD}/second.png")
    with mounted(project.thumbnails, "size=8m"), watching(project):
        wait_until_well(project)
        remount(project.thumbnails, "ro")
        (project.results / OLD / "second.png").unlink()
        wait_until_told(project, "read-only")
        assert project.thumbnail(f"{OLD}/second.png").exists()
        remount(project.thumbnails, "rw")
        wait_until_well(project)


def test_a_watcher_started_on_a_read_only_target_says_so_and_goes_on_by_itself(project: Project) -> None:
    with mounted(project.thumbnails, "size=8m,ro"), watching(project):
        wait_until_told(project, "read-only")
        remount(project.thumbnails, "rw")
        wait_until_well(project)


@pytest.mark.parametrize("observer", ["native", "polling"])
def test_a_deleted_target_is_made_again(project: Project, observer: str) -> None:
    for number in range(5):
        project.image(f"{OLD}/below/{number}.png")
    with watching(project, observer=observer):
        wait_until_well(project)
        shutil.rmtree(project.thumbnails)
        wait_until_well(project)


# -- the source


@pytest.mark.parametrize("observer", ["native", "polling"])
def test_a_source_deleted_and_made_again_is_told_and_watched_again(project: Project, observer: str) -> None:
    with watching(project, observer=observer):
        wait_until_well(project)
        before = inodes(project)
        shutil.rmtree(project.results)
        wait_until_told(project, "source folder", "not there")
        wait_for_several_looks(project)
        assert inodes(project) == before
        project.image("20251111_000000-again/a.png")
        wait_until_well(project)
        project.image("20251111_000000-again/later.png")
        wait_until_well(project)


def wait_for_several_looks(project: Project) -> None:
    """Waits until several looks have passed: thumbnails are deleted at the second, a second after the first."""
    beats_at_s = project.state()["updated_at_s"]
    wait_for(lambda: project.state().get("updated_at_s", 0) > beats_at_s + 3, SOON_S)


@pytest.mark.parametrize("observer", ["native", "polling"])
@pytest.mark.parametrize("drive", OTHER_DRIVES)
def test_another_drive_in_the_sources_place_deletes_nothing(
    project: Project, drive: str, observer: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        project.image(f"{OLD}/below/{number}.png")
    with watching(project, observer=observer):
        wait_until_well(project)
        before = inodes(project)
        with mounted_instead(project.results, drive):
            wait_for(lambda: "Another folder took the source's place" in caplog.text, SOON_S)
            wait_for_several_looks(project)
            assert inodes(project) == before
        wait_until_well(project)
        assert inodes(project) == before
        project.image(f"{OLD}/later.png")
        wait_until_well(project)


@pytest.mark.parametrize("catalog", ["kept", "lost"])
@pytest.mark.parametrize("drive", OTHER_DRIVES)
def test_another_drive_at_the_start_deletes_nothing(project: Project, drive: str, catalog: str) -> None:
    for number in range(5):
        project.image(f"{OLD}/below/{number}.png")
    with watching(project):
        wait_until_well(project)
    before = inodes(project)
    if catalog == "lost":
        shutil.rmtree(project.home.state_dir)
    with contextlib.ExitStack() as mount:
        mount.enter_context(mounted_instead(project.results, drive))
        with watching(project):
            wait_until_told(project, "source folder", "no images")
            wait_for_several_looks(project)
            assert inodes(project) == before
            mount.close()
            wait_until_well(project)
            assert inodes(project) == before


@pytest.mark.parametrize("drive", OTHER_DRIVES)
def test_another_drive_in_the_sources_place_is_told_while_it_lasts(project: Project, drive: str) -> None:
    with watcher_process(project):
        wait_until_well(project)
        with mounted_instead(project.results, drive):
            wait_for(lambda: told(project, "source folder", "no images"), 8)
            report = status(project)
            assert report["health"] == "degraded"
            assert "mount the drive" in report["problems"][0]["remedy"]
        wait_until_well(project)
        assert status(project)["health"] == "healthy"


@pytest.mark.parametrize("drive", OTHER_DRIVES)
def test_no_command_deletes_anything_while_another_drive_is_in_the_sources_place(project: Project, drive: str) -> None:
    output_of(project, "catchup")
    before = inodes(project)
    with mounted_instead(project.results, drive):
        output_of(project, "catchup")
        for arguments in (("clean", "--dry-run"), ("clean",)):
            assert run(project, *arguments).returncode == 2
        assert inodes(project) == before
    output_of(project, "clean")
    assert inodes(project) == before
    assert project.is_exact()


def test_a_folder_that_the_file_system_made_in_the_source_need_not_be_read(project: Project) -> None:
    (project.results / "lost+found").mkdir(mode=0)
    with watcher_bound_by_permissions(project):
        wait_until_well(project)
        project.image(f"{OLD}/later.png")
        wait_until_well(project)
        wait_for_several_looks(project)
        assert project.state()["problems"] == []
        assert "lost+found" not in project.log()


@pytest.mark.parametrize("watched", [True, False])
def test_all_sessions_deleted_on_purpose_take_their_thumbnails_along_once_it_is_clear_that_they_are_gone(
    project: Project, watched: bool
) -> None:
    (project.results / "notes.txt").touch()
    thumbnail = project.thumbnail(f"{OLD}/first.png")
    with watching(project):
        wait_until_well(project)
        if watched:
            shutil.rmtree(project.results / OLD)
            wait_until_well(project)
    if not watched:
        shutil.rmtree(project.results / OLD)
        with watching(project):
            wait_until_told(project, "source folder", "no images")
            assert thumbnail.exists(), "it may be another folder of notes"
            project.image("20251111_000000-new/a.png")
            wait_until_well(project)
    assert not thumbnail.parent.exists()


def test_the_only_session_renamed_while_nobody_watched_is_followed(project: Project) -> None:
    with watching(project):
        wait_until_well(project)
    before = inodes(project)
    (project.results / OLD).rename(project.results / "20251110_151059-new")
    with watching(project):
        wait_until_well(project)
    assert list(inodes(project).values()) == list(before.values()), "it was made again"


def test_a_source_mounted_over_an_empty_folder_is_watched(project: Project) -> None:
    shutil.rmtree(project.results)
    project.results.mkdir()
    with watching(project), mounted(project.results, "size=1m"):
        project.image("20251111_000000-mounted/a.png")
        wait_until_well(project)
        project.image("20251111_000000-mounted/later.png")
        wait_until_well(project)


# -- a session that may not be read


@contextlib.contextmanager
def watcher_bound_by_permissions(project: Project, *arguments: str) -> Iterator[psutil.Process]:
    """A watcher that permissions apply to: started by root, it gives up the right to read everything."""
    prefix = []
    if os.geteuid() == 0:
        without = shutil.which("setpriv")
        if without is None:
            pytest.skip("root reads everything, and setpriv is not there")
        prefix = [without, "--bounding-set=-dac_override,-dac_read_search"]
    with watcher_process(project, *arguments, prefix=prefix) as process:
        yield process


@pytest.fixture
def locked_session(project: Project) -> Iterator[Path]:
    """A session without read permission until the test restores it."""
    project.image("20251111_000000-locked/a.png")
    session = project.results / "20251111_000000-locked"
    try:
        yield session
    finally:
        session.chmod(0o755)


def test_a_session_that_turns_unreadable_is_told_and_made_up_for(project: Project, locked_session: Path) -> None:
    with watcher_bound_by_permissions(project):
        wait_until_well(project)
        before = inodes(project)
        locked_session.chmod(0)
        project.image(f"{locked_session.name}/later.png")
        wait_until_told(project, locked_session.name, "permission denied")
        project.image(f"{OLD}/meanwhile.png")
        wait_for(lambda: project.is_fresh(f"{OLD}/meanwhile.png"), SOON_S)
        assert told(project, locked_session.name, "permission denied")
        assert status(project)["health"] == "degraded"
        assert before.items() <= inodes(project).items(), "what cannot be read is not gone"
        locked_session.chmod(0o755)
        wait_until_well(project)
        assert status(project)["health"] == "healthy"


def test_a_session_that_was_unreadable_at_the_start_is_told_and_made_up_for(
    project: Project, locked_session: Path
) -> None:
    locked_session.chmod(0)
    with watcher_bound_by_permissions(project):
        wait_until_told(project, locked_session.name, "permission denied")
        wait_for(lambda: project.is_fresh(f"{OLD}/first.png"), SOON_S)
        locked_session.chmod(0o755)
        wait_for(project.is_exact, SOON_S)
        wait_for(lambda: not told(project, locked_session.name), SOON_S)


def test_a_session_that_was_unreadable_at_the_start_leaves_no_problem_behind(
    project: Project, locked_session: Path
) -> None:
    locked_session.chmod(0)
    with watcher_bound_by_permissions(project):
        wait_until_told(project, locked_session.name, "permission denied")
        locked_session.chmod(0o755)
        wait_for(lambda: project.state().get("problems") == [], 15)


# -- thumbnails in whose place is something else


@contextlib.contextmanager
def thumbnail_taken_away(project: Project) -> Iterator[Path]:
    """The place of a thumbnail that was deleted a moment ago, under a watcher with nothing else to do."""
    thumbnail = project.thumbnail(f"{OLD}/first.png")
    with watching(project):
        wait_until_well(project)
        thumbnail.unlink()
        yield thumbnail


@contextlib.contextmanager
def full_folder_in_place(project: Project) -> Iterator[Path]:
    """The same, with a folder in its place that holds a file of the user's, until the context ends."""
    with thumbnail_taken_away(project) as thumbnail:
        thumbnail.mkdir()
        (thumbnail / "notes.txt").write_text("somebody's own")
        wait_until_told(project, "first.webp")
        yield thumbnail
        shutil.rmtree(thumbnail)
        wait_until_well(project)


def test_a_thumbnail_replaced_by_an_empty_folder_is_made_again(project: Project) -> None:
    with thumbnail_taken_away(project) as thumbnail:
        thumbnail.mkdir()
        wait_for(thumbnail.is_file, SOON_S)
        wait_until_well(project)


def test_a_folder_with_something_in_it_in_a_thumbnails_place_is_told_and_left_alone(project: Project) -> None:
    with full_folder_in_place(project) as folder:
        assert (folder / "notes.txt").read_text() == "somebody's own"


def test_a_folder_in_one_thumbnails_place_stays_told_and_delays_no_other(project: Project) -> None:
    with full_folder_in_place(project):
        for number in range(3):  # another session: nothing is wrong with it
            name = f"20251111_000000-other/{number}.png"
            project.image(name)
            wait_for(lambda name=name: project.is_fresh(name), SOON_S)  # type: ignore[misc]
            beat = project.state()["updated_at_s"]
            wait_for(lambda beat=beat: project.state().get("updated_at_s", 0) > beat, SOON_S)  # type: ignore[misc]
            assert told(project, "first.webp"), "nothing changed about it"


def test_a_thumbnail_replaced_by_a_link_out_of_the_tree_is_made_again_and_the_other_file_left_alone(
    project: Project,
) -> None:
    outside = project.root / "outside.webp"
    outside.write_bytes(b"somebody's own")
    os.utime(outside, ns=(1_762_000_000_000_000_001, 1_762_000_000_000_000_001))
    with thumbnail_taken_away(project) as thumbnail:
        thumbnail.symlink_to(outside)
        wait_for(lambda: not thumbnail.is_symlink() and thumbnail.is_file(), SOON_S)
        wait_until_well(project)
    assert outside.read_bytes() == b"somebody's own"
    assert outside.stat().st_mtime_ns == 1_762_000_000_000_000_001


def test_a_session_of_thumbnails_replaced_by_a_link_out_of_the_tree_is_told_and_nothing_is_written_there(
    project: Project,
) -> None:
    outside = project.root / "outside"
    outside.mkdir()
    (outside / "own.webp").write_bytes(b"somebody's own")
    session = project.thumbnails / OLD
    with watching(project):
        wait_until_well(project)
        shutil.rmtree(session)
        session.symlink_to(outside)
        wait_until_told(project, OLD)
        assert [path.name for path in outside.iterdir()] == ["own.webp"]
        session.unlink()
        wait_until_well(project)
    assert [path.name for path in outside.iterdir()] == ["own.webp"]


def test_a_thumbnail_replaced_by_an_empty_file_is_made_again(project: Project) -> None:
    thumbnail = project.thumbnail(f"{OLD}/first.png")
    with watching(project):
        wait_until_well(project)
        empty = project.root / "empty"
        empty.touch()
        shutil.copystat(thumbnail, empty)
        empty.replace(thumbnail)
        wait_for(lambda: thumbnail.stat().st_size, SOON_S)
        wait_until_well(project)


def test_a_thumbnail_emptied_in_place_is_made_again_by_the_sweep(project: Project) -> None:
    thumbnail = project.thumbnail(f"{OLD}/first.png")
    with watching(project, sweep_interval_s=2.0):
        wait_until_well(project)
        stamp = thumbnail.stat()
        os.truncate(thumbnail, 0)  # changes nothing about its folder
        os.utime(thumbnail, ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
        wait_for(lambda: thumbnail.stat().st_size, SOON_S)
        wait_until_well(project)


# -- the catalog


def complete(project: Project) -> None:
    """Two sessions whose thumbnails are made and recorded."""
    for number in range(3):
        project.image(f"{OLD}/{number}.png")
        project.image(f"20251111_000000-other/{number}.png")
    with watching(project):
        wait_until_well(project)


def test_a_catalog_deleted_under_a_running_watcher_costs_no_thumbnail(project: Project) -> None:
    complete(project)
    before = inodes(project)
    with watching(project):
        for path in catalog_file(project).parent.glob(f"{catalog_file(project).name}*"):
            path.unlink()
        project.image(f"{OLD}/later.png")
        wait_until_well(project)
    with watching(project):
        wait_until_well(project)
        project.image("20251112_000000-new/a.png")
        wait_until_well(project)
    assert before.items() <= inodes(project).items(), "thumbnails were made again"


@pytest.mark.parametrize("observer", ["native", "polling"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_a_catalog_truncated_between_two_runs_costs_no_thumbnail(project: Project, kept: float, observer: str) -> None:
    complete(project)
    before = inodes(project)
    catalog = catalog_file(project)
    os.truncate(catalog, int(catalog.stat().st_size * kept))
    with watching(project, observer=observer):
        project.image(f"{OLD}/later.png")
        wait_until_well(project)
    assert before.items() <= inodes(project).items(), "thumbnails were made again"


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_catalog_truncated_under_a_running_watcher_costs_no_thumbnail(project: Project, kept: float) -> None:
    complete(project)
    before = inodes(project)
    catalog = catalog_file(project)
    with watching(project):
        os.truncate(catalog, int(catalog.stat().st_size * kept))
        project.image(f"{OLD}/later.png")
        project.image("20251112_000000-new/a.png")
        wait_until_well(project)
    with watching(project):
        wait_until_well(project)
        project.image("20251112_000000-new/b.png")
        wait_until_well(project)
    assert before.items() <= inodes(project).items(), "thumbnails were made again"


LOCKS = {
    "others may read": (),
    "with a journal": ("PRAGMA journal_mode = DELETE",),
    "for good": (
        "PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE", f"PRAGMA user_version = {SCHEMA_VERSION}", "COMMIT",
    ),
}  # fmt: skip
"""Ways to lock a database; except for the first, no other process can even open it."""


@contextlib.contextmanager
def locking(catalog: Path, lock: str = "others may read") -> Iterator[None]:
    """Another process locks the catalog."""
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in sys.argv[2:]:\n"
        "    connection.execute(statement).fetchall()\n"
        "connection.execute('BEGIN EXCLUSIVE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with python_process(program, str(catalog), *LOCKS[lock], says="locked"):
        yield


def test_a_catalog_locked_by_another_process_is_told_and_costs_no_thumbnail(project: Project) -> None:
    complete(project)
    with watching(project):
        with locking(catalog_file(project)):
            project.image(f"{OLD}/later.png")
            wait_until_told(project, "locked")
            project.image(f"{OLD}/latest.png")
            wait_for(lambda: project.is_fresh(f"{OLD}/latest.png"), SOON_S)
        wait_until_well(project)
        wait_for(lambda: project.state()["images"] == 9, SOON_S)
    connection = sqlite3.connect(catalog_file(project))
    with contextlib.closing(connection):
        assert connection.execute("SELECT SUM(images) FROM directories").fetchone() == (9,), "it was not made up for"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_watcher_starts_while_another_process_has_the_catalog_locked(project: Project, lock: str) -> None:
    complete(project)
    before = inodes(project)
    (project.results / "20251111_000000-other" / "0.png").unlink()
    project.image(f"{OLD}/later.png")
    with contextlib.ExitStack() as other:
        other.enter_context(locking(catalog_file(project), lock))
        with watching(project):
            wait_for(project.is_exact, SOON_S)
            wait_until_told(project, "locked")
            project.image("20251112_000000-new/a.png")
            wait_for(project.is_exact, SOON_S)
            other.close()
    with watching(project):  # the next start has its memory again
        wait_until_well(project)
        wait_for(lambda: project.state()["images"] == 8, SOON_S)
    assert not list(project.home.state_dir.glob("*.sqlite3.*-*")), "it was set aside, though nothing is wrong with it"
    del before["20251111_000000-other/0.webp"]
    assert before.items() <= inodes(project).items(), "thumbnails were made again"
    connection = sqlite3.connect(catalog_file(project))
    with contextlib.closing(connection):
        assert connection.execute("SELECT SUM(images) FROM directories").fetchone() == (8,), "it was not made up for"


def test_a_catalog_of_a_newer_version_is_set_aside_and_costs_no_thumbnail(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    complete(project)
    before = inodes(project)
    connection = sqlite3.connect(catalog_file(project))
    with contextlib.closing(connection):
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with watching(project):
        project.image(f"{OLD}/later.png")
        wait_until_well(project)
    assert before.items() <= inodes(project).items(), "thumbnails were made again"
    assert "The catalog is of a newer version" in caplog.text
    assert "damaged" not in caplog.text
    (aside,) = project.home.state_dir.glob("*.sqlite3.newer-*")
    connection = sqlite3.connect(aside)
    with contextlib.closing(connection):
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
        assert connection.execute("SELECT COUNT(*) FROM directories").fetchone() == (3,), "its contents are not ours"
