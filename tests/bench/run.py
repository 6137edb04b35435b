"""Runs the benchmarks and writes what they found into ``docs/performance.md``, below the line that says so.

python bench/run.py [NAME ...]

With names, only those are run, and what the page says of the others stays. So it does of those that fail; the rest is
written nevertheless, and the exit code is 1. What the page says of the machine is of the last time that all were run
and none failed; a part that was measured on another one since, or with other versions, says so.
"""

from __future__ import annotations

import datetime
import itertools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from sdgen_thumbnail_plugin.daemon.observers import mount_of
from sdgen_thumbnail_plugin.imaging import accelerators

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "performance.md"
MARK = "<!-- measured: written by tox -e bench -->\n"
BENCHMARKS = ("throughput", "start", "polling", "watching", "overflow", "million", "memory", "startup")
HEADING = "| what | ours | other | ratio |\n| --- | --- | --- | --- |\n"
NODE = "let s = ''; try { s = ', sharp ' + require('sharp').versions.sharp } catch {} console.log(process.version + s)"


def as_page(printed: str) -> str:
    """What a benchmark printed, in Markdown: each of its lines of text a paragraph, its rows in tables below them."""
    groups = itertools.groupby(printed.splitlines(), key=lambda line: line.startswith("|"))
    return "\n\n".join(HEADING + "\n".join(lines) if rows else "\n\n".join(lines) for rows, lines in groups)


def environment() -> str:
    """Where this runs: the machine, and the versions of what is measured."""
    folder = Path(os.environ.get("BENCH_DIR") or tempfile.gettempdir())
    libraries = [*(f"{name} {version(name)}" for name in ("Pillow", "watchdog", "pluggy")), *accelerators.names()]
    if shutil.which("node"):
        found = subprocess.run(["node", "-e", NODE], stdout=subprocess.PIPE, text=True, check=True).stdout
        libraries.append(f"node {found.strip()}")
    return (
        f"{os.cpu_count()} cores{processor()}, {platform.system()} {platform.release().partition('-')[0]}, temporary "
        f"files on {mount_of(folder).fstype}, Python {platform.python_version()}, {', '.join(libraries)}."
    )


def processor() -> str:
    """The processor's name in brackets, where Linux knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f" ({names[0]})" if names else ""


def run(name: str) -> str | None:
    """What one benchmark printed; None where it failed."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, str(HERE / f"{name}.py")], stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    return None if done.returncode else done.stdout


def main() -> int:
    names = sys.argv[1:] or BENCHMARKS
    today, where, began_s = f"{datetime.date.today():%Y-%m-%d}", environment(), time.monotonic()
    head, _, measured = PAGE.read_text("utf-8").partition(MARK)
    about, *old = measured.split("\n### ")
    parts = {part.partition("\n")[0]: f"### {part}" for part in old}
    found: dict[str, tuple[str, str]] = {}  # when, and what
    for name in names:
        started_s = time.monotonic()
        printed = run(name)
        if printed is not None:
            found[name] = f"{today}, {time.monotonic() - started_s:.0f} s.", as_page(printed)
    if found.keys() >= set(BENCHMARKS):
        about = f"{where} Command: `tox -e bench`, {today}, {time.monotonic() - began_s:.0f} s in all."
    for name, (when, text) in found.items():
        parts[name] = f"### {name}\n\n{when if where in about else f'{when} {where}'}\n\n{text}"
    written = "\n\n".join(parts[name].strip("\n") for name in BENCHMARKS if name in parts)
    PAGE.write_text(f"{head}{MARK}\n{about.strip()}\n\n{written}\n", "utf-8")
    failed = [name for name in names if name not in found]
    if failed:
        print(f"failed, and not written: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
