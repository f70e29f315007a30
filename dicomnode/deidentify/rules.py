"""A rules file (YAML) read strictly and compiled to a plan; every error names file, line and the nearest right word."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

from dicomnode.deidentify import suspicious
from dicomnode.deidentify.descriptors import Cleaner, phrase
from dicomnode.deidentify.plan import CID_7050, CLAIMS, Action, Methods, Plan, Shift
from dicomnode.deidentify.private import SafePrivate
from dicomnode.deidentify.pseudonyms import DEFAULT_TEMPLATE, TEMPLATE_LIMITS, check_template
from dicomnode.deidentify.reading import Document, Node, nearest
from dicomnode.deidentify.resolve import Choices, Resolver
from dicomnode.deidentify.standard import dictionary, replacements, tables

METHOD = 5
"""Raised whenever the same rules and data would give other bytes: part of the plan's digest."""
KEYS = (
    "profile",
    "options",
    "dates",
    "templates",
    "attributes",
    "withhold",
    "accept",
    "suspicious_pixels",
    "descriptors",
)
ACTIONS = {
    "keep": Action.KEEP,
    "remove": Action.REMOVE,
    "empty": Action.EMPTY,
    "dummy": Action.DUMMY,
    "uid": Action.UID,
}
DESCRIPTORS = "clean_descriptors"
MODIFIED = "retain_longitudinal_modified_dates"
SHIFTS = {"days": 1, "weeks": 7}
LEAST_RANGE, MOST_RANGE = 30, 36500
"""Days that dates may move at most: among fewer they could be guessed, and with more the year would end."""
FIXED = {
    0x00100020: "its pseudonym is set by templates: patient_id",
    0x00080016: "without it nobody can read the instance",
    0x00080005: "without it no text can be read",
    0x00120062: "the node writes it",
    0x00120063: "the node writes it",
    0x00120064: "the node writes it",
    0x00280303: "the node writes it",
}
"""Attributes that the rules cannot decide, and why."""
NEVER_KEPT = frozenset([0x00100010, 0x00100030])
KEY_UIDS = frozenset([0x00080018, 0x0020000D, 0x0020000E])


def load(path: Path) -> Plan:
    """Read and compile a rules file; raises RulesError on one line ("FILE:LINE: what; what to do")."""
    return build(_Reader(path).choices(), path.stem)


def build(choices: Choices, name: str) -> Plan:
    """Compile choices to a plan."""
    resolver = Resolver(choices)
    digest = _digest(choices)
    return Plan(
        name=name,
        digest=digest,
        templates=dict(choices.templates),
        options=frozenset(long for long, short in tables.OPTIONS.items() if short in choices.options),
        methods=_methods(choices, digest),
        overrides=dict(choices.overrides),
        resolver=resolver.steps,
        refused=resolver.refuses,
        shift=choices.shift if "modified" in choices.options else None,
        pixels=choices.pixels,
        cleaner=Cleaner(choices.vocabulary, choices.words) if "descriptors" in choices.options else None,
        safe=SafePrivate("uids" in choices.options) if "private" in choices.options else None,
    )


