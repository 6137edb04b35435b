"""Room in memory: what fits goes in, one giant at a time, and nobody waits who was not asked to."""

from __future__ import annotations

import threading

import pytest

from sdgen_thumbnail_plugin.engine.memory_budget import MemoryBudget
from support.waiting import wait_for


def test_a_waiting_budget_lets_in_as_soon_as_there_is_room() -> None:
    budget = MemoryBudget(100)
    entered = threading.Event()

    def enter() -> None:
        with budget(60):
            entered.set()

    with budget(60):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.1)
        with budget(40):
            pass
        assert not entered.wait(0.05)
    wait_for(entered.is_set)
    thread.join()


def test_giants_take_turns_and_small_ones_pass_them() -> None:
    budget = MemoryBudget(100)
    inside, most = 0, 0
    done: list[int] = []
    changing = threading.Lock()
    first_is_inside, leave = threading.Event(), threading.Event()

    def giant(pixels: int) -> None:
        nonlocal inside, most
        with budget(pixels):
            with changing:
                inside += 1
                most = max(most, inside)
            first_is_inside.set()
            leave.wait(5)
            with changing:
                inside -= 1
                done.append(pixels)

    threads = [threading.Thread(target=giant, args=(pixels,)) for pixels in (101, 1000, 10_000)]
    for thread in threads:
        thread.start()
    assert first_is_inside.wait(5)
    with budget(100):
        assert done == []
    leave.set()
    for thread in threads:
        thread.join()
    assert most == 1
    assert sorted(done) == [101, 1000, 10_000]


@pytest.mark.parametrize("pixels", [100, 101])
def test_an_error_inside_gives_the_budget_back(pixels: int) -> None:
    budget = MemoryBudget(100)
    with pytest.raises(MemoryError), budget(pixels):
        raise MemoryError
    with budget(pixels):
        pass
