"""Runs two things in turn and reports their ratio, which even a noisy machine measures well."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

__all__ = ["as_ratio", "compare", "say", "show"]


def say(text: str) -> None:
    """Prints a line that explains the rows after it."""
    print(text, flush=True)


def show(title: str, ours: str, other: str, ratio: float) -> None:
    """Prints one row of a Markdown table: what two things took, and their ratio."""
    print(f"| {title} | {ours} | {other} | {as_ratio(ratio)} |", flush=True)


def as_ratio(ratio: float) -> str:
    """A ratio with three places; below a tenth as a fraction too, as in "0.0098 (1/102)"."""
    return f"{ratio:#.2g} (1/{1 / ratio:,.0f})" if 0 < ratio < 0.1 else f"{ratio:.3f}"


def compare(
    title: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    *,
    rounds: int = 5,
    pieces: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Prints one row: both medians and their ratio, as a row of a Markdown table.

    Args:
        title: ours, " : ", the other thing.
        rounds: number of times that each runs, in turn; in every other round the other thing runs first.
        pieces: number of pieces that one run makes; if given, the row shows pieces per second and their ratio.
        clock: what is measured, in seconds; ``time.process_time`` for processor time.

    Returns:
        Both medians, in seconds.
    """
    times_s: tuple[list[float], list[float]] = ([], [])
    in_turn = list(zip((ours, other), times_s, strict=True))
    for _, order in zip(range(rounds), itertools.cycle((in_turn, in_turn[::-1])), strict=False):
        for work, measured_s in order:
            started_s = clock()
            work()
            measured_s.append(clock() - started_s)
    ours_s, other_s = (statistics.median(measured_s) for measured_s in times_s)
    if pieces:
        row = f"{pieces / ours_s:.1f}/s | {pieces / other_s:.1f}/s | {other_s / ours_s:.2f}"
        print(f"| {title} | {row} |", flush=True)
    else:
        show(title, f"{ours_s * 1e3:.1f} ms", f"{other_s * 1e3:.1f} ms", ours_s / other_s)
    return ours_s, other_s
