"""Where a needle stands for itself in what is searched, and is not part of a longer word or number.

A letter at the edge of a needle may not continue in a letter (of a needle of 3 characters: nor in a digit), a digit not
in a digit (zeros in front aside, and a time of day behind a date of birth), a UID of less than 12 characters not in a
further component in front. Needles of 8 letters and more are found inside words too. In binary values a needle of less
than 5 characters also may not touch bytes above 7F.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dicomnode.deidentify.folding import is_ideographic
from dicomnode.deidentify.plan import Needle

INSIDE_WORDS = 8
ALONE = 3
SHORT_UID = 12
SHORT_IN_BINARY = 5
LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset(b"0123456789")
ALPHANUMERIC = LETTERS | DIGITS
DOT = 0x2E
TIME = re.compile(rb"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-6][0-9])?)?(?![0-9])")
DATE_LENGTH = 8


def places(hay: Any, pattern: Any) -> Iterator[int]:
    """Where bytes or text stand in bytes or text."""
    at = hay.find(pattern)
    while at >= 0:
        yield at
        at = hay.find(pattern, at + 1)


def is_token(hay: bytes, at: int, pattern: bytes, kind: Needle, binary: bool) -> bool:
    """Whether what was found stands for itself, and is not part of a longer word or number."""
    end = at + len(pattern)
    before = hay[at - 1] if at else 0
    behind = hay[end] if end < len(hay) else 0
    first, last = pattern[0], pattern[-1]
    if kind is Needle.UID and len(pattern) < SHORT_UID and before == DOT and at > 1 and hay[at - 2] in DIGITS:
        return False
    if first in DIGITS and before in DIGITS and not _zeros_only(hay, at):
        return False
    if last in DIGITS and behind in DIGITS and not (kind is Needle.BIRTH_DATE and _begins_datetime(hay, at, pattern)):
        return False
    closed = LETTERS if len(pattern) > ALONE else ALPHANUMERIC
    if len(pattern) < INSIDE_WORDS and (
        (first in LETTERS and before in closed) or (last in LETTERS and behind in closed)
    ):
        return False
    return not (binary and len(pattern) < SHORT_IN_BINARY and (before > 0x7F or behind > 0x7F))


def _begins_datetime(hay: bytes, at: int, date: bytes) -> bool:
    """Whether digits of a time follow a date of digits only, as in a DT; a component of a UID is none."""
    if len(date) != DATE_LENGTH or not date.isdigit() or (at > 1 and hay[at - 1] == DOT and hay[at - 2] in DIGITS):
        return False
    return TIME.match(hay, at + DATE_LENGTH) is not None


def _zeros_only(hay: bytes, at: int) -> bool:
    """Whether all digits directly in front are zeros that fill a number up."""
    while at and hay[at - 1] in DIGITS:
        at -= 1
        if hay[at] != 0x30:
            return False
    return True


def is_word(hay: str, at: int, text: str) -> bool:
    """The same as `is_token` for decoded text; in scripts without spaces every place counts."""
    before, behind = hay[at - 1 : at] if at else "", hay[at + len(text) : at + len(text) + 1]
    if (text[0].isdigit() and before.isdigit()) or (text[-1].isdigit() and behind.isdigit()):
        return False
    if is_ideographic(text) or len(text) >= INSIDE_WORDS:
        return True
    return not (before.isalpha() or behind.isalpha())


def is_number(hay: bytes, at: int, pattern: bytes) -> bool:
    """Whether digits at the edges do not go on."""
    end = at + len(pattern)
    before, behind = hay[at - 1 : at] if at else b"", hay[end : end + 1]
    return not (pattern[:1].isdigit() and before.isdigit()) and not (pattern[-1:].isdigit() and behind.isdigit())
