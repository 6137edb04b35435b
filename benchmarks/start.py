"""A start over a project in which everything is complete, and the first audit without a catalog.

    PYTHONPATH=tests python benchmarks/start.py [SESSIONS IMAGES_PER_SESSION]

By default 1,090 sessions of 63 images; ``million`` does the same for a million. Each row compares two things that
run in turn on the same tree.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from measuring import compare, say
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.project import assemble
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage
from sdgen_thumbnail_plugin.storage.sessions import LocalSessionStorage
from support.project import make_tree

STATS = 15  # rounds of the quickest comparison, whose ratio is nearest to 1


def obvious_walk(root: Path) -> None:
    """The first attempt of anyone, and the host's own way: ``iterdir``, ``is_file``, suffix, in both trees."""
    for session in (root / "results").iterdir():
        if session.is_dir():
            wanted = [path.stem for path in session.iterdir() if path.is_file() and path.suffix == ".png"]
            thumbnails = root / "thumbnails" / session.name
            there = {path.stem for path in thumbnails.iterdir() if path.is_file() and path.suffix == ".webp"}
            assert there.issuperset(wanted)


def list_all_names(root: Path) -> None:
    for base in ("results", "thumbnails"):
        for session in os.scandir(root / base):
            for _ in os.scandir(session.path):
                pass


def list_and_stat_all(root: Path) -> None:
    for base in ("results", "thumbnails"):
        for session in os.scandir(root / base):
            for entry in os.scandir(session.path):
                entry.stat(follow_symlinks=False)


def stat_directories(root: Path) -> None:
    for session in os.listdir(root / "results"):
        for base in ("results", "thumbnails"):
            os.stat(f"{root}/{base}/{session}")


class Starter:
    """Starts over the tree, with a catalog in a file of its own."""

    def __init__(self, root: Path, file: Path) -> None:
        self._root = root
        self._root = root
        self._file = file
        self._source = LocalImageStorage(root / "results")
        self._target = LocalImageStorage(root / "thumbnails", ".webp")

    def start(self, *, forgotten: bool = False) -> None:
        """Opens the catalog and catches up, as a start does."""
        if forgotten:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._file}{suffix}").unlink(missing_ok=True)
        with Catalog(self._file) as catalog:
            self.catch_up(catalog)

    def catch_up(self, catalog: Catalog) -> None:
        """A whole catch-up."""
        settings = Settings(source_dir=self._root / "results", target_dir=self._root / "thumbnails", workers=1)
        sessions = LocalSessionStorage(self._source)
        project = assemble(settings, self._source, self._target, sessions, catalog, Home(self._root / ".sdgen"))
        workers = project.workers()
        assert project.catch_up(workers).run().created == 0
        workers.close()

    def open(self) -> Catalog:
        return Catalog(self._file)


def compare_catching_up(starter: Starter, root: Path, *, listings: int = 5, walks: int = 3) -> None:
    """Prints a row for each of three ways to look at the tree; the last two may take long."""
    with starter.open() as catalog:
        for what, other, rounds in (
            ("stat of every directory", stat_directories, STATS),
            ("listing all names", list_all_names, listings),
            ("the obvious walk", obvious_walk, walks),
        ):
            compare(
                f"catch-up : {what}",
                lambda: starter.catch_up(catalog), lambda other=other: other(root),  # type: ignore[misc]
                rounds=rounds,
            )  # fmt: skip


def main() -> None:
    sessions, images = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (1090, 63)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        root = Path(name)
        make_tree(root, sessions, images)
        starter = Starter(root, root / "catalog.sqlite3")
        starter.start()
        say(f"{sessions:,} sessions, {sessions * images:,} images, everything complete:")
        compare_catching_up(starter, root)
        compare(
            "catch-up and opening the catalog : stat of every directory",
            starter.start, lambda: stat_directories(root), rounds=STATS,
        )  # fmt: skip
        compare(
            "first audit, no catalog : listing and stat of all files",
            lambda: starter.start(forgotten=True), lambda: list_and_stat_all(root),
        )  # fmt: skip


if __name__ == "__main__":
    main()
