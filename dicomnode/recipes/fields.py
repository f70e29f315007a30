"""Which attributes a field of a deid recipe names, as keys of the rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from pydicom import datadict

from dicomnode.deidentify import patterns
from dicomnode.deidentify.standard import dictionary, tables

TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?\s?([0-9A-Fa-f]{4})\)?")
PRIVATE = re.compile(r"\(?([0-9A-Fa-f]{4}),\s?\"([^\"]+)\",\s?([0-9A-Fa-f]{2})\)?")
EXPANDER = re.compile(r"(startswith|endswith|contains|except|select):(.*)", re.IGNORECASE | re.DOTALL)
MOST_IN_KEY = 12
NESTED = re.compile(r"__(?:[0-9]+__)?")
IMAGE = 0x0028
IMAGE_KEY = "(0028,xxxx)"
IMAGE_TEXTS = frozenset(["LO", "SH", "ST", "LT", "UC", "UT"])
UNITS = frozenset(["RescaleType", "ModalityLUTType"])
"""Texts of the group of the image that say in which units its pixels are."""
DIGITS = re.compile(r"[0-9A-Fa-f]{4}|[0-9A-Fa-f]{8}")


@cache
def _names() -> dict[str, str]:
    """Lower-case keywords and names of attributes, each with its keyword."""
    found = {}
    for keyword, tag in dictionary.keywords().items():
        found[keyword.lower()] = keyword
        if datadict.dictionary_has_tag(tag):
            found.setdefault(datadict.dictionary_description(tag).lower(), keyword)
    return found


def keyword_of(name: str) -> str:
    """The keyword that a keyword, a name or a tag in any spelling means; "" when there is none."""
    match = TAG.fullmatch(name)
    if match:
        tag = int(match[1] + match[2], 16)
        keyword = dictionary.keyword_of(tag)
        return keyword if keyword in dictionary.keywords() else f"({match[1]},{match[2]})".lower()
    return _names().get(name.strip().lower(), "")


def keys_of(field: str) -> list[str]:
    """The keys of the rules for a field of the recipe; none when it names nothing that is known."""
    if field.lower() == "all":
        return ["/^/"]
    private = PRIVATE.fullmatch(field)
    if private:
        return [f"({private[1]},xx{private[3]},{private[2]})".lower().replace(private[2].lower(), private[2])]
    match = EXPANDER.fullmatch(field)
    if not match:
        path = [keyword_of(part) for part in NESTED.split(field)]
        return [" > ".join(path)] if all(path) else []
    return _expanded(match[1].lower(), match[2])


def _expanded(expander: str, text: str) -> list[str]:
    if expander == "select":
        what, _, value = text.partition(":")
        if what.lower() == "vr":
            return [f"VR:{value[:2].upper()}"]
        return [f"({int(value, 16):04x},xxxx)"] if what.lower() == "group" and DIGITS.fullmatch(value.zfill(4)) else []
    said = {"endswith": f"({text})$", "startswith": f"^({text})"}.get(expander, text)
    known, others = _matching(said)
    if expander in ("contains", "startswith") and DIGITS.fullmatch(text):
        group = int(text[:4], 16)
        beside = [keyword for keyword in others if dictionary.keywords()[keyword] >> 16 != group]
        return [f"({text[:4]},{text[4:] or 'xxxx'})".lower(), *_exactly(beside)]
    if expander == "except":
        return [f"/(?i)^(?!.*(?:{text}){''.join(f'|{each}$' for each in others)})/"]
    return ([f"/(?i){said}/"] if known else []) + _exactly(others)


def _exactly(keywords: list[str]) -> list[str]:
    """Keys for just these keywords; one is no longer than a key in YAML may be."""
    each = range(0, len(keywords), MOST_IN_KEY)
    return [f"/^(?:{'|'.join(keywords[at : at + MOST_IN_KEY])})$/" for at in each]


@cache
def _matching(pattern: str) -> tuple[bool, list[str]]:
    """Whether any keyword has what deid searches for, and of which attributes only name or tag have it.

    True and none where the expression cannot be tried: the rules refuse it.
    """
    tried = _tried(f"(?i){pattern}")
    if tried is None:
        return True, []
    known, others = False, []
    for keyword, tag in dictionary.keywords().items():
        if tried.search(keyword):
            known = True
        elif any(map(tried.search, _said_otherwise(tag))):
            others.append(keyword)
    return known, others


def _tried(expression: str) -> re.Pattern[str] | None:
    """An expression that can be tried on any text; None where the rules would refuse it."""
    try:
        return re.compile(expression) if patterns.searching(expression).bounded else None
    except re.error:
        return None


def _said_otherwise(tag: int) -> Iterator[str]:
    """A tag in both ways in which deid spells it, and the attribute's name."""
    yield from (f"({tag >> 16:04x},{tag & 0xFFFF:04x})", f"{tag:08x}")
    if datadict.dictionary_has_tag(tag):
        yield datadict.dictionary_description(tag)


def image_texts(key: str) -> list[str]:
    """Texts of the group of the image, which a key for many attributes does not reach, among those that it names."""
    if key == IMAGE_KEY:
        return list(_image_texts())
    return [keyword for keyword in keywords_in(key) if keyword in _image_texts()] if key[0] in "/V" else []


def names_image(key: str) -> bool:
    """Whether a key for many attributes names the group of the image or nothing outside of it, and not texts alone."""
    named = keywords_in(key) if key.startswith("/") else []
    inside = all(dictionary.keywords()[each] >> 16 == IMAGE for each in named)
    return key == IMAGE_KEY or (inside and not set(named) <= set(_image_texts()))


@cache
def _image_texts() -> tuple[str, ...]:
    """Texts of that group that the profile keeps, but for units."""
    return tuple(
        keyword
        for keyword, tag in dictionary.keywords().items()
        if tag >> 16 == IMAGE
        and dictionary.vr_of(tag) in IMAGE_TEXTS
        and tables.row_of(tag) is None
        and keyword not in UNITS
    )


def keywords_in(key: str) -> list[str]:
    """The keywords of the dictionary that a key of the rules names."""
    if key.startswith("/"):
        pattern = _tried(key[1:-1])
        return [keyword for keyword in dictionary.keywords() if pattern and pattern.search(keyword)]
    if key.startswith("VR:"):
        return [keyword for keyword, tag in dictionary.keywords().items() if dictionary.vr_of(tag) == key[3:]]
    return [key] if key in dictionary.keywords() else []
