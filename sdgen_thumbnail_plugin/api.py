"""One thumbnail on demand: for the host's web backend, or any program.

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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sdgen_thumbnail_plugin.config_file import CONFIG_NAME
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.memory_budget import MemoryBudget
from sdgen_thumbnail_plugin.engine.plan import thumbnail_key
from sdgen_thumbnail_plugin.engine.reconcile import TRUNCATED_RETRIES_S
from sdgen_thumbnail_plugin.errors import (
    ImageError,
    NotAPngError,
    SourceChangedError,
    SourceGoneError,
    SourceUnfinishedError,
    UnusableNameError,
    image_error,
)
from sdgen_thumbnail_plugin.model import THUMBNAIL_SUFFIX, OutcomeKind
from sdgen_thumbnail_plugin.paths import find_home
from sdgen_thumbnail_plugin.project import image_reconciler, storages_of
from sdgen_thumbnail_plugin.settings import Settings, load_settings
from sdgen_thumbnail_plugin.storage.local import is_image_name

CONFIG_VARIABLE = "SDGEN_CONFIG_PATH"
"""The host's: tells its web backend where the project's ``sdgen_config.json`` is."""

_builders = threading.BoundedSemaphore(os.cpu_count() or 1)  # more would only hold more files in memory
_opening = threading.Lock()
_budgets = functools.lru_cache(maxsize=8)(MemoryBudget)


def _forget_in_child() -> None:
    """What other threads held at the moment of a fork is not released in the child."""
    global _builders, _opening
    _builders = threading.BoundedSemaphore(os.cpu_count() or 1)
    _opening = threading.Lock()
    _budgets.cache_clear()


os.register_at_fork(after_in_child=_forget_in_child)


def generate_thumbnail_sync(source_path: str | os.PathLike[str], thumbnail_path: str | os.PathLike[str]) -> Path:
    """Makes sure that a thumbnail is right: builds it where it is missing or stale, leaves it alone where it is fresh.

    The settings are those of the project: the ``sdgen_config.json`` that ``SDGEN_CONFIG_PATH`` names, else the nearest
    one above the image, the thumbnail or the working directory, else the defaults. Safe to call from any thread and
    process, at any time, beside a running watcher too. A file that is still being written is waited for, at most 4.4
    seconds.

    Args:
        source_path: the image, a PNG file.
        thumbnail_path: where its thumbnail is, or is to be: a ``.webp`` file. Missing folders are created.

    Returns:
        The thumbnail's path, as it was given.

    Raises:
        SourceGoneError: the image is missing.
        ImageError: the image cannot be shown; its subclasses say why (``sdgen_thumbnail_plugin.errors``).
        SourceChangedError: it does not stop changing.
        MachineError: it cannot be read, or the thumbnail cannot be written.
        SettingsError: ``sdgen_config.json`` or an environment variable is wrong.
    """
    source, thumbnail = Path(source_path), Path(thumbnail_path)
    return make_thumbnail(source, thumbnail, _settings_for(source, thumbnail))


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


def make_thumbnail(source: Path, thumbnail: Path, settings: Settings) -> Path:
    """``generate_thumbnail_sync`` for a caller that has the settings already."""
    if not is_image_name(source.name):
        raise NotAPngError("is not called .png", path=str(source))
    if not is_image_name(thumbnail.name, THUMBNAIL_SUFFIX):
        raise UnusableNameError("is not a name for a thumbnail", path=str(thumbnail), remedy="let it end in .webp")
    source_root, key, target_root, name = _roots_and_keys(source, thumbnail, settings)
    home = find_home()
    with _opening:  # threads that come first together must share one
        catalog = _catalog(home.catalog_file(source_root, target_root), os.getpid())
    images = image_reconciler(
        settings,
        *storages_of(Path(source_root), Path(target_root)),
        catalog,
        home,
        guard=None,  # whether a thumbnail goes with its source is the watcher's decision, which knows the whole folder
    )
    budget = functools.partial(_building, settings.memory_pixels)
    for pause_s in (*TRUNCATED_RETRIES_S, None):
        try:
            outcome = images.reconcile(key, budget=budget, thumbnail=name, last_try=pause_s is None)
        except (SourceUnfinishedError, SourceChangedError) as error:
            if pause_s is None:
                cause = error.__cause__
                raise (cause if isinstance(cause, ImageError) else error).at(str(source)) from None
            time.sleep(pause_s)
        except (ImageError, SourceGoneError) as error:
            error.path = str(source)
            raise
        else:
            break
    if outcome.kind is OutcomeKind.KNOWN_FAILURE:
        failure = catalog.failure(key)
        if failure is None:
            raise SourceChangedError("changed while it was looked at", path=str(source))
        raise image_error(failure.kind, failure.message, failure.remedy).at(str(source))
    return thumbnail


@contextlib.contextmanager
def _building(budget_pixels: int, pixels: int) -> Iterator[None]:
    with _builders, _budgets(budget_pixels)(pixels):
        yield


def _roots_and_keys(source: Path, thumbnail: Path, settings: Settings) -> tuple[str, str, str, str]:
    """Both roots, the image's key and the thumbnail's: those of the project where it is a pair that belongs together
    there, else those of the two files alone."""
    source_folder, target_folder = (os.path.realpath(path.parent) for path in (source, thumbnail))
    source_root, target_root = (os.path.realpath(path) for path in (settings.source_dir, settings.target_dir))
    key = _relative(f"{source_folder}/{source.name}", source_root)
    name = _relative(f"{target_folder}/{thumbnail.name}", target_root)
    if key is None or name != thumbnail_key(key):
        return source_folder, source.name, target_folder, thumbnail.name
    return source_root, key, target_root, name


def _relative(path: str, root: str) -> str | None:
    return path[len(root) + 1 :] if path.startswith(root + "/") else None


@functools.lru_cache(maxsize=64)
def _catalog(path: Path, pid: int) -> Catalog:  # noqa: ARG001 - SQLite's connections do not survive a fork
    return Catalog.beside_the_watcher(path)


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
    """Settings, read again where the file or the environment changed: reading them costs more than a look at both."""
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
