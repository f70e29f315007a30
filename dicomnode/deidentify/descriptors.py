"""Free text cleaned (PS3.15 E.3.5): what stays is in the rules' vocabulary, or consists of known words alone.

Words that the instance itself gives as names or identifiers are taken out first. Of what remains each word must be a
clinical word that this project knows, each number in a form that is no date and no ID; else nothing remains. Words that
are names of people too (Head, Herz) do not stand together without another one: a name in a text has a second word,
which is not known. No given name and no title is among the known words but those that a body part or a technique needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dicomnode.deidentify import values
from dicomnode.deidentify.encoded import Element
from dicomnode.deidentify.folding import folded, spelt_out
from dicomnode.deidentify.needles import NAME_WORDS, Original
from dicomnode.deidentify.pixels import value_of
from dicomnode.deidentify.plan import Needle, Steps
from dicomnode.deidentify.standard import tables
from dicomnode.model import Doubt

CHARACTER_SET = 0x00080005
LEAST_WORD = 2
LEAST_ANYWHERE = 5
"""Characters of an identifier that is taken out of a longer text; a shorter one is compared with the whole."""
MOST_BARE = 89
"""The largest number without a unit: it may be an age, and who is older belongs to a small group."""
REMEMBERED = 8192

UNITS = (
    "mm|cm|mm2|cm2|mm3|cm3|ms|msec|s|sec|secs|min|h|t|tesla|kv|kvp|kev|mev|ma|mas|hu|hz|khz|mhz|gy|cgy|mgy|bq|kbq|mbq|mci|"
    "cc|ml|mg|g|kg|mmol|deg|grad|°|%|fps|bit|ch|fr|ph"
)
LARGE = "ms|msec|hu|hz|bq|kbq|mbq|cgy|mgy"
"""Units of numbers that may have four digits, as years have."""
NUMBER = r"[0-9]{1,3}(?:[.,][0-9]{1,3})?"
ITEMS = re.compile(
    r"(?P<measure>(?<![^\W_]|[.,/-])(?:"
    rf"[0-9]{{4}}\s?(?:{LARGE})|(?:{NUMBER}\s?[x×*]\s?){{0,2}}{NUMBER}\s?(?:{UNITS})|{NUMBER}\s?[/-]\s?{NUMBER}\s?(?:{UNITS})"
    r")(?![^\W_]))"
    r"|(?P<matrix>(?<![^\W_]|[.,/-])[0-9]{2,4}\s?[x×]\s?[0-9]{2,4}(?![\w.,/-]))"
    r"|(?P<number>(?<![^\W_])(?:[0-9]+[.,][0-9]+(?![^\W_]|[.,/-])|[0-9]+(?![^\W_])))"
    r"|(?P<word>[^\W_]+)",
    re.IGNORECASE,
)
BETWEEN = re.compile(r"[\s\x21-\x2f\x3a-\x40\x5b\x5d-\x60\x7b-\x7e°±µ·×–—…«»„“”‘’]*")
"""What may stand between words: spaces, line breaks and marks."""
SAFE_DECIMAL = re.compile(r"[0-9]{1,3}[.,](?:[0-9]|00|25|50|75)|0[.,][0-9]{1,3}")
CAMEL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])")
WITH_NUMBER = re.compile(r"([^\W\d_]{2,})([0-9]{1,2})|([0-9]{1,2})([^\W\d_]{2,})|(t[12]|pd|[234]d)([^\W\d_]+)([234]d)?")
SHAPES = re.compile(
    r"t[12]w?i?|pdw?|[1-4]d|[0-9]{1,2}(?:st|nd|rd|th|er|e|ste|te|de)|(?:c|th|t|d|l|s|lw|bw|hw)[0-9]{1,2}"
    r"|(?:b|h|t|u|i|d|j|q|br|bl|bv|bf|hr|hc|hf|hp|qr|sa|ub|uc|ud|ur|fc)[0-9]{2}[a-z]?"
    r"|b(?:[0-9]{1,3}|[1-9][0-9]00)|t[eir][0-9]{1,4}|fa[0-9]{1,3}|fov[0-9]{2,3}|[perxvk][0-9]{1,2}|[0-9]{1,2}x|ph[0-9]{1,2}"
)
"""Sequences, dimensions, ordinals, vertebrae, reconstruction kernels, b-values, echo and repetition times, angles."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an instance gives as names and identifiers, folded."""

    words: frozenset[str]
    """Words of names."""
    phrases: frozenset[tuple[str, ...]]
    """Identifiers, word by word."""


