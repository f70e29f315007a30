"""Associations for C-FIND and C-MOVE that stay open for a moment: the next study needs no new one.

Never more are open than were needed at once; one that the peer has ended meanwhile is replaced.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from dicomnode.dimse.session import Session
from dicomnode.dimse.syntaxes import FIND, MOVE
from dicomnode.errors import PeerUnreachable
from dicomnode.model import Peer

T = TypeVar("T")

IDLE = 1.0  # seconds that an association stays open when nothing is asked
SERVICES = (FIND, MOVE)


class Lines:
    """Open associations, by peer and calling AE title; safe for use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[tuple[Peer, str], Session, float]] = []
        self._sweeper: threading.Thread | None = None

    def use(
        self,
        peer: Peer,
        calling: str,
        service: str,
        work: Callable[[Session], T],
        silence: float,
        alive: Callable[[], float] | None = None,
    ) -> T:
        """Do `work` where the peer accepts `service`. Raises as Session does, and what `work` raises."""
        key = (peer, calling)
        session = self._take(key)
        if session is not None:
            session.resume(silence, alive)
            try:
                return self._used(key, session, service, work)
            except (PeerUnreachable, RuntimeError):  # pynetdicom's, for an association that has ended
                if session.timed_out or session.answered:
                    raise  # it was open, so the answer would be the same on another
        return self._used(key, Session(peer, calling, SERVICES, silence, alive).open(), service, work)

    def close(self) -> None:
        """End those that are open and idle."""
        self._end(math.inf)

    def _used(self, key: tuple[Peer, str], session: Session, service: str, work: Callable[[Session], T]) -> T:
        try:
            session.require(service)
            found = work(session)
        except BaseException:
            session.leave(in_order=False)
            raise
        session.rest()
        with self._lock:
            self._idle.append((key, session, time.monotonic()))
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._sweep, name="dicom-lines", daemon=True)
                self._sweeper.start()
        return found

    def _take(self, key: tuple[Peer, str]) -> Session | None:
        """The one that was used last, if it is open still."""
        while True:
            with self._lock:
                at = next((n for n in reversed(range(len(self._idle))) if self._idle[n][0] == key), None)
                if at is None:
                    return None
                session = self._idle.pop(at)[1]
            if session.is_open:
                return session
            session.leave(in_order=False)

    def _sweep(self) -> None:
        while True:
            time.sleep(IDLE / 2)
            self._end(time.monotonic() - IDLE)
            with self._lock:
                if not self._idle:
                    self._sweeper = None
                    return

    def _end(self, before: float) -> None:
        with self._lock:
            over = [session for _, session, at in self._idle if at < before]
            self._idle = [each for each in self._idle if each[2] >= before]
        for session in over:
            session.leave()
