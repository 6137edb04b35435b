"""The one thumbnail that somebody asks for now: for the host's web backend, or any program.

Offered at the package's top level::

    from sdgen_thumbnail_plugin import generate_thumbnail_sync

    path = generate_thumbnail_sync("results/a/a_0000.png", "thumbnails/a/a_0000.webp")

All rules hold: nothing is done where the thumbnail is fresh, one build however many threads and processes ask, a reader
never sees half a file, and what cannot be shown is remembered and not tried again before it changes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
from sdgen_thumbnail_plugin.engine.images import TRUNCATED_RETRIES_S, ImageReconciler, Room
from sdgen_thumbnail_plugin.engine.lookups import CatalogLookups
from sdgen_thumbnail_plugin.engine.memory_budget import MemoryBudget
from sdgen_thumbnail_plugin.engine.plan import Rules, is_fresh, thumbnail_key
from sdgen_thumbnail_plugin.engine.records import BriefRecords, Records
from sdgen_thumbnail_plugin.errors import (
    ImageError,
    NotAPngError,
    SourceChangedError,
    SourceGoneError,
    TruncatedImageError,
    UnusableNameError,
    image_error,
)
from sdgen_thumbnail_plugin.model import SOURCE_SUFFIX, THUMBNAIL_SUFFIX, Outcome, OutcomeKind, Stamp
from sdgen_thumbnail_plugin.paths import find_home
from sdgen_thumbnail_plugin.settings import CONFIG_NAME, Settings, load_settings
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage, is_image_name

__all__ = ["generate_thumbnail", "generate_thumbnail_sync", "make_thumbnail_right"]

CONFIG_VARIABLE = "SDGEN_CONFIG_PATH"
"""The host's: tells its web backend where the project's ``sdgen_config.json`` is."""

_SEEN_LIMIT = 100_000

_builders = threading.BoundedSemaphore(os.cpu_count() or 1)  # more would only hold more files in memory
_rooms = functools.lru_cache(maxsize=8)(functools.partial(MemoryBudget, waits=True))


def _begin_anew_in_child() -> None:
    """What other threads held at the moment of a fork, nobody gives back in the child."""
    global _builders
    _builders = threading.BoundedSemaphore(os.cpu_count() or 1)
    _rooms.cache_clear()


os.register_at_fork(after_in_child=_begin_anew_in_child)


def generate_thumbnail_sync(source_path: str | os.PathLike[str], thumbnail_path: str | os.PathLike[str]) -> Path:
    """Makes a thumbnail right: builds it where it is missing or stale, leaves it alone where it is fresh.

    The settings are those of the project: the ``sdgen_config.json`` that ``SDGEN_CONFIG_PATH`` names, else the nearest
    one above the image, the thumbnail or the working directory, else the defaults. Safe to call from any thread and
    process, at any time, beside a running watcher too. A file that is still being written is waited for, at most 4.4
    seconds.

    Args:
        source_path: the image, a PNG file.
        thumbnail_path: where its thumbnail is, or is to be: a ``.webp`` file. Missing folders are made.

    Returns:
        the thumbnail's path, as it was given.

    Raises:
        SourceGoneError: there is no such image.
        ImageError: the image cannot be shown; its subclasses say why (``sdgen_thumbnail_plugin.errors``).
        SourceChangedError: it does not stop changing.
        MachineError: it cannot be read, or the thumbnail cannot be written.
        SettingsError: ``sdgen_config.json`` or an environment variable is wrong.
    """
    source, thumbnail = Path(source_path), Path(thumbnail_path)
    return make_thumbnail_right(source, thumbnail, _settings_for(source, thumbnail))


def make_thumbnail_right(source: Path, thumbnail: Path, settings: Settings) -> Path:
    """``generate_thumbnail_sync`` for whoever has the settings already."""
    _check_names(source, thumbnail)
    reconciler, key, room = _reconciler_for(source, thumbnail, settings)
    for pause_s in (*TRUNCATED_RETRIES_S, None):
        try:
            outcome = reconciler.make_image_right(key, room=room, last_try=pause_s is None)
        except (TruncatedImageError, SourceChangedError) as error:
            if pause_s is None:
                raise error.at(str(source)) from None
            time.sleep(pause_s)
        else:
            break
    reconciler.raise_for(outcome, str(source))
    return thumbnail


async def generate_thumbnail(source_path: str | os.PathLike[str], thumbnail_path: str | os.PathLike[str]) -> Path:
    """``generate_thumbnail_sync`` for asyncio: works in threads of its own, as many as there are processors, so the
    event loop and its default executor stay free. Same parameters, same errors."""
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(
        _threads(os.getpid()), generate_thumbnail_sync, source_path, thumbnail_path
    )


@functools.lru_cache(maxsize=1)
def _threads(pid: int) -> ThreadPoolExecutor:  # noqa: ARG001 - a forked child needs threads of its own
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="thumbnails-on-demand")


def _check_names(source: Path, thumbnail: Path) -> None:
    if not is_image_name(source.name):
        raise NotAPngError("is not called .png", path=str(source))
    if not is_image_name(thumbnail.name, THUMBNAIL_SUFFIX):
        raise UnusableNameError("is no name for a thumbnail", path=str(thumbnail), remedy="let it end in .webp")


@dataclass(frozen=True, slots=True)
class _Pair:
    """What this process knows of one pair of roots."""

    records: Records
    seen: dict[str, str] = field(default_factory=dict)
    """By key, the tag of the settings by which an image's thumbnail was right: it is ours, and not to be adopted."""

    def note_seen(self, key: str, tag: str) -> None:
        if len(self.seen) >= _SEEN_LIMIT:
            self.seen.clear()
        self.seen[key] = tag