NOTHING = Known(frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Item:
    """A word, number or measure of a text: where it begins and ends, what kind it is, how it is spelt when folded."""

    begin: int
    end: int
    kind: str
    spelt: str


class Cleaner:
    """Knows words, and cleans texts; cleaning twice changes nothing."""

    def __init__(self, vocabulary: Iterable[str] = (), words: Iterable[str] = ()) -> None:
        self._vocabulary = frozenset(phrase(text) for text in vocabulary)
        self._kinds = {**_kinds(), **{form: "word" for word in words for form in _spellings(word)}}
        self.clean: Callable[[str, Known], str] = lru_cache(REMEMBERED)(self._remaining)
        """What remains of one value; "" when nothing may."""

    def _remaining(self, text: str, known: Known) -> str:
        if phrase(text) in self._vocabulary:
            return text
        remaining = text
        while (shorter := _without(remaining, known)) != remaining:
            remaining = shorter
        said = phrase(remaining) not in known.phrases and self._safe(remaining)
        return remaining if said else ""

    def _safe(self, text: str) -> bool:
        """Whether nothing in the text can tell who it is about, and something is said at all."""
        position, before = 0, ""
        kinds: list[str] = []
        for item in _items(text):
            if BETWEEN.fullmatch(text, position, item.begin) is None:
                return False
            kind = self._kind(text[item.begin : item.end], item)
            if not kind or (kind == before == "number"):
                return False
            kinds.append(kind)
            position, before = item.end, kind
        if BETWEEN.fullmatch(text, position) is None:
            return False
        return "word" in kinds or kinds.count("name") == 1

    def _kind(self, written: str, item: Item) -> str:
        """word, name, plain or number; "" for what is not known."""
        if item.kind in ("measure", "matrix"):
            return "word"
        if item.kind == "number":
            return "number" if _is_safe_number(item.spelt) else ""
        return self._kind_of_word(item.spelt) or self._kind_of_parts(written)

    def _kind_of_word(self, spelt: str) -> str:
        found = self._kinds.get(spelt)
        if found:
            return found
        if SHAPES.fullmatch(spelt):
            return "word"
        match = WITH_NUMBER.fullmatch(spelt)
        return self._kinds.get(match[1] or match[4] or match[6], "") if match else ""

    def _kind_of_parts(self, written: str) -> str:
        """Words written as one, each with a capital letter."""
        parts = CAMEL.split(written)
        kinds = [self._kind_of_word(folded(part)) for part in parts] if len(parts) > 1 else [""]
        if not all(kinds):
            return ""
        return "word" if "word" in kinds else kinds[0]


def _is_safe_number(text: str) -> bool:
    if "." in text or "," in text:
        return SAFE_DECIMAL.fullmatch(text) is not None
    return len(text) <= 2 and int(text) <= MOST_BARE


def phrase(text: str) -> tuple[str, ...]:
    """The words of a text, folded; punctuation does not count."""
    return tuple(word for word in re.split(r"[\W_]+", folded(text)) if word)


def _items(text: str) -> Iterator[Item]:
    for match in ITEMS.finditer(text):
        yield Item(match.start(), match.end(), match.lastgroup or "", folded(match[0]))


def _without(text: str, known: Known) -> str:
    """The text without the first name or identifier in it, the marks around it gone."""
    words = [(match.start(), match.end(), folded(match[0])) for match in re.finditer(r"[^\W_]+", text)]
    spelt = [word for _, _, word in words]
    for at, word in enumerate(spelt):
        length = 1 if word in known.words else _phrase_at(spelt, at, known)
        if length:
            before = text[: words[at - 1][1]] if at else ""
            behind = text[words[at + length][0] :] if at + length < len(words) else ""
            return f"{before} {behind}".strip() if before and behind else before or behind
    return text


def _phrase_at(words: list[str], at: int, known: Known) -> int:
    """How many words from here on are an identifier."""
    for found in known.phrases:
        if tuple(words[at : at + len(found)]) == found and sum(map(len, found)) >= LEAST_ANYWHERE:
            return len(found)
    return 0


@lru_cache(maxsize=1)
def _kinds() -> dict[str, str]:
    """Every known word in every spelling, and whether it is a word, a name too, or plain."""
    found: dict[str, str] = {}
    for kind, words in tables.clinical_words():
        said = {"plain": "plain", "also-a-name": "name"}.get(kind, "word")
        for word in words:
            for spelt in _spellings(word):
                found[spelt] = max(said, found.get(spelt, said), key=("word", "plain", "name").index)
    return found


def _spellings(word: str) -> set[str]:
    return {folded(word), spelt_out(word)}


@lru_cache(maxsize=512)
def known_of(originals: tuple[Original, ...]) -> Known:
    """What these originals are to a text."""
    words: set[str] = set()
    phrases: set[tuple[str, ...]] = set()
    for kind, _, raw, character_set in originals:
        for text in _readings(raw, character_set, kind):
            if kind is Needle.NAME:
                pieces = {form for word in NAME_WORDS.split(text) for form in _spellings(word)}
                words.update(part for piece in pieces for part in phrase(piece) if len(part) >= LEAST_WORD)
            else:
                phrases.update(phrase(value) for value in text.split("\\"))
    return Known(frozenset(words), frozenset(phrases - {()}))


def known_in(data: bytes, elements: Sequence[Element], steps: Steps, character_set: bytes) -> Known:
    """What an instance gives as names and identifiers, in its sequences too."""
    return known_of(tuple(sorted(originals_in(data, elements, steps, character_set))))


def originals_in(data: bytes, elements: Sequence[Element], steps: Steps, character_set: bytes) -> frozenset[Original]:
    """The names and identifiers on which `known_in` hangs."""
    return frozenset(_originals(data, elements, steps, character_set))


def _readings(raw: bytes, character_set: bytes, kind: Needle) -> Iterator[str]:
    for said in {character_set, b"ISO_IR 192"}:
        try:
            encodings = values.encodings_of(said.decode("latin-1"))
            yield values.decode(raw, encodings, "PN" if kind is Needle.NAME else "LO")
        except Doubt:
            continue


def _originals(data: bytes, elements: Sequence[Element], steps: Steps, character_set: bytes) -> Iterator[Original]:
    """The names and identifiers among these elements and in their sequences."""
    for tag, vr, _, value, stop, items in elements:
        if items is not None:
            inside = steps.inside(tag)
            for _, _, _, nested in items:
                own = value_of(data, nested, CHARACTER_SET) or character_set
                yield from _originals(data, nested, inside, own)
            continue
        needle = steps[tag << 16 | vr].needle
        if needle in (Needle.NAME, Needle.IDENTIFIER) and value != stop:
            yield needle, tag, data[value:stop], character_set


def cleaned(raw: bytes, vr: str, character_set: bytes, cleaner: Cleaner, known: Known) -> bytes:
    """A text value cleaned, several of them one by one, as encoded; the same bytes where nothing had to go."""
    try:
        encodings = values.encodings_of(character_set.decode("latin-1"))
        whole = values.decode(raw, encodings, vr)
    except Doubt:
        return b""
    texts = whole.split("\\") if vr in ("LO", "SH", "UC") else [whole]
    remaining = [cleaner.clean(text.strip(" \0"), known) for text in texts]
    if all(one == other.strip(" \0") for one, other in zip(remaining, texts, strict=True)):
        return raw
    if not any(remaining):
        return b""
    return _encoded("\\".join(remaining), encodings)


def _encoded(text: str, encodings: tuple[str, ...]) -> bytes:
    """In the first of the character sets, or without diacritics in ASCII."""
    encoding = "latin_1" if encodings[0] == "iso8859" else encodings[0]
    try:
        return text.encode("ascii" if len(encodings) > 1 else encoding)
    except (UnicodeEncodeError, LookupError):
        return folded(text).encode("ascii", "ignore")
