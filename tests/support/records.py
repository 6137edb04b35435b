"""What a catalog holds, filled in."""

from __future__ import annotations

from sdgen_thumbnail_plugin.engine.catalog import DirectoryRecord
from sdgen_thumbnail_plugin.model import Failure, Stamp

RECORD = DirectoryRecord((2**62, "a digest"), "h240-q85-m6", 5, 4, 1, 0, True, 1_700_000_000.5)


def failure(key: str) -> Failure:
    return Failure(
        key, Stamp(1_700_000_000_123_456_789, 7), "DamagedImageError", "bad", "mend it", "1", 1_700_000_000.5
    )
