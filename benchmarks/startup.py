"""The plugin's cost at start: of ``sdgen --help``, and of every other Python process of the environment.

Environments that differ in the plugin alone, run in turn; the ratio and the difference of the medians are what counts.
A third has an empty ``.pth`` file in its place: what it costs that Python has one to read. Where there is valgrind, it
counts the instructions, which no busy machine changes. With ``SDGEN_HOST_PYTHON`` the host is the one of that
environment, else the stand-in of ``tests/hosts``.
"""

from __future__ import annotations

import functools
import os
import re
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

from measuring import compare, say, show
from support.host import REAL_HOST, make_environment

HELP = ["bin/sdgen", "--help"]
NOTHING = ["-c", "pass"]
HELP_ROUNDS = 30
NOTHING_ROUNDS = 120  # half a millisecond is looked for
COUNTED = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with_it = make_environment(folder / "environments", "standin").parent.parent
        without, empty = folder / "without", folder / "empty"
        shutil.copytree(with_it, without, symlinks=True)
        uninstall = [str(without / "bin" / "python"), "-m", "pip", "uninstall", "-qy", "sdgen-thumbnail-plugin"]
        subprocess.run(uninstall, check=True, capture_output=True)
        shutil.copytree(without, empty, symlinks=True)
        next(empty.glob("lib/*/site-packages")).joinpath("sdgen_thumbnail_plugin.pth").touch()
        if REAL_HOST:
            say("The host is the real one, of the environment that SDGEN_HOST_PYTHON names.")
        else:
            say("The host is a stand-in (tests/hosts); for the real one set SDGEN_HOST_PYTHON to its Python.")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SDGEN_"))}
        environment = {**inherited, "HOME": name, "PYTHONHASHSEED": "0"}
        work = functools.partial(run, environment=environment)
        differences = []
        for title, place, arguments, rounds in (
            ("sdgen --help, with the plugin", with_it, HELP, HELP_ROUNDS),
            ("python -c pass, with the plugin", with_it, NOTHING, NOTHING_ROUNDS),
            ("python -c pass, with an empty .pth file", empty, NOTHING, NOTHING_ROUNDS),
        ):
            ours_s, other_s = compare(
                f"{title} : without it (processor time)",
                functools.partial(work, place, arguments), functools.partial(work, without, arguments),
                rounds=rounds, clock=children_s,
            )  # fmt: skip
            differences.append(f"{title} {(ours_s - other_s) * 1e3:+.2f} ms")
        if shutil.which(COUNTED[0]):
            counts = [count_instructions(place, environment) for place in (with_it, empty, without)]
            for title, count in zip(("the plugin", "an empty .pth file"), counts, strict=False):
                title = f"python -c pass, with {title} : without it (million instructions)"
                show(title, f"{count / 1e6:.2f}", f"{counts[-1] / 1e6:.2f}", count / counts[-1])
        else:
            say("Without valgrind no instructions were counted.")
        say(f"Differences of the medians: {'; '.join(differences)}.")


def children_s() -> float:
    """Processor time of all ended child processes, in seconds: a busy machine changes it little."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(place: Path, arguments: list[str], environment: dict[str, str]) -> None:
    command = [str(place / "bin" / "python"), *arguments]
    subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True)


def count_instructions(place: Path, environment: dict[str, str]) -> int:
    """Number of instructions of ``python -c pass`` outside the kernel: the same each time."""
    command = [*COUNTED, str(place / "bin" / "python"), *NOTHING]
    done = subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True, text=True)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    assert found, done.stderr
    return int(found[1].replace(",", ""))


if __name__ == "__main__":
    main()
