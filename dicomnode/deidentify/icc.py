"""ICC profiles in JPEG frames (ICC.1 7.2 and Annex B.4): APP2 segments, the profile's header in the first."""

from __future__ import annotations

MARKER = 0xE2
SIGN = b"ICC_PROFILE\0"
HEADER_LENGTH = 128
SIGNATURE, SIGNATURE_AT = b"acsp", 36
MOST_PADDING = 3


class Profile:
    """One image's profile: chunks numbered from 1, as many as each says, together as long as the first says."""

    __slots__ = ("_count", "_last", "_left")

    def __init__(self) -> None:
        self._last = self._count = self._left = 0

    def takes(self, segment: bytes) -> bool:
        """Whether the content of an APP2 segment is the next chunk."""
        if not segment.startswith(SIGN) or len(segment) < len(SIGN) + 2:
            return False
        number, count = segment[len(SIGN)], segment[len(SIGN) + 1]
        chunk = segment[len(SIGN) + 2 :]
        if number == 1 and self._last == 0:
            if len(chunk) < HEADER_LENGTH or not chunk.startswith(SIGNATURE, SIGNATURE_AT):
                return False
            self._count, self._left = count, int.from_bytes(chunk[:4], "big")
        if number != self._last + 1 or count != self._count or number > count:
            return False
        self._last = number
        self._left -= len(chunk)
        return -MOST_PADDING <= self._left <= 0 if number == count else self._left > 0
