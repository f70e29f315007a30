"""The oracle's descriptions: a text is walked through word by word, the instance's names are collected by pydicom."""

from __future__ import annotations

import csv
import re
import unicodedata
from functools import cache
from pathlib import Path

import dicomnode.deidentify

WORDS = Path(next(iter(dicomnode.deidentify.__path__)), "standard", "clinical_words.csv")
CODED = ["00081084", "00081301", "00081302", "00081303", "00081304", "00321067", "0040100A"]
DESCRIBING = ["LO", "LT", "SH", "ST", "UC", "UT"]
MARKS = " \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\xa0!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~°±µ·×–—…«»„“”‘’"
UNITS = {
    *("mm", "cm", "mm2", "cm2", "mm3", "cm3", "s", "sec", "secs", "min", "h", "t", "tesla", "kv", "kvp", "kev", "mev"),
    *(
        "ma",
        "mas",
        "khz",
        "mhz",
        "gy",
        "mci",
        "cc",
        "ml",
        "mg",
        "g",
        "kg",
        "mmol",
        "deg",
        "grad",
        "°",
        "%",
        "fps",
        "bit",
    ),
    *("ch", "fr", "ph"),
}
LARGE = {"ms", "msec", "hu", "hz", "bq", "kbq", "mbq", "cgy", "mgy"}
KERNELS = {
    *("b", "h", "t", "u", "i", "d", "j", "q", "br", "bl", "bv", "bf", "hr", "hc", "hf", "hp", "qr", "sa", "ub", "uc"),
    *("ud", "ur", "fc"),
}


def verdict(digits: str, vr: str, said: str, options: tuple[str, ...], codes: str) -> str | None:
    """clean, content or items where Clean Descriptors has something to say; else None."""
    if "clean_descriptors" not in options or "descriptors=C" not in codes.split():
        return None
    if said == "SQ":
        return ("content" if digits in CODED else "items") if vr in ("SQ", "UN") else None
    return "clean" if said in DESCRIBING and vr in [*DESCRIBING, "UN"] else None


def plain(text: str) -> str:
    """Without case, width, diacritics and apostrophes."""
    spelt = unicodedata.normalize("NFKD", text.lower())
    for one, other in {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
        "ı": "i",
    }.items():
        spelt = spelt.replace(one, other)
    spelt = "".join(each for each in spelt if each not in "'’ʼ`" and not unicodedata.combining(each))
    return unicodedata.normalize("NFKC", spelt)


