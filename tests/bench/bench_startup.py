"""What the plugin costs at start: ``sdgen --help``, and every other Python process of the environment.

Two environments that differ in the plugin alone, run in turn; the ratio and the difference of the medians are what
counts. With ``SDGEN_HOST_PYTHON`` the host is the one of that environment, else the stand-in of ``tests/hosts``.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from hosting import make_environment

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
            times_s: dict[Path, list[float]] = {without: [], with_it: []}
            for _ in range(ROUNDS):
                for place, measured_s in times_s.items():
                    command = [str(place / "bin" / "python"), *arguments]
                    started_s = time.perf_counter()
                    subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True)
                    measured_s.append(time.perf_counter() - started_s)
            before_ms, after_ms = (statistics.median(measured_s) * 1e3 for measured_s in times_s.values())
            print(
                f"{title:16} without {before_ms:7.2f} ms   with {after_ms:7.2f} ms   "
                f"ratio {after_ms / before_ms:.3f}   difference {after_ms - before_ms:+.2f} ms"
            )


if __name__ == "__main__":
    main()
