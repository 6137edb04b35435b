"""The watcher's log: rotated by size, recreated after it was deleted, and never a reason to fail."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from sdgen_thumbnail_plugin.paths import find_home
from sdgen_thumbnail_plugin.text import printable, printable_lines

LOGGER_NAME = "sdgen_thumbnail_plugin"
_FORMAT = "%(asctime)s %(message)s"
_TAIL_BYTES = 1_000_000
_LOOK_EVERY_S = 1.0


class OneLine(logging.Formatter):
    """Nothing that came from a file name can forge a line or move a cursor; only tracebacks have several lines."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return printable_lines(text) if record.exc_info else printable(text)


class WatcherLog(RotatingFileHandler):
    """A rotating file that reappears after it was deleted, and is silent where it cannot be written."""

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", delay=True)
        self.setFormatter(OneLine(_FORMAT))
        self._looked_at_s = 0.0
        self.trouble: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        # Not at every line: it would be a third of the cost of a burst's two lines an image.
        if self.stream is not None and abs(record.created - self._looked_at_s) > _LOOK_EVERY_S:
            self._looked_at_s = record.created
            if not self._is_still_there():
                self.stream.close()
                self.stream = None  # FileHandler opens it again
        self.trouble = None
        super().emit(record)

    def _is_still_there(self) -> bool:
        if self.stream is None:
            return False
        try:
            there = Path(self.baseFilename).stat()
            ours = os.fstat(self.stream.fileno())
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - logging's name
        """A full disk or a read-only folder loses lines, nothing else; ``status`` reports it until one is written."""
        error = sys.exc_info()[1]
        self.trouble = (getattr(error, "strerror", None) or str(error)).lower()


def log_trouble() -> str | None:
    """Why the last line could not be written; None where it was."""
    handlers = logging.getLogger(LOGGER_NAME).handlers
    return next((handler.trouble for handler in handlers if isinstance(handler, WatcherLog)), None)


def log_to(handler: logging.Handler) -> None:
    """Sends everything that the package logs to a handler, and nothing of it to the root logger."""
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)


def log_beside_the_watcher(path: Path) -> None:
    """Appends what the package logs in another process than the watcher to the watcher's log, once per process. The
    watcher rotates it; nothing is printed, and where the log cannot be written the lines are lost."""
    logger = logging.getLogger(LOGGER_NAME)
    if not any(isinstance(handler, WatcherLog) for handler in logger.handlers):
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
        log_to(WatcherLog(path, 0, 0))


def log_error(text: str, error: BaseException | None = None) -> None:
    """Logs an error in a process that is not the watcher, with the traceback of an exception. Never raises."""
    try:
        log_beside_the_watcher(find_home().log_file)
        logging.getLogger(LOGGER_NAME).error("✗ %s", text, exc_info=error)
    except Exception:  # noqa: BLE001 - there is nowhere left to report it
        pass


def last_lines(path: Path, count: int, *, end_bytes: int | None = None) -> list[str]:
    """The last lines of a log, made safe to print; none where it cannot be read.

    Args:
        path: the log.
        count: how many lines.
        end_bytes: where the last of them ends; by default, where the log does.
    """
    try:
        with path.open("rb") as file:
            end_bytes = file.seek(0, os.SEEK_END) if end_bytes is None else end_bytes
            file.seek(max(0, end_bytes - _TAIL_BYTES))
            lines = file.read(end_bytes - file.tell()).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [printable(line) for line in lines[-count:]] if count else []
