"""What the plugin costs at start: ``sdgen --help``, and every other Python process of the environment.

Two environments that differ in the plugin alone, run in turn; the ratio and the difference of the medians are what
counts. With ``SDGEN_HOST_PYTHON`` the host is the one of that environment, else the stand-in of ``tests/hosts``.
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from hosting import make_environment
from measuring import compare

ROUNDS = 40


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with_it = make_environment(folder / "environments", "standin").parent.parent
        without = folder / "without"
        shutil.copytree(with_it, without, symlinks=True)
        uninstall = [str(without / "bin" / "python"), "-m", "pip", "uninstall", "-qy", "sdgen-thumbnail-plugin"]
        subprocess.run(uninstall, check=True, capture_output=True)
        environment = {**os.environ, "HOME": name}
        for title, arguments in (("sdgen --help", ["bin/sdgen", "--help"]), ("python -c pass", ["-c", "pass"])):
            compare(
                f"{title}, with the plugin : without it (processor time)",
                functools.partial(run, with_it, arguments, environment),
                functools.partial(run, without, arguments, environment),
                rounds=ROUNDS,
                clock=children_s,
            )


def children_s() -> float:
    """Processor time of all processes started and waited for, in seconds: a busy machine changes it little."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(place: Path, arguments: list[str], environment: dict[str, str]) -> None:
    command = [str(place / "bin" / "python"), *arguments]
    subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True)


if __name__ == "__main__":
    main()
