from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from sdgen_thumbnail_plugin import heap

# Three buffers as an image needs them, one after the other for many images; prints how often the kernel gave a page.
CODE = """
import resource, sys
from sdgen_thumbnail_plugin import heap

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def make_one():
    return len([b"x" * 5_000_000 for _ in range(3)])

if sys.argv[1] != "as it was":
    heap.keep_freed()
for _ in range(3):
    make_one()
before = page_faults()
for _ in range(20):
    if sys.argv[1] == "given back":
        heap.give_back()
    make_one()
print(page_faults() - before)
"""


def page_faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", CODE, how], check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other heaps are left as they are")
def test_memory_that_is_kept_needs_no_new_pages() -> None:
    assert page_faults("kept") * 10 < page_faults("as it was")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other heaps are left as they are")
def test_memory_that_is_given_back_is_the_kernels_again() -> None:
    assert page_faults("given back") > page_faults("kept") * 10


def test_memory_goes_back_after_the_start_and_once_when_no_image_came_for_a_while() -> None:
    times_s: list[float] = []
    reserve = heap.Reserve(lambda: times_s.append(now_s))
    for images, now_s in ((0, 0), (0, 100), (3, 101), (9, 105), (9, 114), (9, 115), (9, 200), (10, 201), (10, 211)):
        reserve.note(images, now_s)
    assert times_s == [100, 115, 211]


def test_a_process_without_glibc_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    heap.keep_freed()
    heap.give_back()
