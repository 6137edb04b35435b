"""The layout of ``~/.sdgen``, which we share with the host.

~/.sdgen/
 ├─ pids/thumbnail_watchdog.pid          the watcher's PID as decimal text, read by the host
 ├─ logs/thumbnail_watchdog.log[.1 …]    the watcher's log
 └─ state/
     ├─ told                             what the log was told of this version of the host
     ├─ thumbnails.claims                who builds which thumbnail at this moment
     ├─ thumbnail_watchdog.lock          held for as long as a watcher lives
     ├─ thumbnail_watchdog.json          what the watcher is doing, for ``status``
     └─ thumbnails-<hash>.sqlite3        the catalog of one pair of roots
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from sdgen_thumbnail_plugin.errors import SettingsError

__all__ = ["DEBUG_VARIABLE", "FAST_VARIABLE", "HOME_VARIABLE", "SERVICE", "Home", "find_home", "replace_text"]

SERVICE = "thumbnail_watchdog"
"""The host's name for this service; its PID and log files are named after it."""

HOME_VARIABLE = "SDGEN_THUMBNAILS_HOME"
"""Names another folder to be used instead of ``~/.sdgen``."""

FAST_VARIABLE = "SDGEN_THUMBNAILS_FAST"
"""Set to 0, Pillow does everything."""

DEBUG_VARIABLE = "SDGEN_THUMBNAILS_DEBUG"
"""Set to anything, an error shows its traceback."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds PID files, logs and state.

    Attributes:
        root: usually ``~/.sdgen``. Nothing is created until something is written.
    """

    root: Path

    @property
    def pid_file(self) -> Path:
        return self.root / "pids" / f"{SERVICE}.pid"

    @property
    def log_file(self) -> Path:
        return self.root / "logs" / f"{SERVICE}.log"

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def lock_file(self) -> Path:
        return self.state_dir / f"{SERVICE}.lock"

    @property
    def state_file(self) -> Path:
        return self.state_dir / f"{SERVICE}.json"

    @property
    def told_file(self) -> Path:
        return self.state_dir / "told"

    @property
    def claims_file(self) -> Path:
        return self.state_dir / "thumbnails.claims"

    def prepare(self) -> None:
        """Makes the three folders. Raises ``SettingsError`` where they cannot be made or written."""
        for folder in (self.pid_file.parent, self.log_file.parent, self.state_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                trouble = None if os.access(folder, os.W_OK | os.X_OK) else "permission denied"
            except OSError as error:
                trouble = (error.strerror or str(error)).lower()
            if trouble is not None:
                remedy = f"make it writable, or name another folder with {HOME_VARIABLE}"
                raise SettingsError(f"cannot be used: {trouble}", path=str(folder), remedy=remedy)

    def catalog_file(self, source_location: str, target_location: str) -> Path:
        """The catalog for one pair of roots, named by a digest so that any path or bucket fits."""
        import hashlib  # 3 ms, which the other uses of this module need not spend

        pair = f"{source_location}\0{target_location}".encode("utf-8", "surrogateescape")
        return self.state_dir / f"thumbnails-{hashlib.sha256(pair).hexdigest()[:16]}.sqlite3"


def find_home() -> Home:
    """``$SDGEN_THUMBNAILS_HOME`` where it is set, else ``~/.sdgen``, as an absolute path."""
    named = os.environ.get(HOME_VARIABLE)
    return Home(Path(named).absolute() if named else Path.home() / ".sdgen")


def replace_text(path: Path, text: str) -> None:
    """Puts a file in place whole. Its temporary has a name that nobody can foresee, and is made by us or not at all.

    Raises ``OSError``.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, 0o666), "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            file.write(text)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
