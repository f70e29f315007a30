"""Texts inside compressed frames: comments and application segments may name anybody, so only known ones pass.

Known is what encoders write of themselves (frame_texts.csv). Bytes without words and numbers say nothing.
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
PADDING = b"\0 "


@cache
def _known() -> re.Pattern[bytes]:
    patterns = (f"(?:{row['pattern']})" for row in tables.read("frame_texts.csv"))
    return re.compile("|".join(patterns).encode("ascii"), re.DOTALL)


@lru_cache(maxsize=256)
def is_known(text: bytes) -> bool:
    """Whether a text says nothing, or nothing but which encoder wrote it."""
    if SAYS.search(text) is None:
        return True
    return _known().fullmatch(text) is not None or _known().fullmatch(text.rstrip(PADDING)) is not None
