"""Text brought into one form, so that a name is found however its letters are written."""

from __future__ import annotations

import re
import unicodedata

IDEOGRAPHIC = 0x1100
"""From here on a character is a syllable or a word, and words need no spaces between them."""
APOSTROPHES = "'`´‘’ʻʼ′\x91\x92"
"""And what is written for them; 91 and 92 are those of Windows, whatever character set is declared."""
APOSTROPHE = re.compile(f"[{APOSTROPHES}]")
LETTERS = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
        "ı": "i",
        **dict.fromkeys(APOSTROPHES, ""),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    }
)
"""What a letter that does not come apart is written as without it; dashes are hyphens, apostrophes are left out."""
KATAKANA = {code: code + 0x60 for code in (*range(0x3041, 0x3097), 0x309D, 0x309E)}
"""What is written in hiragana in a name may be in katakana in a text."""
SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})


def folded(text: str) -> str:
    """In lower case, in one width and one kana, without diacritics and apostrophes."""
    apart = unicodedata.normalize("NFKD", text.lower().replace("´", "")).translate(LETTERS)
    bare = "".join(character for character in apart if not unicodedata.combining(character))
    return unicodedata.normalize("NFKC", bare).translate(KATAKANA)


def spelt_out(text: str) -> str:
    """The same with umlauts and their like as two letters."""
    return folded(unicodedata.normalize("NFKC", text.lower()).translate(SPELT_OUT))


def is_ideographic(text: str) -> bool:
    """Whether the text is, at least in part, in a script without spaces."""
    return any(ord(character) >= IDEOGRAPHIC for character in text)
