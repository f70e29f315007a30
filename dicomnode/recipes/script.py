"""Scripts of CTP's DICOM anonymiser, as XML or as properties: their lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.parsers import expat

from dicomnode.errors import RulesError
from dicomnode.recipes.draft import Source

PROPERTY = re.compile(r"(#?)(set|keep|remove|param)\.([^=]*)=(.*)")
TAG = re.compile(r"\[([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\](.*)")
KINDS = {"e": "set", "p": "param", "k": "keep", "r": "remove"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `kind` set, keep, remove or param; `what` a tag of 8 digits, a group, or a name; `value` the script."""

    kind: str
    what: str
    value: str
    source: Source


def is_script(text: str) -> bool:
    """Whether a text is such a script."""
    if re.match(r"\s*(<\?xml[^>]*>\s*)?<script\b", text):
        return True
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return bool(said) and any(re.match(r"#?set\.\[[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\]", line) for line in said)


def lines(text: str) -> list[Line]:
    """The lines that are switched on; raises RulesError where the XML cannot be read."""
    return _xml(text) if text.lstrip().startswith("<") else _properties(text)


def branches(text: str) -> tuple[list[str], str]:
    """What stands in each pair of braces at the beginning, {one}{other}, and the text behind them."""
    found: list[str] = []
    depth = begin = end = 0
    quoted = False
    for at, sign in enumerate(text):
        quoted ^= sign == '"'
        if quoted:
            continue
        if sign == "{":
            depth, begin = depth + 1, begin if depth else at + 1
        elif sign == "}" and depth:
            depth -= 1
            if not depth:
                found.append(text[begin:at])
                end = at + 1
        elif not depth and not sign.isspace():
            break
    return found, text[end:]


def _properties(text: str) -> list[Line]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = PROPERTY.fullmatch(line.strip())
        if not match or match[1]:
            continue
        kind, what, value = match[2], match[3].strip(), match[4].strip()
        tag = TAG.fullmatch(what)
        if tag:
            what = (tag[1] + tag[2]).lower()
        elif kind != "param":
            what = re.sub(r"^group", "", what).lower()
        if kind == "keep" and what.isdigit():
            what = what.zfill(4)
        found.append(Line(kind, what, value, Source(number, line.strip())))
    return found


def _xml(text: str) -> list[Line]:
    reader = _Reader()
    try:
        reader.parser.Parse(text, True)
    except expat.ExpatError as error:
        raise RulesError(f"line {error.lineno}: the script is no XML that can be read", "check its elements") from None
    return reader.found


class _Reader:
    """Collects the elements of the script with the lines on which they begin."""

    def __init__(self) -> None:
        self.found: list[Line] = []
        self._open: tuple[str, dict[str, str], int] | None = None
        self._text: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._begin
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text.append

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        if name in KINDS:
            self._open = (name, attributes, self.parser.CurrentLineNumber)
            self._text.clear()

    def _end(self, name: str) -> None:
        if self._open is None or self._open[0] != name:
            return
        _, attributes, number = self._open
        self._open = None
        value, what = "".join(self._text).strip(), attributes.get("t", "").lower()
        if name == "p":
            what = attributes.get("t", "")
        elif attributes.get("en", "T") != "T":
            return
        text = f"{what} {attributes.get('n', '')}: {value}".replace("  ", " ").strip()
        self.found.append(Line(KINDS[name], what, value, Source(number, text)))
