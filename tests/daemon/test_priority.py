"""Returning memory. (Priorities are tested on a real process, in test_process.py.)"""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from sdgen_thumbnail_plugin.daemon.priority import IdleTrim


def test_memory_goes_back_after_the_start_and_once_when_no_image_came_for_a_while() -> None:
    times_s: list[float] = []
    idle = IdleTrim(lambda: times_s.append(now_s))
    for images, now_s in ((0, 0), (0, 100), (3, 101), (9, 105), (9, 114), (9, 115), (9, 200), (10, 201), (10, 211)):
        idle.note(images, now_s)
    assert times_s == [100, 115, 211]


# Frees blocks that others keep from being at the heap's end; prints the resident memory before and after, in KiB.
CODE = """
from sdgen_thumbnail_plugin.daemon.priority import IdleTrim

def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

kept, freed = zip(*[(bytes(70_000), bytearray(b"x") * 70_000) for _ in range(400)])
del freed
before = resident_kib()
idle = IdleTrim()
idle.note(0, 0)
idle.note(0, 100)
print(before, resident_kib())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other heaps are left as they are")
def test_freed_memory_is_the_systems_again() -> None:
    command = [sys.executable, "-c", CODE]
    before, after = map(int, subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split())
    assert after < before - 20_000


def test_a_process_without_glibc_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    idle = IdleTrim()
    idle.note(0, 0)
    idle.note(0, 100)
