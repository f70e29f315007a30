"""Which keys the journal certainly does not have: most instances are new, and need not be looked up."""

from __future__ import annotations

import threading
from typing import Any

BITS = 1 << 23
"""Of a million keys one in twenty that are new is looked up all the same; of a hundred thousand one in two thousand."""
PAGE = 2000
PAUSE = 0.005  # seconds between pages: whoever takes instances meanwhile goes first

_PAGE = (
    "SELECT max(id), group_concat(instance_key, char(10)) "
    "FROM (SELECT id, instance_key FROM {} WHERE id > ? ORDER BY id LIMIT ?)"
)


class Absent:
    """A Bloom filter of two bits per key. It says nothing until it has been told of every key there is."""

    def __init__(self) -> None:
        self._bits = bytearray(BITS // 8)
        self._lock = threading.Lock()  # two threads that set bits of one byte would lose one
        self._stop = threading.Event()
        self._complete = False

    def add(self, key: str) -> None:
        """There is such a key from now on."""
        first, second = _places(key)
        with self._lock:
            self._bits[first >> 3] |= 1 << (first & 7)
            self._bits[second >> 3] |= 1 << (second & 7)

    def certain(self, key: str) -> bool:
        """Whether it is certain that there is no such key."""
        if not self._complete:
            return False
        first, second = _places(key)
        bits = self._bits
        return not (bits[first >> 3] >> (first & 7) & 1 and bits[second >> 3] >> (second & 7) & 1)

    def learn(self, connection: Any, *tables: str) -> None:
        """Read the keys of these tables, while what is entered is added. Blocks; raises what the driver does."""
        for table in tables:
            last = 0
            while page := self._page(connection, table, last):
                last, keys = page
                for key in keys.split("\n"):
                    self.add(key)
                if self._stop.wait(PAUSE):
                    return
        self._complete = True

    def _page(self, connection: Any, table: str, last: int) -> tuple[int, str] | None:
        cursor = connection.cursor()
        try:
            end, keys = cursor.execute(_PAGE.format(table), (last, PAGE)).fetchone()
            return (end, keys) if end else None
        finally:
            cursor.close()

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be learnt."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Learn no more."""
        self._stop.set()


def _places(key: str) -> tuple[int, int]:
    """Two bits for a key, from the hash that a string keeps."""
    number = hash(key)
    return number & (BITS - 1), number >> 32 & (BITS - 1)
