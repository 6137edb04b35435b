"""Runs the benchmarks and writes their results into ``docs/performance.md``, below the line that says so.

    tox -e bench -- [NAME ...]

With names, only those run, and the page keeps the results of the others. It also keeps those of benchmarks that fail;
the exit code is 1 then. The page describes the machine of the last run in which all benchmarks ran and none failed; a
part that was measured later, on another machine or with other versions, says so.
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
PAGE = HERE.parent / "docs" / "performance.md"
MARK = "<!-- measured: written by tox -e bench -->\n"
BENCHMARKS = ("throughput", "start", "polling", "watching", "overflow", "million", "memory", "startup")
HEADING = "| what | ours | other | ratio |\n| --- | --- | --- | --- |\n"
NODE = "let s = ''; try { s = ', sharp ' + require('sharp').versions.sharp } catch {} console.log(process.version + s)"


def as_page(printed: str) -> str:
    """The output of a benchmark as Markdown: each line of text is a paragraph, its rows are tables below them."""
    groups = itertools.groupby(printed.splitlines(), key=lambda line: line.startswith("|"))
    return "\n\n".join(HEADING + "\n".join(lines) if rows else "\n\n".join(lines) for rows, lines in groups)


def environment() -> str:
    """The machine, and the versions of the libraries that are measured."""
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
    """The output of one benchmark; None if it failed."""
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
    found: dict[str, tuple[str, str]] = {}  # when it ran, and its results
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
