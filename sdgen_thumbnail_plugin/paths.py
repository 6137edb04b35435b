"""The layout of ``~/.sdgen``, a folder that we share with the host.

~/.sdgen/
 ├─ pids/thumbnail_watchdog.pid          the watcher's PID as decimal text, read by the host
 ├─ logs/thumbnail_watchdog.log[.1 …]    the watcher's log
 └─ state/
     ├─ reported                         the findings about this version of the host that are in the log
     ├─ thumbnails.locks                 locks on the thumbnails being built
     ├─ thumbnail_watchdog.lock          held while a watcher lives
     ├─ thumbnail_watchdog.json          the watcher's state, for ``status``
     └─ thumbnails-<hash>.sqlite3        the catalog of one pair of roots
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from sdgen_thumbnail_plugin.errors import SettingsError

SERVICE = "thumbnail_watchdog"
"""The host's name for this service, also in the names of its PID and log files."""

ENVIRONMENT_PREFIX = "SDGEN_THUMBNAILS_"
"""The prefix of our environment variables, those of the settings included."""

HOME_VARIABLE = f"{ENVIRONMENT_PREFIX}HOME"
"""A folder to use instead of ``~/.sdgen``."""

FAST_VARIABLE = f"{ENVIRONMENT_PREFIX}FAST"
"""``0`` leaves everything to Pillow."""

DEBUG_VARIABLE = f"{ENVIRONMENT_PREFIX}DEBUG"
"""Errors show their traceback if this is set to anything."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds PID files, logs and state.

    Attributes:
        root: usually ``~/.sdgen``; not created before something is written.
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
    def reported_file(self) -> Path:
        return self.state_dir / "reported"

    @property
    def build_locks_file(self) -> Path:
        return self.state_dir / "thumbnails.locks"

    def read_pid(self) -> int | None:
        """The PID in the PID file, of which nothing is proved; None if the file is missing or holds something else."""
        try:
            pid = int(self.pid_file.read_text("ascii").strip())
        except (OSError, ValueError):
            return None
        return pid if pid > 1 else None

    def prepare(self) -> None:
        """Creates the three folders.

        Raises:
            SettingsError: a folder cannot be created or is not writable.
        """
        for folder in (self.pid_file.parent, self.log_file.parent, self.state_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                problem = None if os.access(folder, os.W_OK | os.X_OK) else "permission denied"
            except OSError as error:
                problem = (error.strerror or str(error)).lower()
            if problem is not None:
                remedy = f"make it writable, or name another folder with {HOME_VARIABLE}"
                raise SettingsError(f"cannot be used: {problem}", path=str(folder), remedy=remedy)

    def catalog_file(self, source_location: str, target_location: str) -> Path:
        """The catalog of a pair of roots, named by a digest, so that any path or bucket fits."""
        import hashlib  # 3 ms, needed by nothing else here

        pair = f"{source_location}\0{target_location}".encode("utf-8", "surrogateescape")
        return self.state_dir / f"thumbnails-{hashlib.sha256(pair).hexdigest()[:16]}.sqlite3"


def find_home() -> Home:
    """The folder that ``SDGEN_THUMBNAILS_HOME`` names, else ``~/.sdgen``, with an absolute path."""
    named = os.environ.get(HOME_VARIABLE)
    return Home(Path(named).absolute() if named else Path.home() / ".sdgen")


def replace_text(path: Path, text: str) -> None:
    """Replaces a file atomically. Its temporary has an unpredictable name and must not exist before.

    Raises:
        OSError: it cannot be written.
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
