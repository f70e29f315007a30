"""Hours of the week, as windows of minutes since Monday 00:00, local time of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

DAY = 24 * 60
WEEK = 7 * DAY
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Window = tuple[int, int]


def of_week(day: int, hours: Iterable[Window]) -> tuple[Window, ...]:
    """Windows of a day (minutes since its midnight) as windows of the week; one that ends before it begins goes on
    into the next day."""
    return tuple((day * DAY + begin, day * DAY + (end if end > begin else end + DAY)) for begin, end in hours)


def seconds_until(windows: Iterable[Window], now: datetime) -> float:
    """Seconds until one of the windows is open: 0 while one is, and where there are none at all."""
    minute = now.weekday() * DAY + now.hour * 60 + now.minute
    waits = [_wait(begin, end, minute) for begin, end in windows]
    least = min(waits, default=0)
    return max(0.0, least * 60.0 - now.second) if least else 0.0


def outside_hours(seconds: float) -> str:
    """Why nothing is fetched now; `seconds` until something may be."""
    return f"its off-peak hours begin in {duration(seconds)}"


def duration(seconds: float) -> str:
    """45 s, 12 min, 3.5 h, 2.1 days."""
    for size, unit in ((86400.0, "days"), (3600.0, "h")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _wait(begin: int, end: int, minute: int) -> int:
    if (minute - begin) % WEEK < end - begin:
        return 0
    return (begin - minute) % WEEK
