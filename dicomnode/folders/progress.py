"""How far a run is, in one line."""

from __future__ import annotations

from dicomnode.folders.tally import Fate, Tally

LEAST = 1.0
"""Seconds before a rate is worth telling."""


def line(tally: Tally, total: int, seconds: float) -> str:
    """Files done of all, the rate, the time that is left, and how many were withheld."""
    parts = [f"{tally.done} of {total} files"]
    if seconds >= LEAST and tally.done:
        rate = tally.done / seconds
        parts += [f"{rate:.0f}/s", f"{duration((total - tally.done) / rate)} left"]
    if withheld := tally.fates[Fate.WITHHELD]:
        parts.append(f"{withheld} withheld")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """45 s, 7 min, 3 h 20 min."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
