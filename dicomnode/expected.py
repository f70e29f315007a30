"""Instances that somebody watches for: whether what a source was told to move to us comes here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

Place = tuple[str, str]  # project, key of the instance


class Expected:
    """Tells of watched instances as they come; used on the event loop."""

    def __init__(self) -> None:
        self._watched: dict[Place, tuple[asyncio.Event, bool]] = {}

    @contextmanager
    def watch(self, place: Place, *, keep: bool) -> Iterator[asyncio.Event]:
        """Watch for an instance; the event is set when it comes. One that is not kept is refused then."""
        came = asyncio.Event()
        self._watched[place] = (came, keep)
        try:
            yield came
        finally:
            del self._watched[place]

    def refuses(self, place: Place) -> bool:
        """An instance comes; True when it is only looked for, and must not be taken."""
        came, keep = self._watched.get(place, (None, True))
        if came is not None:
            came.set()
        return not keep
