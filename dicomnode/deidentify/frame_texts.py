"""Texts inside compressed frames: comments and application segments may name anybody, so only known ones pass.

Known is what encoders write of themselves (frame_texts.csv). Bytes that are not all written say nothing when there are
no words and numbers in them.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from dicomnode.deidentify.standard import tables

SAYS = re.compile(
    rb"[A-Za-z\x80-\xff]{4}|[0-9]{4}|[A-Za-z]{3}[^A-Za-z\x00-\x1f]|[A-Za-z]{2}[ ^,.;:]"
    rb"|(?:[0-9A-Za-z]\x00){2}|(?:\x00[0-9A-Za-z]){2}"
)
"""A word or a number, also in UTF-16."""
WRITTEN = re.compile(rb"(?:\x00[\x00\x01])?([\t\n\r -~\x80-\xff]+)\x00*")
"""Nothing but what texts are written with, behind the registration of a comment of JPEG 2000."""
SIGN = re.compile(rb"[0-9A-Za-z\x80-\xff]")
LEAST_SIGNS = 2
PADDING = b"\0 "


@cache
def _known() -> re.Pattern[bytes]:
    patterns = (f"(?:{row['pattern']})" for row in tables.read("frame_texts.csv"))
    return re.compile("|".join(patterns).encode("ascii"), re.DOTALL)


def _is_written(text: bytes) -> bool:
    """Whether all of it is a text, however short: `ID123`, `5.1.50`, `H A N S`."""
    written = WRITTEN.fullmatch(text)
    if written is None:
        return False
    signs = SIGN.findall(written[1])
    return len(signs) >= LEAST_SIGNS and any(map(bytes.isalnum, signs))


@lru_cache(maxsize=256)
def is_known(text: bytes) -> bool:
    """Whether a text says nothing, or nothing but which encoder wrote it."""
    if SAYS.search(text) is None and not _is_written(text):
        return True
    return _known().fullmatch(text) is not None or _known().fullmatch(text.rstrip(PADDING)) is not None
