"""Starting over a project in which everything is complete, and the first audit of one that no catalog knows.

    python bench/start.py [SESSIONS IMAGES_PER_SESSION]

By default 1,090 sessions of 63 images; ``million`` does the same for a million. Each line is one thing against another
on the same tree, run in turn.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.catchup import CatchUp
from sdgen_thumbnail_plugin.engine.reconcile import Reconciler
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.model import Recipe
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage, LocalSessionStorage

sys.path.insert(0, str(Path(__file__).parent.parent))

from measuring import compare, say
from trees import make_tree

STATS = 15  # rounds of what takes least, and is nearest to ours


def obvious_walk(root: Path) -> None:
    """What one writes first, and today's host does: ``iterdir``, ``is_file``, suffix, in both trees."""
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


class Engine:
    """The engine over the tree, with a catalog of its own."""

    def __init__(self, root: Path, file: Path) -> None:
        self._file = file
        self._source = LocalImageStorage(root / "results")
        self._target = LocalImageStorage(root / "thumbnails", ".webp")

    def start(self, *, forgotten: bool = False) -> None:
        """What happens at a start: the catalog is opened, then what is missing is caught up with."""
        if forgotten:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._file}{suffix}").unlink(missing_ok=True)
        with Catalog(self._file) as catalog:
            self.catch_up(catalog)

    def catch_up(self, catalog: Catalog) -> None:
        """The smart catch-up, then the audit."""
        reconciler = Reconciler(self._source, self._target, catalog, recipe=Recipe(), max_pixels=10**8)
        workers = Workers(reconciler, count=1, budget_pixels=10**7)
        catch_up = CatchUp(reconciler, workers, LocalSessionStorage(self._source))
        assert catch_up.smart().created == 0
        assert catch_up.audit().created == 0
        workers.close()

    def open(self) -> Catalog:
        return Catalog(self._file)


def compare_catching_up(engine: Engine, root: Path, *, listings: int = 5, walks: int = 3) -> None:
    """Prints a row for each of three ways to look at the tree, of which the last two may take long."""
    with engine.open() as catalog:
        for what, other, rounds in (
            ("stat of every directory", stat_directories, STATS),
            ("listing all names", list_all_names, listings),
            ("the obvious walk", obvious_walk, walks),
        ):
            compare(
                f"catch-up : {what}",
                lambda: engine.catch_up(catalog), lambda other=other: other(root),  # type: ignore[misc]
                rounds=rounds,
            )  # fmt: skip


def main() -> None:
    sessions, images = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (1090, 63)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        root = Path(name)
        make_tree(root, sessions, images)
        engine = Engine(root, root / "catalog.sqlite3")
        engine.start()
        say(f"{sessions:,} sessions, {sessions * images:,} images, everything complete:")
        compare_catching_up(engine, root)
        compare(
            "catch-up and opening the catalog : stat of every directory",
            engine.start, lambda: stat_directories(root), rounds=STATS,
        )  # fmt: skip
        compare(
            "first audit, no catalog : listing and stat of all files",
            lambda: engine.start(forgotten=True), lambda: list_and_stat_all(root),
        )  # fmt: skip


if __name__ == "__main__":
    main()
