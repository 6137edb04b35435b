"""Everything that can go wrong, as one tree.

    ThumbnailError
     ├─ ImageError                    the image's fault: kept as a failure, not tried again until the file changes
     │   ├─ NotAnImageError           no PNG, nor anything else we know
     │   ├─ NotAPngError              another kind of image under a .png name
     │   ├─ TruncatedImageError       ends too early; perhaps still being written
     │   ├─ DamagedImageError         a PNG whose contents cannot be decoded
     │   ├─ TooManyPixelsError        larger than the limit for one image
     │   ├─ EncoderRefusedError       the WebP encoder would not take it
     │   └─ UnusableNameError         its thumbnail cannot have its name, because it is too long
     │       └─ NameTakenError        or because another image has it; no longer so once that one is gone
     ├─ MachineError                  the machine's fault: backs off, shows in status, recovers by itself
     │   ├─ DiskFullError
     │   ├─ AccessDeniedError
     │   ├─ OutOfMemoryError
     │   └─ StorageUnavailableError   any other input or output error
     ├─ SourceGoneError               the source vanished: nothing to show
     ├─ SourceChangedError            the source changed while it was read: look again
     ├─ SettingsError                 a setting, a flag or the configuration file is wrong
     │   └─ RootsError                source and target folder cannot be used together, or at all
     ├─ CatalogError                  our own record cannot be read or written
     └─ ProcessError                  the background process
         ├─ AlreadyRunningError       another watcher holds the lock
         ├─ NotRunningError
         ├─ StartFailedError
         └─ StopFailedError

A message is lower case and says what is wrong; ``path`` says where; ``remedy`` says what to do about it. Only the
command line turns them into text and exit codes.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

__all__ = [
    "AccessDeniedError",
    "AlreadyRunningError",
    "CatalogError",
    "DamagedImageError",
    "DiskFullError",
    "EncoderRefusedError",
    "ImageError",
    "MachineError",
    "NameTakenError",
    "NotAPngError",
    "NotAnImageError",
    "NotRunningError",
    "OutOfMemoryError",
    "ProcessError",
    "RootsError",
    "SettingsError",
    "SourceChangedError",
    "SourceGoneError",
    "StartFailedError",
    "StopFailedError",
    "StorageUnavailableError",
    "ThumbnailError",
    "TooManyPixelsError",
    "TruncatedImageError",
    "UnusableNameError",
    "image_error",
]

_E = TypeVar("_E", bound="ThumbnailError")


class ThumbnailError(Exception):
    """The root of the tree.

    Args:
        message: what is wrong, lower case, without the path.
        path: the file or folder it is about, as a person would write it; None while it is not known.
        remedy: what to do about it; the class's own where None.
    """

    default_remedy: ClassVar[str] = ""

    def __init__(self, message: str, *, path: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.remedy = self.default_remedy if remedy is None else remedy

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def at(self: _E, path: str) -> _E:
        """Names the path once it is known (imaging sees bytes, not files), and returns the error itself."""
        if self.path is None:
            self.path = path
        return self


class ImageError(ThumbnailError):
    """The image's own fault; the same bytes will fail again."""


class NotAnImageError(ImageError):
    default_remedy = "delete the file, or generate the image again"


class NotAPngError(ImageError):
    default_remedy = "give the file the suffix of what it is, or convert it to PNG"


class TruncatedImageError(ImageError):
    default_remedy = "generate the image again, or copy it again from where it came"


class DamagedImageError(ImageError):
    default_remedy = "generate the image again, or copy it again from where it came"


class TooManyPixelsError(ImageError):
    default_remedy = "raise max_pixels in the thumbnails section of sdgen_config.json if memory allows"


class EncoderRefusedError(ImageError):
    default_remedy = "check Pillow's WebP support with: sdgen-thumbnails doctor"


class UnusableNameError(ImageError):
    default_remedy = "shorten the file name"


class NameTakenError(UnusableNameError):
    default_remedy = "rename one of the two images"


def image_error(kind: str, message: str, remedy: str) -> ImageError:
    """An error that was remembered by its class's name, as an error again.

    Args:
        kind: the class's name; ``ImageError`` itself stands in for one that no longer exists.
        message, remedy: as they were.
    """
    found = globals().get(kind)
    if not (isinstance(found, type) and issubclass(found, ImageError)):
        found = ImageError
    return found(message, remedy=remedy)


class MachineError(ThumbnailError):
    """Not the image's fault: worth trying again later, unchanged.

    Attributes:
        everywhere: whether it stops all work (nothing in the target can be written), not just one image or directory.
            The storage that raises it says so.
    """

    everywhere: bool = False


class DiskFullError(MachineError):
    default_remedy = "free some space; it goes on by itself"


class AccessDeniedError(MachineError):
    default_remedy = "make it readable and writable for this user; it goes on by itself"


class OutOfMemoryError(MachineError):
    default_remedy = "lower workers or memory_pixels in the thumbnails section of sdgen_config.json"


class StorageUnavailableError(MachineError):
    default_remedy = "check the drive or the mount; it goes on by itself"


class SourceGoneError(ThumbnailError):
    """The source is not there (any more)."""


class SourceChangedError(ThumbnailError):
    """The source changed while it was being read."""


class SettingsError(ThumbnailError):
    default_remedy = "see the configuration table in the README"


class RootsError(SettingsError):
    default_remedy = "choose two separate folders with --source-dir and --target-dir"


class CatalogError(ThumbnailError):
    default_remedy = "check the space and the permissions of ~/.sdgen/state with: sdgen-thumbnails doctor"


class ProcessError(ThumbnailError):
    """The background process could not be started, stopped or found."""


class AlreadyRunningError(ProcessError):
    default_remedy = "stop it first with: sdgen-thumbnails stop"


class NotRunningError(ProcessError):
    default_remedy = "start it with: sdgen-thumbnails start"


class StartFailedError(ProcessError):
    default_remedy = "read the log with: sdgen-thumbnails logs"


class StopFailedError(ProcessError):
    default_remedy = "end the process by hand"
