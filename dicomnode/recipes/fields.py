"""Which attributes a field of a deid recipe names, as keys of the rules."""

from __future__ import annotations

import re
from functools import cache

from pydicom import datadict

from dicomnode.deidentify import patterns
from dicomnode.deidentify.standard import dictionary

TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?\s?([0-9A-Fa-f]{4})\)?")
PRIVATE = re.compile(r"\(?([0-9A-Fa-f]{4}),\s?\"([^\"]+)\",\s?([0-9A-Fa-f]{2})\)?")
EXPANDER = re.compile(r"(startswith|endswith|contains|except|select):(.*)", re.IGNORECASE | re.DOTALL)
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
        keyword = keyword_of(field)
        return [keyword] if keyword else []
    return _expanded(match[1].lower(), match[2])


def _expanded(expander: str, text: str) -> list[str]:
    if expander == "select":
        what, _, value = text.partition(":")
        if what.lower() == "vr":
            return [f"VR:{value[:2].upper()}"]
        return [f"({int(value, 16):04x},xxxx)"] if what.lower() == "group" and DIGITS.fullmatch(value.zfill(4)) else []
    if expander in ("contains", "startswith") and DIGITS.fullmatch(text):
        return [f"({text[:4]},{text[4:] or 'xxxx'})".lower()]
    patterns = {"endswith": f"({text})$", "startswith": f"^({text})", "except": f"^(?!.*(?:{text}))"}
    return [f"/(?i){patterns.get(expander, text)}/"]


def keywords_in(key: str) -> list[str]:
    """The keywords of the dictionary that a key of the rules names."""
    if key.startswith("/"):
        pattern = re.compile(key[1:-1])
        bounded = patterns.searching(key[1:-1]).bounded
        return [keyword for keyword in dictionary.keywords() if bounded and pattern.search(keyword)]
    if key.startswith("VR:"):
        return [keyword for keyword, tag in dictionary.keywords().items() if dictionary.vr_of(tag) == key[3:]]
    return [key] if key in dictionary.keywords() else []
