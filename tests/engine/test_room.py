"""Room in memory: what fits goes in, one giant at a time, and nobody waits who was not asked to."""

from __future__ import annotations

import threading

from sdgen_thumbnail_plugin.engine.room import NoRoom, PixelRoom
from waiting import wait_for


def test_the_room_lets_in_what_fits_and_one_giant_at_a_time() -> None:
    room = PixelRoom(100)

    def fits(pixels: int) -> bool:
        try:
            with room(pixels):
                return True
        except NoRoom:
            return False

    with room(60):
        assert fits(40)
        assert not fits(41)
        with room(101):
            assert not fits(1000)
            assert fits(40)
        assert fits(1000)
    assert fits(100)


def test_a_waiting_room_lets_in_as_soon_as_there_is_room() -> None:
    room = PixelRoom(100, waits=True)
    entered = threading.Event()

    def enter() -> None:
        with room(60):
            entered.set()

    with room(60):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.1)
        with room(40):
            pass
        assert not entered.wait(0.05)
    wait_for(entered.is_set)
    thread.join()