class _OnDemandReconciler(ImageReconciler):
    """Makes one image right whose thumbnail may have any name, and keeps the error instead of words about it."""

    def __init__(
        self, source: LocalImageStorage, target: LocalImageStorage, pair: _Pair, settings: Settings, thumbnail: str
    ) -> None:
        super().__init__(
            source, target, pair.records, recipe=settings.recipe, max_pixels=settings.max_pixels,
            claims=BuildLocks(find_home().claims_file),
        )  # fmt: skip
        self._pair = pair
        self._thumbnail = thumbnail
        self._error: ImageError | None = None

    def raise_for(self, outcome: Outcome, path: str) -> None:
        """Raises where there is no thumbnail now."""
        self._pair.note_seen(outcome.key, self.recipe.tag)
        if outcome.kind is OutcomeKind.FAILED and self._error is not None:
            raise self._error.at(path)
        if outcome.kind is OutcomeKind.KNOWN_FAILURE:
            failure = self._records.failure(outcome.key)
            if failure is not None:
                raise image_error(failure.kind, failure.message, failure.remedy).at(path)
            raise SourceChangedError("changed while it was looked at", path=path)

    def _name(self, key: str) -> str:  # noqa: ARG002
        return self._thumbnail

    def _rules_for_image(self, key: str, stamp: Stamp, thumbnail: Stamp | None) -> Rules:
        rules = super()._rules_for_image(key, stamp, thumbnail)
        made_by = self._pair.seen.get(key)
        if made_by is not None:
            return replace(rules, adopting=False, same_recipe=made_by == self.recipe.tag)
        if rules.adopting and is_fresh(stamp, thumbnail, rules):
            # Nothing is remembered of the directory: then the thumbnail itself tells whether it is of today.
            return replace(rules, same_recipe=self._are_of_today([self._thumbnail]))
        return rules

    def _refuse_a_taken_name(self, key: str) -> None:
        if thumbnail_key(key) == self._thumbnail:
            super()._refuse_a_taken_name(key)

    def _build(self, key: str, wanted: str, room: Room) -> int:
        with _builders:
            return super()._build(key, wanted, room)

    def _remember_failure(self, key: str, stamp: Stamp, error: ImageError) -> None:
        self._error = error
        super()._remember_failure(key, stamp, error)

    def _follow_a_vanished_source(self, key: str) -> Outcome:
        # Whether its thumbnail goes too is the watcher's decision, which knows the whole folder.
        raise SourceGoneError("is not there", path=self.source.location + "/" + key)


def _reconciler_for(source: Path, thumbnail: Path, settings: Settings) -> tuple[_OnDemandReconciler, str, MemoryBudget]:
    """A reconciler, the image's key for it, and the room that its builds share."""
    source_folder, target_folder = (os.path.realpath(path.parent) for path in (source, thumbnail))
    source_root, target_root = (os.path.realpath(path) for path in (settings.source_dir, settings.target_dir))
    key = _relative(f"{source_folder}/{source.name}", source_root)
    wanted = _relative(f"{target_folder}/{thumbnail.name}", target_root)
    if key is None or wanted != thumbnail_key(key):
        source_root, target_root, key, wanted = source_folder, target_folder, source.name, thumbnail.name
        pair = _unknown_pair(source_root, target_root)
    else:
        pair = _known_pair(find_home().catalog_file(source_root, target_root))
    reconciler = _OnDemandReconciler(
        LocalImageStorage(Path(source_root), SOURCE_SUFFIX),
        LocalImageStorage(Path(target_root), THUMBNAIL_SUFFIX),
        pair, settings, wanted,
    )  # fmt: skip
    return reconciler, key, _rooms(settings.memory_pixels)


def _relative(path: str, root: str) -> str | None:
    return path[len(root) + 1 :] if path.startswith(root + "/") else None


@functools.lru_cache(maxsize=64)
def _known_pair(catalog_file: Path) -> _Pair:
    return _Pair(CatalogLookups(catalog_file))


@functools.lru_cache(maxsize=1024)
def _unknown_pair(source_root: str, target_root: str) -> _Pair:  # noqa: ARG001 - the key of the cache
    return _Pair(BriefRecords())


def _settings_for(source: Path, thumbnail: Path) -> Settings:
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return _settings_in(Path(named) if Path(named).is_dir() else Path(named).parent)
    folders = [Path(os.path.realpath(path.parent)) for path in (source, thumbnail)]
    with contextlib.suppress(OSError):  # deleted under our feet
        folders.append(Path.cwd())
    for folder in folders:
        for place in (folder, *folder.parents):
            if (place / CONFIG_NAME).is_file():
                return _settings_in(place)
    return _settings_in(folders[0])


def _settings_in(folder: Path) -> Settings:
    """Settings, read anew where the file or the environment changed: reading them costs more than a look at both."""
    try:
        status = (folder / CONFIG_NAME).stat()
        version = (status.st_mtime_ns, status.st_size)
    except OSError:
        version = (0, 0)
    ours = tuple(sorted(item for item in os.environ.items() if item[0].startswith("SDGEN_")))
    return _read_settings(folder, version, ours)


@functools.lru_cache(maxsize=16)
def _read_settings(folder: Path, version: tuple[int, int], environment: tuple[tuple[str, str], ...]) -> Settings:  # noqa: ARG001
    return load_settings(folder)
