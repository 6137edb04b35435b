"""The folder of the demonstration: a project and a home of its own, in which our commands run as a person runs them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sdgen_thumbnail_plugin.errors import ProcessError, SettingsError, StorageUnavailableError
from sdgen_thumbnail_plugin.paths import ENVIRONMENT_PREFIX, HOME_VARIABLE, Home

_MARKER = ".sdgen-demo"
_HOME, _RECORD, _SHEET = ".sdgen", "arrivals.jsonl", "contact-sheet.png"
_OURS = (_HOME, _RECORD, _SHEET, "results", "thumbnails", "sdgen_config.json")
"""What a demonstration makes beside its marker; a new one in the same folder removes these and nothing else."""

_COMMAND_TIMEOUT_S = 60.0
_OTHER_FOLDER = "name another folder: sdgen-thumbnails demo FOLDER"


@contextlib.contextmanager
def machine_errors(folder: Path) -> Iterator[None]:
    """Turns an error of the operating system into one of ours."""
    try:
        yield
    except OSError as error:
        message = (error.strerror or str(error)).lower()
        raise StorageUnavailableError(message, path=str(error.filename or folder), remedy=_OTHER_FOLDER) from error


class Workspace:
    """The folder of one demonstration.

    Args:
        folder: absolute.

    Attributes:
        record: where the process that draws records when each image was finished.
        sheet: the picture of all thumbnails.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results, self.thumbnails = folder / "results", folder / "thumbnails"
        self.home = Home(folder / _HOME)
        self.record = folder / _RECORD
        self.sheet = folder / _SHEET

    def prepare(self) -> None:
        """Makes an empty project. A former demonstration is stopped and removed, anything else is left as it is.

        Raises:
            SettingsError: the folder holds something else.
            OSError: it cannot be made or written.
        """
        folder = self.folder
        if os.path.lexists(folder):
            if not folder.is_dir():
                raise SettingsError("exists and is not a folder", path=str(folder), remedy=_OTHER_FOLDER)
            if (folder / _MARKER).is_file():
                self._remove_former()
            elif any(folder.iterdir()):
                message = "exists and is not a former demonstration"
                raise SettingsError(message, path=str(folder), remedy=_OTHER_FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MARKER).touch()
        (folder / "sdgen_config.json").write_text(json.dumps({"output_dir": "./results"}, indent=2), "utf-8")
        self.results.mkdir()

    def _remove_former(self) -> None:
        with contextlib.suppress(ProcessError):
            self.run("stop")
        for name in _OURS:
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def pairs(self) -> list[tuple[Path, Path]]:
        """Every image, and where its thumbnail belongs."""
        images = sorted(self.results.rglob("*.png"))
        return [(image, (self.thumbnails / image.relative_to(self.results)).with_suffix(".webp")) for image in images]

    def images_without_thumbnail(self) -> list[Path]:
        """The images that have no thumbnail, or not the right one."""
        return [image for image, thumbnail in self.pairs() if not _is_fresh(image, thumbnail)]

    # -- processes

    def spawn(self, module: str, *arguments: str, output: int) -> subprocess.Popen[str]:
        """Starts a module of ours in the folder.

        Args:
            module: its full name.
            arguments: its command line.
            output: where stdout and stderr go, as ``subprocess`` takes it.
        """
        # A home and settings of its own: a watcher that already runs for the user is left in peace.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=environment | {HOME_VARIABLE: str(self.home.root), "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl+C is ours: we end them, in order
        )

    def run(self, name: str) -> str:
        """Runs one of our commands as a person would, and returns what it printed.

        Raises:
            ProcessError: with the last lines of its output.
        """
        process = self.spawn("sdgen_thumbnail_plugin", name, output=subprocess.PIPE)
        try:
            output, complaint = process.communicate(timeout=_COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            remedy = f"read the log in {self.home.log_file.parent}"
            raise ProcessError(f"{name} did not end within {_COMMAND_TIMEOUT_S:.0f} s", remedy=remedy) from error
        except BaseException:
            # An interrupted `start` may have made a watcher that `stop` does not find yet: let it end first.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_COMMAND_TIMEOUT_S)
            raise
        if process.returncode:
            lines = "\n  ".join((complaint.strip() or output.strip()).splitlines()[-6:])
            remedy = "find out why with: sdgen-thumbnails doctor"
            raise ProcessError(f"{name} failed with exit code {process.returncode}: {lines}", remedy=remedy)
        return output


def _is_fresh(image: Path, thumbnail: Path) -> bool:
    try:
        seen = thumbnail.stat()
    except FileNotFoundError:
        return False
    return seen.st_size > 0 and seen.st_mtime_ns == image.stat().st_mtime_ns
