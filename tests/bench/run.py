"""Runs the benchmarks and writes what they found into ``docs/performance.md``, below the line that says so.

python bench/run.py [NAME ...]

With names, only those are run, and what the page says of the others stays.
"""

from __future__ import annotations

import datetime
import itertools
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from sdgen_thumbnail_plugin import fast

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "performance.md"
MARK = "<!-- measured: written by tox -e bench -->\n"
BENCHMARKS = ("throughput", "start", "polling", "watching", "overflow", "million", "memory", "startup")
HEADING = "| what | ours | other | ratio |\n| --- | --- | --- | --- |\n"


def as_page(printed: str) -> str:
    """What a benchmark printed, in Markdown: each of its lines of text a paragraph, its rows in tables below them."""
    groups = itertools.groupby(printed.splitlines(), key=lambda line: line.startswith("|"))
    return "\n\n".join(HEADING + "\n".join(lines) if rows else "\n\n".join(lines) for rows, lines in groups)


def main() -> None:
    names = sys.argv[1:] or BENCHMARKS
    head, _, measured = PAGE.read_text("utf-8").partition(MARK)
    parts = {part.partition("\n")[0]: f"### {part}" for part in measured.split("\n### ")[1:]}
    for name in names:
        started_s = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, str(HERE / f"{name}.py")], stdout=subprocess.PIPE, text=True, check=True)
        print(f"{done.stdout}({time.monotonic() - started_s:.0f} s)\n", flush=True)
        parts[name] = f"### {name}\n\n{as_page(done.stdout)}"
    libraries = ", ".join([*(f"{name} {version(name)}" for name in ("Pillow", "watchdog", "pluggy")), *fast.names()])
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release().partition('-')[0]}"
    about = (
        f"{datetime.date.today():%Y-%m-%d}, {machine}, Python {platform.python_version()}, {libraries}. "
        "Command: `tox -e bench`.\n"
    )
    found = "\n\n".join(parts[name].rstrip("\n") for name in BENCHMARKS if name in parts)
    PAGE.write_text(f"{head}{MARK}\n{about}\n{found}\n", "utf-8")


if __name__ == "__main__":
    main()
