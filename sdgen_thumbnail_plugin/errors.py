"""All errors of this package, as one tree.

    ThumbnailError
     ├─ ImageError                    the image's fault: kept as a failure, not tried again until the file changes
     │   ├─ NotAnImageError           neither a PNG nor another format that we know
     │   ├─ NotAPngError              another kind of image under a .png name
     │   ├─ TruncatedImageError       ends too early; may still be being written
     │   ├─ DamagedImageError         a PNG whose contents cannot be decoded
     │   ├─ TooManyPixelsError        larger than the limit for one image
     │   ├─ EncoderRefusedError       the WebP encoder refused it
     │   └─ UnusableNameError         its thumbnail cannot have this name: it is too long
     │       └─ NameTakenError        or another image's thumbnail has it, until that image is gone
     ├─ MachineError                  the machine's fault: backs off, shows in status, recovers by itself
     │   ├─ DiskFullError
     │   ├─ AccessDeniedError
     │   ├─ OutOfMemoryError
     │   └─ StorageUnavailableError   any other input or output error
     ├─ SourceGoneError               the source vanished: there is nothing to show
     ├─ SourceChangedError            the source changed while it was read: look again
     ├─ SourceUnfinishedError         the source is still being written: look again
     ├─ SettingsError                 a setting, a flag or the configuration file is wrong
     │   └─ RootsError                source and target folder cannot be used together, or at all
     ├─ CatalogError                  the catalog cannot be read or written
     └─ ProcessError                  the background process
         ├─ AlreadyRunningError       another watcher holds the lock
         ├─ NotRunningError
         ├─ StartFailedError
         └─ StopFailedError

A message is lower case and says what is wrong, ``path`` says where, and ``remedy`` says what to do about it. Only the
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
    "SourceUnfinishedError",
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
        path: the file or folder concerned, as a person would write it; None while it is unknown.
        remedy: what to do about it; that of the class if None.
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
        """Adds the path where it becomes known (imaging gets bytes, not files), and returns the error."""
        if self.path is None:
            self.path = path
        return self


class ImageError(ThumbnailError):
    """The image is at fault: the same bytes fail again."""


class NotAnImageError(ImageError):
    default_remedy = "delete the file, or generate the image again"


class NotAPngError(ImageError):
    default_remedy = "give the file the suffix of its format, or convert it to PNG"


class TruncatedImageError(ImageError):
    default_remedy = "generate the image again, or copy it again from its origin"


class DamagedImageError(ImageError):
    default_remedy = "generate the image again, or copy it again from its origin"


class TooManyPixelsError(ImageError):
    default_remedy = "raise max_pixels in the thumbnails section of sdgen_config.json if memory allows"


class EncoderRefusedError(ImageError):
    default_remedy = "check Pillow's WebP support with: sdgen-thumbnails doctor"


class UnusableNameError(ImageError):
    default_remedy = "shorten the file name"


class NameTakenError(UnusableNameError):
    default_remedy = "rename one of the two images"


def image_error(kind: str, message: str, remedy: str) -> ImageError:
    """Restores an error from the parts that are stored of it.

    Args:
        kind: the name of its class; a name that no longer exists gives an ``ImageError``.
        message, remedy: as stored.
    """
    found = globals().get(kind)
    if not (isinstance(found, type) and issubclass(found, ImageError)):
        found = ImageError
    return found(message, remedy=remedy)


class MachineError(ThumbnailError):
    """The machine is at fault: the same image may succeed later.

    Attributes:
        everywhere: whether it stops all work (nothing can be written to the target), not just one image or directory.
            The storage that raises it sets it.
    """

    everywhere: bool = False


class DiskFullError(MachineError):
    default_remedy = "free some space; work then resumes by itself"


class AccessDeniedError(MachineError):
    default_remedy = "make it readable and writable for this user; work then resumes by itself"


class OutOfMemoryError(MachineError):
    default_remedy = "lower workers or memory_pixels in the thumbnails section of sdgen_config.json"


class StorageUnavailableError(MachineError):
    default_remedy = "check the drive or the mount; work then resumes by itself"


class SourceGoneError(ThumbnailError):
    """The source does not exist, or no longer exists."""


class SourceChangedError(ThumbnailError):
    """The source changed while it was read."""


class SourceUnfinishedError(ThumbnailError):
    """The source ends too early, and is so young that it is probably still being written."""


class SettingsError(ThumbnailError):
    default_remedy = "see the configuration table in the README"


class RootsError(SettingsError):
    default_remedy = "choose two separate folders with --source-dir and --target-dir"


class CatalogError(ThumbnailError):
    default_remedy = "check the space and the permissions of ~/.sdgen/state with: sdgen-thumbnails doctor"


class ProcessError(ThumbnailError):
    """The background process cannot be started, stopped or found."""


class AlreadyRunningError(ProcessError):
    default_remedy = "stop it first with: sdgen-thumbnails stop"


class NotRunningError(ProcessError):
    default_remedy = "start it with: sdgen-thumbnails start"


class StartFailedError(ProcessError):
    default_remedy = "read the log with: sdgen-thumbnails logs"


class StopFailedError(ProcessError):
    default_remedy = "end the process by hand"
