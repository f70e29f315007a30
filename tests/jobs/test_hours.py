"""Off-peak hours: windows of the week, over midnight and over the end of the week."""

from __future__ import annotations

from datetime import datetime

import pytest

from dicomnode.config.values import day_hours
from dicomnode.hours import of_week, seconds_until

MONDAY = "2026-11-16"


@pytest.mark.parametrize(
    ("day", "hours", "now", "seconds"),
    [
        (0, "19:00-06:00", f"{MONDAY} 18:59:30", 30),
        (0, "19:00-06:00", f"{MONDAY} 19:00:00", 0),
        (0, "19:00-06:00", "2026-11-17 05:59:59", 0),
        (0, "19:00-06:00", "2026-11-17 06:00:00", (6 * 24 + 13) * 3600),
        (6, "20:00-08:00", f"{MONDAY} 07:00:00", 0),
        (6, "20:00-08:00", f"{MONDAY} 08:00:00", (6 * 24 + 12) * 3600),
        (2, "12:00-13:00, 22:00-24:00", "2026-11-18 13:00:00", 9 * 3600),
        (5, "00:00-24:00", "2026-11-21 23:59:59", 0),
    ],
)
def test_the_wait_until_a_window_opens(day: int, hours: str, now: str, seconds: float) -> None:
    assert seconds_until(of_week(day, day_hours(hours)), datetime.fromisoformat(now)) == seconds


def test_without_windows_it_is_always_time() -> None:
    assert seconds_until((), datetime.fromisoformat(f"{MONDAY} 12:00")) == 0


@pytest.mark.parametrize("wrong", ["19-06", "19:00", "25:00-26:00", "19:60-20:00", "19:00-19:00", "24:00-06:00", ["x"]])
def test_what_are_no_hours(wrong: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        day_hours(wrong)
