"""A short run of soak.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SEED = "1"  # of the random work; what goes on at the same moment is another one every time


@pytest.mark.timeout(400)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_over_days_of_work_nothing_drifts_and_nothing_grows(tmp_path: Path) -> None:
    script = Path(__file__).with_name("soak.py")
    done = subprocess.run(
        [sys.executable, script, "1", SEED], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout
