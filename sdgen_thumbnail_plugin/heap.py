"""The C library's heap: what one image's pixels were in is kept for the next one's.

glibc returns what is free at the end of a thread's heap as soon as it is more than a few megabytes, and so after every
image; for the next one the kernel has to fill the same pages with zeros again, which took a twentieth of all time. It
goes back when no image came for a while. Other libraries are left as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Reserve", "give_back", "keep_freed"]

_TRIM_THRESHOLD: Final = -1  # mallopt(3), M_TRIM_THRESHOLD
_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD
_ARENA_MAX: Final = -8  # M_ARENA_MAX
_KEPT_BYTES: Final = 32 * 1024 * 1024  # by all threads; an image of 1024 x 1024 pixels takes 10 MB, all in all
_APART_BYTES: Final = 8 * 1024 * 1024  # what is larger is no part of the heap, and goes back by itself
_KEPT_S: Final = 10.0  # images that are generated one after the other come more often


def keep_freed() -> None:
    """From now on this process keeps some of the memory that it frees; for processes that are ours, before they have
    threads."""
    library = _glibc()
    if library is not None:
        # Each thread would have a heap of its own, the end of which nothing but that thread's own work can give back.
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_MMAP_THRESHOLD, _APART_BYTES)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Gives the kernel what this process has freed and kept, in all its threads: a few milliseconds."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


class Reserve:
    """Says when what is kept is to be given back: once after the start and after each time in which images were made.

    Args:
        give_back: does it.
    """

    def __init__(self, give_back: Callable[[], None] = give_back) -> None:
        self._give_back = give_back
        self._images = -1
        self._since_s = math.inf

    def note(self, images: int, now_s: float) -> None:
        """To be told now and then.

        Args:
            images: how many were tried so far.
            now_s: the monotonic clock.
        """
        if images != self._images:
            self._images, self._since_s = images, now_s
        elif now_s - self._since_s >= _KEPT_S:
            self._since_s = math.inf
            self._give_back()


def _glibc() -> Any:
    """The C library, if it is glibc; musl has functions of these names too, which do nothing."""
    try:
        import ctypes  # not every Python has it

        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018
        library.malloc_trim.argtypes = (ctypes.c_size_t,)
    except (ImportError, OSError, TypeError, AttributeError):
        return None
    return library
