"""The C library's heap: what one image's pixels were in is kept for the next one's.

glibc returns what is free at the end of a thread's heap as soon as it is more than a few megabytes, and so after every
image; for the next one the kernel has to fill the same pages with zeros again, which took a twentieth of all time.
Other libraries are left as they are.
"""

from __future__ import annotations

from typing import Final

__all__ = ["keep_freed"]

_TRIM_THRESHOLD: Final = -1  # mallopt(3), M_TRIM_THRESHOLD
_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD
_KEPT_BYTES: Final = 16 * 1024 * 1024  # by each thread; an image of 1024 x 1024 pixels takes 10 MB, all in all
_APART_BYTES: Final = 8 * 1024 * 1024  # what is larger is no part of the heap, and goes back by itself


def keep_freed() -> None:
    """From now on this process keeps some of the memory that it frees; for processes that are ours."""
    import ctypes

    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - musl has a mallopt too, which does nothing
        mallopt = library.mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt(_MMAP_THRESHOLD, _APART_BYTES)
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
