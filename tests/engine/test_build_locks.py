"""BuildLocks on thumbnails: one builder at a time, across threads and processes, and never in the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
from support.waiting import begin_together, wait_for

HOLD = """
import sys, time
from pathlib import Path
from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
with BuildLocks(Path(sys.argv[1])).holding(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""

ASK = """
import sys, time
from pathlib import Path
from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
started_s = time.monotonic()
with BuildLocks(Path(sys.argv[1])).holding(sys.argv[2], patience_s=float(sys.argv[3])):
    print(time.monotonic() - started_s)
"""

COUNT = """
import sys, time
from pathlib import Path
from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
number = Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(30):
    with BuildLocks(Path(sys.argv[1])).holding("a"):
        found = int(number.read_text())
        time.sleep(0.001)
        number.write_text(str(found + 1))
"""


NEVER_S = 600.0
"""Patience that outlasts any test: who gets in with it did not give up, so the lock was free."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "locks"


def holding(file: Path, address: str) -> subprocess.Popen[str]:
    """A process that holds a lock until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file), address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def waited_s(file: Path | None, address: str, patience_s: float) -> float:
    """How long this thread waits for a lock, until it has it or gives up."""
    started_s = time.monotonic()
    with BuildLocks(file).holding(address, patience_s=patience_s):
        return time.monotonic() - started_s


def elsewhere_waited_s(file: Path, address: str, patience_s: float) -> float:
    """How long a process of its own waits for a lock."""
    command = [sys.executable, "-c", ASK, str(file), address, str(patience_s)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def gets_in(file: Path | None, address: str) -> None:
    """Returns once the lock is free, and only then."""
    waited_s(file, address, NEVER_S)


def gets_in_elsewhere(file: Path, address: str) -> None:
    """The same in a process of its own."""
    elsewhere_waited_s(file, address, NEVER_S)


@pytest.mark.parametrize("shared", [True, False])
def test_threads_take_turns(file: Path, shared: bool) -> None:
    inside: list[int] = []
    most = 0

    def work() -> None:
        nonlocal most
        for _ in range(10):
            with BuildLocks(file if shared else None).holding("a"):
                inside.append(1)
                time.sleep(0.001)  # for the others to come in, if they could
                most = max(most, len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_processes_take_turns(file: Path, tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    processes = begin_together(COUNT, str(file), str(number), count=3)
    for process in processes:
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert number.read_text() == "90"


def test_locks_of_different_thumbnails_are_held_at_once(file: Path) -> None:
    inside = threading.Barrier(4)
    together: list[str] = []

    def work(address: str) -> None:
        with BuildLocks(file).holding(address):
            inside.wait(60)
            together.append(address)

    threads = [threading.Thread(target=work, args=(address,)) for address in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(together) == ["a", "b", "c", "d"]


def test_another_process_is_waited_for_until_it_lets_go(file: Path) -> None:
    with holding(file, "a") as process:
        gets_in(file, "b")  # another thumbnail is nobody's business
        entered = threading.Event()

        def lock() -> None:
            with BuildLocks(file).holding("a"):
                entered.set()

        thread = threading.Thread(target=lock)
        thread.start()
        assert not entered.wait(0.1)
        assert process.stdin is not None
        process.stdin.close()
        thread.join()
        assert entered.is_set()


def test_a_dead_process_has_released(file: Path) -> None:
    with holding(file, "a") as process:
        process.kill()
        process.wait()
        gets_in(file, "a")


def test_nobody_waits_longer_than_the_patience(file: Path) -> None:
    with holding(file, "a") as process:
        assert waited_s(file, "a", 0.2) >= 0.2
        assert process.poll() is None, "it did not give up, the other let go"
    with BuildLocks(file).holding("b"):  # held until the end: whoever comes back before that gave up
        found: list[float] = []
        thread = threading.Thread(target=lambda: found.append(waited_s(file, "b", 0.2)))
        thread.start()
        thread.join()
        assert found[0] >= 0.2


def test_letting_go_of_one_lock_keeps_the_others(file: Path) -> None:
    with BuildLocks(file).holding("a"):
        with BuildLocks(file).holding("b"):
            pass
        gets_in_elsewhere(file, "b")
        assert elsewhere_waited_s(file, "a", 0.2) >= 0.2
    gets_in_elsewhere(file, "a")


def test_a_home_that_cannot_be_written_costs_nothing_but_locks_across_processes(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    gets_in(tmp_path / "in the way" / "locks", "a")
    assert (tmp_path / "in the way").read_text() == ""


def test_an_error_inside_lets_go(file: Path) -> None:
    with pytest.raises(RuntimeError), BuildLocks(file).holding("a"):
        raise RuntimeError
    gets_in(file, "a")
    gets_in_elsewhere(file, "a")


def exit_code_of(child: int) -> int:
    """How a forked child ended, as soon as it has; one that does not is killed, for it has all that the parent had."""
    ended: list[int] = []

    def is_over() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        ended.extend([os.waitstatus_to_exitcode(status)] if pid else [])
        return bool(pid)

    try:
        wait_for(is_over)
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return ended[0]


def test_a_forked_child_waits_for_its_parent_and_leaves_it_its_locks(file: Path) -> None:
    with BuildLocks(file).holding("a"):
        child = os.fork()
        if child == 0:
            os._exit(0 if waited_s(file, "a", 0.1) >= 0.1 else 1)
        assert exit_code_of(child) == 0
        assert elsewhere_waited_s(file, "a", 0.2) >= 0.2


@pytest.mark.parametrize("shared", [True, False])
def test_a_forked_child_does_not_take_its_parents_locks_for_its_own(file: Path, shared: bool) -> None:
    place = file if shared else None
    with BuildLocks(place).holding("a"):
        child = os.fork()
        if child == 0:
            # The parent lets go at once. What was copied from it would be held for ever.
            gets_in(place, "a")
            os._exit(0)
    assert exit_code_of(child) == 0
