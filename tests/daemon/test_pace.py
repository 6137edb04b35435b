"""How pauses grow with what something costs."""

from __future__ import annotations

import time

import pytest

from sdgen_thumbnail_plugin.daemon.pace import Pace


def test_what_costs_little_is_due_after_the_shortest_pause() -> None:
    pace = Pace(1.0)
    assert pace.is_due
    pace.note(0.001, share=0.1, shortest_s=1.0)
    assert pace.pause_s == 1.0
    assert not pace.is_due


def test_what_costs_much_takes_no_more_than_its_share() -> None:
    pace = Pace(1.0)
    for _ in range(3):
        pace.note(3.0, share=0.1, shortest_s=1.0)
    assert pace.pause_s == pytest.approx(30.0)
    assert pace.due_at_s - time.monotonic() == pytest.approx(30.0, abs=1.0)


def test_an_interruption_does_not_put_it_off() -> None:
    pace = Pace(1.0)
    pauses_s = []
    for cost_s in (0.001, 600.0, 600.0, 0.001, 600.0, 0.001):
        pace.note(cost_s, share=0.1, shortest_s=1.0)
        pauses_s.append(pace.pause_s)
    assert pauses_s == [1.0] * 6


def test_it_can_be_hastened_and_not_put_off_by_that() -> None:
    pace = Pace(1.0)
    for _ in range(3):
        pace.note(3.0, share=0.1, shortest_s=1.0)
    due_at_s = pace.due_at_s
    pace.hasten(3600.0)
    assert pace.due_at_s == due_at_s
    pace.hasten(0.0)
    assert pace.is_due
