"""One pass over an idle tree that sends no notifications: ours against watchdog's ``PollingObserver``, processor time.

python bench/polling.py [SESSIONS IMAGES_PER_SESSION]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from watchdog.utils.dirsnapshot import DirectorySnapshot, DirectorySnapshotDiff

from sdgen_thumbnail_plugin.daemon.polling import DirectoryPoll
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.catchup import CatchUp
from sdgen_thumbnail_plugin.engine.execute import Workers
from sdgen_thumbnail_plugin.engine.keeper import Keeper
from sdgen_thumbnail_plugin.model import Recipe
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage, LocalSessionStorage

sys.path.insert(0, str(Path(__file__).parent.parent))

from measuring import compare, say
from trees import make_tree


def main() -> None:
    sessions, images = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (1090, 63)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_tree(root, sessions, images)
        source = LocalImageStorage(root / "results")
        target = LocalImageStorage(root / "thumbnails", ".webp")
        with Catalog(root / "catalog.sqlite3") as catalog:
            keeper = Keeper(source, target, catalog, recipe=Recipe(), max_pixels=10**8)
            workers = Workers(keeper, count=1, budget_pixels=10**7)
            CatchUp(keeper, workers, LocalSessionStorage(source)).audit()
            workers.close()
            poll = DirectoryPoll(keeper, LocalSessionStorage(source))
            before = DirectorySnapshot(str(root / "results"))

            def theirs() -> None:
                # What its emitter does in each pass.
                DirectorySnapshotDiff(before, DirectorySnapshot(str(root / "results")))

            say(f"{sessions:,} sessions, {sessions * images:,} images, nothing happens:")
            title = "one pass of ours : one of watchdog's PollingObserver (processor time)"
            compare(title, lambda: poll.look(share=1.0), theirs, clock=time.process_time)


if __name__ == "__main__":
    main()
