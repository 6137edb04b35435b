"""libpng, where this machine has one: it undoes PNG's row filters with SIMD, which Pillow does byte by byte.

Pillow's wheels carry it, for FreeType, and nearly every desktop has it. It is called through its simplified API
(libpng-manual.txt, V), whose structure and meaning are fixed for all of 1.6; another version is left alone. Other
threads run meanwhile.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Final

import PIL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["decoder", "version"]

_KNOWN: Final = range(10_600, 10_700)  # as it numbers itself: 1.6.58 is 10658
_IMAGE_VERSION: Final = 1  # PNG_IMAGE_VERSION
_FORMATS: Final = {3: 2, 4: 3}  # PNG_FORMAT_RGB and PNG_FORMAT_RGBA


class _Image(ctypes.Structure):
    """``png_image``"""

    _fields_ = (
        ("opaque", ctypes.c_void_p),
        ("version", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("format", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("colormap_entries", ctypes.c_uint32),
        ("warning_or_error", ctypes.c_uint32),
        ("message", ctypes.c_char * 64),
    )


def version() -> str | None:
    """Which one there is, as ``1.6.58``; None where there is none that we know."""
    library = _library()
    if library is None:
        return None
    number = library.png_access_version_number()
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def decoder() -> Callable[[bytes, int, int, int], bytes | None] | None:
    """The call that unpacks a picture; None where there is no libpng that we know.

    It takes a whole PNG of 8-bit RGB or RGBA that is not interlaced and holds nothing but the picture, its width and
    height in pixels, and 3 or 4 for the bytes of a pixel. It returns the samples, row after row without gaps; None for
    whatever libpng has as much as a warning about.
    """
    library = _library()
    if library is None:
        return None
    begin = library.png_image_begin_read_from_memory
    begin.argtypes = (ctypes.POINTER(_Image), ctypes.c_char_p, ctypes.c_size_t)
    finish = library.png_image_finish_read
    finish.argtypes = (ctypes.POINTER(_Image), ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p)
    free = library.png_image_free
    free.argtypes = (ctypes.POINTER(_Image),)
    free.restype = None
    # Bytes that are filled once, before anybody else has them: what this call is for, when it is given none.
    new_bytes = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
        ("PyBytes_FromStringAndSize", ctypes.pythonapi)
    )

    def decode(png: bytes, width_px: int, height_px: int, pixel_bytes: int) -> bytes | None:
        image = _Image(version=_IMAGE_VERSION)
        try:
            if not begin(image, png, len(png)) or (image.width, image.height) != (width_px, height_px):
                return None
            image.format = _FORMATS[pixel_bytes]
            samples: bytes = new_bytes(None, width_px * height_px * pixel_bytes)
            # A row of 0 bytes means one without a gap. A warning is an end as well: Pillow is to say what is wrong.
            return samples if finish(image, None, samples, 0, None) and not image.warning_or_error else None
        finally:
            free(image)

    return decode


def _library() -> ctypes.CDLL | None:
    for name in _names():
        try:
            library = ctypes.CDLL(name)
            if library.png_access_version_number() in _KNOWN:
                return library
        except (OSError, AttributeError):
            continue
    return None


def _names() -> Iterator[str]:
    """Where it may be: beside Pillow (as auditwheel and delocate put it there), then wherever the system looks."""
    package = Path(PIL.__file__).parent
    for folder in (package.parent / "pillow.libs", package.parent / "Pillow.libs", package / ".dylibs"):
        yield from sorted(map(str, folder.glob("libpng16*")))
    yield from ("libpng16.so.16", "libpng16.16.dylib")
