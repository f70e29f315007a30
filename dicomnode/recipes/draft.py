"""What a recipe comes to, line by line, before it is written as rules."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*|[+-]?[0-9]{1,6}")
LONGEST_KEY = 1000
"""A key before a colon may have 1024 characters (YAML 7.4.2)."""
RESERVED = frozenset(["yes", "no", "true", "false", "null", "on", "off", "y", "n"])


@dataclass(frozen=True, slots=True)
class Source:
    """A line of the recipe."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """What could not be carried over, or not as it was; `lost` where the rules protect less than the recipe."""

    source: Source
    why: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the rules: under `section`, `key` with its value; without a key a member of a list."""

    section: str
    key: str
    value: object
    source: Source


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the caller's that decides about each field that `key` names: REMOVE, or the value to write."""

    name: str
    key: str
    word: str
    source: Source


@dataclass(slots=True)
class Draft:
    """What the recipe comes to; `kind` names its format."""

    kind: str
    entries: list[Entry] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)

    def attribute(self, key: str, value: object, source: Source) -> None:
        """An attribute and what becomes of it; of two lines about one attribute the first holds."""
        if any(entry.key == key and entry.section == "attributes" for entry in self.entries):
            self.notes.append(Note(source, f"an earlier line about {key} holds"))
            return
        self.entries.append(Entry("attributes", key, value, source))

    def template(self, name: str, value: str, source: Source) -> None:
        """A pseudonym's template."""
        if not any(entry.key == name and entry.section == "templates" for entry in self.entries):
            self.entries.append(Entry("templates", name, value, source))

    def option(self, name: str, source: Source) -> None:
        """An option of the profile."""
        if not any(entry.value == name and entry.section == "options" for entry in self.entries):
            self.entries.append(Entry("options", "", name, source))

    def withhold(self, condition: dict[str, object], source: Source) -> None:
        """A condition under which an instance is withheld."""
        if not any(entry.value == condition and entry.section == "withhold_if" for entry in self.entries):
            self.entries.append(Entry("withhold_if", "", condition, source))

    def note(self, source: Source, why: str, lost: bool = False) -> None:
        """Say what is not carried over."""
        self.notes.append(Note(source, why, lost))


SECTIONS = ("options", "dates", "templates", "attributes", "withhold_if")


def written(draft: Draft, heading: list[str]) -> tuple[str, dict[int, Entry]]:
    """The rules as YAML, and which line of it comes from which entry."""
    lines = [f"# {text}" for text in [*heading, *draft.labels]]
    lines.append("profile: basic")
    origins: dict[int, Entry] = {}
    for section in SECTIONS:
        entries = [entry for entry in draft.entries if entry.section == section]
        if not entries:
            continue
        lines += ["", f"{section}:"]
        for entry in entries:
            *above, begin = _begun(scalar(entry.key) if entry.key else "", scalar(entry.value))
            for line in (*above, f"{begin}  # line {entry.source.line}" if entry.source.line else begin):
                lines.append(line)
                origins[len(lines)] = entry
    return "\n".join(lines) + "\n", origins


def _begun(key: str, value: str) -> list[str]:
    """A pair or a member of a list; what is too long to be a key before a colon stands on a line of its own."""
    if len(key) > LONGEST_KEY:
        return [f"  ? {key}", f"  : {value}"]
    return [f"  {key}: {value}" if key else f"  - {value}"]


def scalar(value: object) -> str:
    """A value in YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(scalar, value)) + "]"
    text = str(value)
    return text if PLAIN.fullmatch(text) and text.lower() not in RESERVED else _quoted(text)


def _quoted(text: str) -> str:
    if text.isprintable() and "'" not in text:
        return f"'{text}'"
    return json.dumps(text)