def spellings(word: str) -> set[str]:
    long = unicodedata.normalize("NFKC", word.lower())
    for one, other in {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"}.items():
        long = long.replace(one, other)
    return {plain(word), plain(long)}


@cache
def kinds() -> dict[str, str]:
    found: dict[str, str] = {}
    with WORDS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for wanted in ("word", "plain", "also-a-name"):
        for row in rows:
            kind = row["kind"] if row["kind"] in ("plain", "also-a-name") else "word"
            if kind == wanted:
                found |= {spelt: kind for word in row["words"].split() for spelt in spellings(word)}
    return found


def runs(text: str) -> list[tuple[int, int]]:
    """Where letters and digits stand together."""
    found, begin = [], None
    for at, each in enumerate([*text, " "]):
        if each.isalnum() and begin is None:
            begin = at
        elif not each.isalnum() and begin is not None:
            found.append((begin, at))
            begin = None
    return found


def phrase(text: str) -> list[str]:
    spelt = plain(text)
    return [spelt[begin:end] for begin, end in runs(spelt)]


def known(found: list[tuple[bool, bytes, list[str]]]) -> tuple[set[str], list[list[str]]]:
    """Words of names and identifiers word by word, of (is a name, encoded value, codecs)."""
    names: set[str] = set()
    identifiers: list[list[str]] = []
    for is_name, raw, codecs in found:
        for text in {text for codec in [*codecs, "utf-8"] if (text := decoded(raw, codec)) is not None}:
            if not is_name:
                identifiers += [phrase(value) for value in text.split("\\") if phrase(value)]
                continue
            for piece in re.split("[\\\\^=\\s,;/()\\-_.\0\u3000]+", text):
                names |= {part for spelt in spellings(piece) for part in phrase(spelt) if len(part) > 1}
    return names, identifiers


def decoded(raw: bytes, codec: str) -> str | None:
    try:
        return raw.rstrip(b" \0").decode("latin-1" if codec == "iso8859" else codec)
    except UnicodeDecodeError:
        return None


class Texts:
    """Cleans texts, given the names (words) and identifiers (lists of words) of the instance."""

    def __init__(self, vocabulary: tuple[str, ...] = (), words: tuple[str, ...] = ()) -> None:
        self.vocabulary = [phrase(text) for text in vocabulary]
        self.kinds = kinds() | {spelt: "word" for word in words for spelt in spellings(word)}

    def clean(self, text: str, names: set[str], identifiers: list[list[str]]) -> str:
        if phrase(text) in self.vocabulary:
            return text
        again = True
        while again:
            again = False
            where = runs(text)
            spelt = [plain(text[begin:end]) for begin, end in where]
            for at in range(len(where)):
                taken = 1 if spelt[at] in names else 0
                for each in identifiers:
                    if not taken and spelt[at : at + len(each)] == each and len("".join(each)) >= 5:
                        taken = len(each)
                if taken:
                    left = text[: where[at - 1][1]] if at else ""
                    right = text[where[at + taken][0] :] if at + taken < len(where) else ""
                    text, again = (left + " " + right).strip() if left and right else left or right, True
                    break
        return text if self.harmless(text) and phrase(text) not in identifiers else ""

    def harmless(self, text: str) -> bool:
        """Nothing but known words and numbers that are no dates and no IDs, and something is said."""
        at, found = 0, []
        while at < len(text):
            if not text[at].isalnum():
                if text[at] not in MARKS and not text[at].isspace():
                    return False
                at += 1
                continue
            length, kind = self.next_item(text, at)
            if not kind or (kind == "number" and found and found[-1] == "number"):
                return False
            found.append(kind)
            at += length
        return "word" in found or found.count("also-a-name") == 1

    def next_item(self, text: str, at: int) -> tuple[int, str]:
        length = measured(text, at)
        if length:
            return length, "word"
        match = re.compile(r"[0-9]+[.,][0-9]+(?![^\W_]|[.,/-])|[0-9]+(?![^\W_])").match(text, at)
        if match:
            number = match[0].replace(",", ".")
            if "." in number:
                whole, part = number.split(".")
                good = len(whole) <= 3 and (len(part) == 1 or part in ("00", "25", "50", "75"))
                return len(match[0]), "number" if good or (whole == "0" and len(part) <= 3) else ""
            return len(match[0]), "number" if len(number) <= 2 and int(number) <= 89 else ""
        match = re.compile(r"[^\W_]+").match(text, at)
        assert match is not None
        word = match[0]
        kind = self.word(plain(word))
        if not kind:
            parts = [self.word(plain(part)) for part in re.sub("([a-zß-ÿ])([A-ZÀ-Þ])", "\\1 \\2", word).split(" ")]
            if len(parts) > 1 and all(parts):
                kind = "word" if "word" in parts else parts[0]
        return len(word), kind

    def word(self, spelt: str) -> str:
        if spelt in self.kinds:
            return self.kinds[spelt]
        letters = re.sub("[0-9]+", "0", spelt)
        digits = re.findall("[0-9]+", spelt)
        short = all(len(each) <= 2 for each in digits)
        if spelt in ("t1", "t2", "t1w", "t2w", "t1i", "t2i", "t1wi", "t2wi", "pd", "pdw", "1d", "2d", "3d", "4d"):
            return "word"
        if letters in ("0st", "0nd", "0rd", "0th", "0er", "0e", "0ste", "0te", "0de", "0x") and short:
            return "word"
        if letters in (
            "c0",
            "th0",
            "t0",
            "d0",
            "l0",
            "s0",
            "lw0",
            "bw0",
            "hw0",
            "p0",
            "e0",
            "r0",
            "x0",
            "v0",
            "k0",
            "ph0",
        ):
            return "word" if short else ""
        if (
            re.fullmatch("0[a-z]?", re.sub("^[a-z]*", "", letters))
            and spelt.rstrip("0123456789abcdefghijklmnopqrstuvwxyz") == ""
        ):
            head = re.match("[a-z]*", spelt)[0]
            if head in KERNELS and len(digits[0]) == 2:
                return "word"
        if letters == "b0" and (
            len(digits[0]) <= 3 or (len(digits[0]) == 4 and spelt.endswith("00") and spelt[1] != "0")
        ):
            return "word"
        if letters in ("te0", "tr0", "ti0") and len(digits[0]) <= 4:
            return "word"
        if (letters == "fa0" and len(digits[0]) <= 3) or (letters == "fov0" and len(digits[0]) in (2, 3)):
            return "word"
        for pattern in (
            "([^\\W\\d_]{2,})[0-9]{1,2}",
            "[0-9]{1,2}([^\\W\\d_]{2,})",
            "(?:t[12]|pd|[234]d)([^\\W\\d_]+)(?:[234]d)?",
        ):
            match = re.fullmatch(pattern, spelt)
            if match:
                return self.kinds.get(match[1], "")
        return ""


def measured(text: str, at: int) -> int:
    """How long a number with a unit, or a matrix, is that begins here; 0 when none does."""
    before = text[at - 1] if at else " "
    if before.isalnum() or before in ".,/-":
        return 0
    number = "[0-9]{1,3}(?:[.,][0-9]{1,3})?"
    forms = [number + rf"(?:\s?[x×*]\s?{number})" * times for times in (2, 1, 0)]
    tried = [("[0-9]{4}", LARGE), *((form, UNITS | LARGE) for form in (*forms, rf"{number}\s?[/-]\s?{number}"))]
    for pattern, units in tried:
        match = re.compile(pattern, re.IGNORECASE).match(text, at)
        for gap in (1, 0) if match else ():
            rest = text[match.end() :]
            if gap and not rest[:1].isspace():
                continue
            for unit in sorted(units, key=len, reverse=True):
                behind = rest[gap + len(unit) : gap + len(unit) + 1]
                if rest[gap:].lower().startswith(unit) and not behind.isalnum():
                    return match.end() - at + gap + len(unit)
    match = re.compile(r"[0-9]{2,4}\s?[x×]\s?[0-9]{2,4}(?![\w.,/-])", re.IGNORECASE).match(text, at)
    return len(match[0]) if match else 0