def _digest(choices: Choices) -> str:
    """Hex SHA-256 over everything that decides the output: choices, data, dictionaries, method."""
    said = {
        "method": METHOD,
        "data": tables.digest(),
        "dictionary": dictionary.digest(),
        "options": sorted(choices.options),
        "overrides": sorted((tag, int(action)) for tag, action in choices.overrides.items()),
        "templates": dict(choices.templates),
        "withhold": sorted(choices.withhold),
        "accept": sorted(choices.accept),
        "pixels": choices.pixels.said,
        "descriptors": [choices.vocabulary, choices.words] if "descriptors" in choices.options else None,
        "shift": [choices.shift.unit, choices.shift.most] if "modified" in choices.options else None,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _methods(choices: Choices, digest: str) -> Methods:
    """What may be claimed: with an attribute kept that the table removes, no profile."""
    weaker = any(
        action is Action.KEEP and (row := tables.row_of(tag)) is not None and row.basic != "K"
        for tag, action in choices.overrides.items()
    )
    options = [] if weaker else [CLAIMS[option] for option in CLAIMS if option in choices.options]
    claim = "Basic Profile with exceptions" if weaker else "Basic Profile"
    codes = [] if weaker else [("113100", "Basic Application Confidentiality Profile")]
    codes += [(value, CID_7050[value]) for value, _ in options]
    texts = [f"{tables.EDITION} {claim}", *(f"{tables.EDITION} {text}" for _, text in options)]
    return Methods(
        text=(*texts, f"dicomnode rules {digest[:16]}"),
        codes=tuple(codes),
        longitudinal=_longitudinal(choices),
    )


def _longitudinal(choices: Choices) -> str:
    """(0028,0303)."""
    said = {"full": "UNMODIFIED", "modified": "MODIFIED"}
    return next((value for option, value in said.items() if option in choices.options), "REMOVED")


class _Reader(Document):
    """What each key of a rules file says."""

    def choices(self) -> Choices:
        root = self.mapping(self.document(), "the rules")
        for key, (line, _) in root.items():
            if key not in KEYS:
                raise self.wrong(line, f"unknown key '{key}'", nearest(key, KEYS))
        if "profile" not in root:
            raise self.wrong(1, "the key 'profile' is missing", "add: profile: basic")
        line, profile = root["profile"]
        if self.text(profile) != "basic":
            raise self.wrong(line, f"unknown profile '{self.text(profile)}'", "use basic")
        options = self._options(root.get("options"))
        return Choices(
            options=options,
            shift=self._dates(root.get("dates"), options),
            overrides=self._attributes(root.get("attributes"), options),
            templates=self._templates(root.get("templates")),
            withhold=self.classes(root.get("withhold"), dictionary.storage_classes()),
            accept=self.classes(root.get("accept"), tables.withheld_classes()),
            pixels=suspicious.read(self, root.get("suspicious_pixels")),
            **self._descriptors(root.get("descriptors"), options),
        )

    def _options(self, given: tuple[int, Node] | None) -> frozenset[str]:
        if given is None:
            return frozenset()
        words = self.words(given[1], "options")
        names = {word for _, word in words}
        if {"retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"} <= names:
            raise self.wrong(given[0], "full and modified dates exclude each other", "choose one (PS3.15 E.3.6)")
        for line, word in words:
            if word not in tables.OPTIONS:
                raise self.wrong(line, f"unknown option '{word}'", nearest(word, tables.OPTIONS))
        return frozenset(tables.OPTIONS[word] for word in names)

    def _dates(self, given: tuple[int, Node] | None, options: frozenset[str]) -> Shift:
        """How far dates are moved."""
        found = Shift()
        if given is None:
            return found
        if tables.OPTIONS[MODIFIED] not in options:
            raise self.wrong(given[0], "'dates' says how dates are moved, but they are not", f"add option {MODIFIED}")
        for key, (line, node) in self.mapping(given[1], "dates").items():
            text = self.text(node)
            if key == "shift":
                if text not in SHIFTS:
                    raise self.wrong(line, f"unknown shift '{text}'", nearest(text, SHIFTS))
                found = replace(found, unit=SHIFTS[text])
            elif key == "range":
                if not re.fullmatch("[0-9]{1,5}", text) or not LEAST_RANGE <= int(text) <= MOST_RANGE:
                    raise self.wrong(line, f"range must be {LEAST_RANGE} to {MOST_RANGE} days", "write: range: 365")
                found = replace(found, most=int(text))
            else:
                raise self.wrong(line, f"unknown key '{key}'", nearest(key, ("shift", "range")))
        return found

    def _descriptors(self, given: tuple[int, Node] | None, options: frozenset[str]) -> dict[str, tuple[str, ...]]:
        """Descriptions and words that stay."""
        if given is None:
            return {}
        if tables.OPTIONS[DESCRIPTORS] not in options:
            raise self.wrong(given[0], "'descriptors' says what stays of descriptions", f"add option {DESCRIPTORS}")
        found = {}
        for key, (line, node) in self.mapping(given[1], "descriptors").items():
            if key not in ("vocabulary", "words"):
                raise self.wrong(line, f"unknown key '{key}'", nearest(key, ("vocabulary", "words")))
            texts = self.words(node, key)
            for at, text in texts:
                if not phrase(text) or (key == "words" and len(phrase(text)) > 1):
                    raise self.wrong(at, f"'{text}' is no word", "put whole texts under vocabulary")
            found[key] = tuple(sorted({text for _, text in texts}))
        return found

    def _templates(self, given: tuple[int, Node] | None) -> dict[str, str]:
        templates = dict.fromkeys(TEMPLATE_LIMITS, DEFAULT_TEMPLATE)
        for name, (line, node) in (self.mapping(given[1], "templates") if given else {}).items():
            if name not in TEMPLATE_LIMITS:
                raise self.wrong(line, f"unknown template '{name}'", nearest(name, TEMPLATE_LIMITS))
            problem = check_template(name, self.text(node))
            if problem:
                raise self.wrong(line, f"template {name}: {problem}", "write for example: '{hash:10}'")
            templates[name] = self.text(node)
        return templates

    def _attributes(self, given: tuple[int, Node] | None, options: frozenset[str]) -> dict[int, Action]:
        overrides: dict[int, Action] = {}
        for word, (line, node) in (self.mapping(given[1], "attributes") if given else {}).items():
            tag = self.tag(line, word)
            action = ACTIONS.get(self.text(node).lower())
            if action is None:
                raise self.wrong(line, f"unknown action '{self.text(node)}'", nearest(self.text(node), ACTIONS))
            problem = _forbidden(tag, action) or _tells_shift(tag, action, options)
            if problem:
                raise self.wrong(line, f"'{word}: {self.text(node)}' is not possible", problem)
            if tag in overrides:
                raise self.wrong(line, f"'{word}' is there twice", "keep one of the two")
            overrides[tag] = action
        return overrides


def _tells_shift(tag: int, action: Action, options: frozenset[str]) -> str:
    """Why a date cannot be kept where others are moved; "" when it can."""
    kept = action is Action.KEEP and dictionary.vr_of(tag) in ("DA", "DT")
    return f"beside moved dates it would tell by how much ({MODIFIED})" if kept and "modified" in options else ""


def _forbidden(tag: int, action: Action) -> str:
    """Why the rules cannot say this of an attribute; "" when they can."""
    group = tag >> 16
    if tag in FIXED:
        return FIXED[tag]
    if group & 1:
        return "private attributes are removed, or kept by option retain_safe_private"
    if group in (0, 2, 4) or group >= 0x7F00 or tag & 0xFFFF == 0:
        return "it is not for the rules to decide"
    if action is Action.KEEP and tag in NEVER_KEPT:
        return "it is never kept (PS3.15 E.2)"
    if tag in KEY_UIDS and action not in (Action.KEEP, Action.UID):
        return "use keep or uid: an instance must have it"
    vr = dictionary.vr_of(tag)
    if action is Action.UID and vr != "UI":
        return f"its VR is {vr}, not UI"
    if action is Action.DUMMY and vr == "SQ" and not isinstance(replacements.items_for(tag, ""), list):
        return "there is no replacement for this sequence; use remove or empty"
    return ""
