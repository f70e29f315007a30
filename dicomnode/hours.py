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


def _wait(begin: int, end: int, minute: int) -> int:
    if (minute - begin) % WEEK < end - begin:
        return 0
    return (begin - minute) % WEEK
