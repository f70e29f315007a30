"""Trouble with the storage is told when it begins and then once a minute, not each time that somebody meets it."""

from __future__ import annotations

import time

import structlog

from dicomnode.errors import safe_text

log = structlog.get_logger()

TELL_EVERY = 60.0  # seconds


class Trouble:
    """Tells one event; errors of the same number, or else of the same text, count as the same."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._told: dict[object, float] = {}

    def tell(self, error: Exception, **facts: object) -> None:
        """Tell it as an error, or at the level of debugging where it was told within a minute."""
        now, kind = time.monotonic(), getattr(error.__cause__, "errno", None) or safe_text(error)
        self._told = {each: at for each, at in self._told.items() if now - at < TELL_EVERY}
        tell = log.debug if kind in self._told else log.error
        self._told.setdefault(kind, now)
        tell(self._event, **facts, error=safe_text(error))
