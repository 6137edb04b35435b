"""A storage in memory, as an object store is: no directories but those in its keys, no directory times, no times that
can be set. A stamp is a generation number and the size."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence

from sdgen_thumbnail_plugin.errors import SourceGoneError
from sdgen_thumbnail_plugin.model import Stamp
from sdgen_thumbnail_plugin.storage.base import Listing, StoredImage, Token

__all__ = ["MemorySessions", "MemoryStorage"]

_generations = itertools.count(1)


class MemoryStorage:
    """Images of one suffix below one root.

    Args:
        location: names it.
        suffix: that of its images, with the dot.
    """

    keeps_times = False

    def __init__(self, location: str, suffix: str) -> None:
        self.location = location
        self.writes: list[str] = []
        self._suffix = suffix
        self._images: dict[str, tuple[bytes, Stamp]] = {}
        self._lock = threading.Lock()

    def keys(self) -> list[str]:
        return sorted(self._images)

    def time_tolerance_ns(self) -> int:
        return 0

    def root_identity(self) -> str | None:
        return self.location

    def root_holds_anything(self) -> bool:
        return bool(self._images)

    def tokens(self, directories: Iterable[str]) -> dict[str, Token | None]:
        return dict.fromkeys(directories)

    def recent(self, tokens: Mapping[str, Token | None], within_s: float) -> set[str]:
        return set()

    def directory_exists(self, directory: str) -> bool:
        return not directory or any(key.startswith(f"{directory}/") for key in self._images)

    def missing_directories(self, directories: Iterable[str]) -> set[str]:
        return {directory for directory in directories if not self.directory_exists(directory)}

    def list_directory(self, directory: str) -> Listing:
        prefix = f"{directory}/" if directory else ""
        with self._lock:
            below = {key[len(prefix) :]: stamp for key, (_, stamp) in self._images.items() if key.startswith(prefix)}
        return Listing(
            images={prefix + name: stamp for name, stamp in below.items() if "/" not in name},
            directories=sorted({prefix + name.partition("/")[0] for name in below if "/" in name}),
            exists=not directory or bool(below),
        )

    def remove_empty_directory(self, directory: str) -> bool:
        return False

    def rename_directory(self, old: str, new: str) -> bool:
        if self.directory_exists(new) or not self.directory_exists(old):
            return False
        for key in [key for key in self._images if key.startswith(f"{old}/")]:
            self.rename_image(key, new + key[len(old) :])
        return True

    def image_exists(self, key: str) -> bool:
        return key in self._images

    def get_image_metadata(self, key: str) -> Stamp | None:
        with self._lock:
            found = self._images.get(key)
        return None if found is None else found[1]

    def modified_ns(self, stamp: Stamp) -> int | None:
        return None

    def age_s(self, stamp: Stamp) -> float | None:
        return None

    def read_image(self, key: str, *, limit_bytes: int | None = None) -> StoredImage:
        with self._lock:
            found = self._images.get(key)
        if found is None:
            raise SourceGoneError("is missing", path=key)
        return StoredImage(found[0][:limit_bytes], found[1])

    def read_heads(self, keys: Sequence[str], limit_bytes: int) -> dict[str, bytes]:
        return {key: self._images[key][0][:limit_bytes] for key in keys if key in self._images}

    def write_image_bytes(self, key: str, content: bytes, *, mtime_ns: int | None = None) -> None:
        assert key.endswith(self._suffix)
        with self._lock:
            self._images[key] = content, Stamp(next(_generations), len(content))
            self.writes.append(key)

    def set_time(self, key: str, mtime_ns: int) -> None:
        raise AssertionError("times cannot be set here")

    def rename_image(self, old_key: str, new_key: str) -> bool:
        with self._lock:
            found = self._images.pop(old_key, None)
            if found is not None:
                self._images[new_key] = found
        return found is not None

    def delete_image(self, key: str) -> bool:
        with self._lock:
            return self._images.pop(key, None) is not None

    def delete_temporary(self, key: str) -> bool:
        raise AssertionError("there are none here")


class MemorySessions:
    """The sessions of a storage in memory."""

    def newest_first(self, sessions: Iterable[str]) -> list[str]:
        return sorted(sessions, reverse=True)

    def read_manifest(self, session: str) -> Mapping[str, object] | None:
        return None
