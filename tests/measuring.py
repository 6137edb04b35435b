"""Two things run in turn, and their ratio: what a noisy machine can tell."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

__all__ = ["compare", "say"]


def say(text: str) -> None:
    """A line that explains the rows after it."""
    print(text, flush=True)


def compare(
    title: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    *,
    rounds: int = 5,
    pieces: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Prints one row: both medians and their ratio, as a row of a Markdown table.

    Args:
        title: ours, " : ", the other thing.
        rounds: how often each is run, in turn.
        pieces: how many pieces one run makes; given, both are told in pieces per second and the ratio is theirs.
        clock: what is measured, in seconds; ``time.process_time`` for processor time.
    """
    times_s: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, measured_s in zip((ours, other), times_s, strict=True):
            started_s = clock()
            work()
            measured_s.append(clock() - started_s)
    ours_s, other_s = (statistics.median(measured_s) for measured_s in times_s)
    if pieces:
        row = f"{pieces / ours_s:.1f}/s | {pieces / other_s:.1f}/s | {other_s / ours_s:.2f}"
    else:
        row = f"{ours_s * 1e3:.1f} ms | {other_s * 1e3:.1f} ms | {ours_s / other_s:.3f}"
    print(f"| {title} | {row} |", flush=True)
