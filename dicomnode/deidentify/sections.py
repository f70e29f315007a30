"""The sections of a rules file, and of the files that it includes, put together to what was chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from dicomnode.deidentify import attributes, suspicious
from dicomnode.deidentify.acceptance import Acceptance, read_accept_if, read_aggregate, read_withhold_if
from dicomnode.deidentify.descriptors import phrase
from dicomnode.deidentify.exceptions import FIXED_DATES, Exceptions, Line
from dicomnode.deidentify.plan import Action, Shift
from dicomnode.deidentify.protocol_series import ProtocolSeries
from dicomnode.deidentify.protocol_series import read as read_protocol_series
from dicomnode.deidentify.pseudonyms import DEFAULT_TEMPLATE, TEMPLATE_LIMITS, check_template
from dicomnode.deidentify.reading import Document, Missing, Node, nearest
from dicomnode.deidentify.resolve import TEMPLATED, Choices
from dicomnode.deidentify.standard import dictionary, tables

KEYS = (
    "include",
    "profile",
    "options",
    "dates",
    "templates",
    "attributes",
    "withhold",
    "accept",
    "accept_if",
    "withhold_if",
    "aggregate",
    "suspicious_pixels",
    "protocol_series",
    "descriptors",
)
DESCRIPTORS = "clean_descriptors"
MODIFIED = "retain_longitudinal_modified_dates"
FULL = "retain_longitudinal_full_dates"
SHIFTS = {"days": 1, "weeks": 7}
LEAST_RANGE, MOST_RANGE = 30, 36500
"""Days that dates may move at most: among fewer they could be guessed, and with more the year would end."""
MOST_INCLUDED = 16
NAMES = {name: dictionary.keyword_of(tag) for tag, name in TEMPLATED.items()}
"""The attribute that each template is for."""
TELLING = (Action.KEEP, Action.SUBSTITUTE, Action.VOCABULARY, Action.ROUND)
"""What would tell beside moved dates by how much they were moved."""

Given = tuple[int, Node]


@dataclass(frozen=True)
class Page:
    """One file: its name, its keys with their lines, and what reads them."""

    document: Document
    name: str
    keys: Mapping[str, Given]


def choices(
    path: Path,
    text: str | None = None,
    variables: Mapping[str, str] | None = None,
    missing: dict[str, str] | None = None,
) -> Choices:
    """What a rules file chooses, with the files that it includes; raises RulesError.

    `text` is read in place of the file. `missing` is filled with the attributes whose variables have no value.
    """
    first = Document(path, text, variables)
    pages = _pages(first, path, ())
    found = _choices(pages)
    if missing is not None:
        for page in pages:
            missing |= page.document.missing
    return found


def _choices(pages: list[Page]) -> Choices:
    last = pages[-1]
    profile = [page for page in pages if "profile" in page.keys]
    if not profile:
        raise last.document.wrong(1, "the key 'profile' is missing", "add: profile: basic")
    for page in profile:
        line, node = page.keys["profile"]
        if page.document.text(node) != "basic":
            raise page.document.wrong(line, f"unknown profile '{page.document.text(node)}'", "use basic")
    options = _options(pages)
    lines = _lines(pages, options)
    return Choices(
        options=options,
        shift=_dates(pages, options, lines),
        exceptions=Exceptions(lines),
        templates=_templates(pages),
        withhold=_classes(pages, "withhold", frozenset(dictionary.storage_classes())),
        accept=_classes(pages, "accept", frozenset(tables.withheld_classes())),
        acceptance=_acceptance(pages),
        pixels=_pixels(pages),
        protocol_series=_protocol_series(pages),
        **_descriptors(pages, options, lines),
    )


def _protocol_series(pages: list[Page]) -> ProtocolSeries:
    """The last list counts."""
    said = [page for page in pages if "protocol_series" in page.keys]
    return read_protocol_series(said[-1].document, said[-1].keys["protocol_series"]) if said else ProtocolSeries()


def _elsewhere(key: str) -> str:
    """What to do with a key that is known in another place."""
    known = key in {rule.name for rule in suspicious.default().rules}
    return "rules about pixels hold by themselves; further ones stand under suspicious_pixels: rules" if known else ""


def _pages(document: Document, path: Path, inside: tuple[Path, ...]) -> list[Page]:
    """The files, those that are included in front of the one that includes them."""
    keys = document.mapping(document.document(), "the rules")
    for key, (line, _) in keys.items():
        if key not in KEYS:
            raise document.wrong(line, f"unknown key '{key}'", nearest(key, KEYS) or _elsewhere(key))
    pages: list[Page] = []
    if "include" in keys:
        line, node = keys["include"]
        single = isinstance(node, yaml.ScalarNode)
        names = [(line, document.text(node))] if single else document.words(node, "include")
        for at, name in names:
            pages += _included(document, at, path.parent / name, (*inside, path.resolve()))
    return [*pages, Page(document, path.name, keys)]


def _included(document: Document, line: int, path: Path, inside: tuple[Path, ...]) -> list[Page]:
    if not path.is_file():
        there = [each.name for each in sorted(path.parent.glob("*.yaml"))] if path.parent.is_dir() else []
        raise document.wrong(line, f"the included file {path} does not exist", nearest(path.name, there))
    if path.resolve() in inside or len(inside) > MOST_INCLUDED:
        raise document.wrong(line, f"{path.name} includes itself", "take one of the includes out")
    return _pages(Document(path, variables=document.variables), path, inside)


def _all(pages: list[Page], key: str) -> list[tuple[Page, Given]]:
    return [(page, page.keys[key]) for page in pages if key in page.keys]


def _last(pages: list[Page], key: str) -> tuple[Page, Given] | None:
    found = _all(pages, key)
    return found[-1] if found else None


def _options(pages: list[Page]) -> frozenset[str]:
    """Those of all files; a date option takes the place of the other one in a file that is included."""
    chosen: set[str] = set()
    for page, (line, node) in _all(pages, "options"):
        words = page.document.words(node, "options")
        names = {word for _, word in words}
        if {FULL, MODIFIED} <= names:
            raise page.document.wrong(line, "full and modified dates exclude each other", "choose one (PS3.15 E.3.6)")
        for at, word in words:
            if word not in tables.OPTIONS:
                raise page.document.wrong(at, f"unknown option '{word}'", nearest(word, tables.OPTIONS))
        if names & {FULL, MODIFIED}:
            chosen -= {FULL, MODIFIED}
        chosen |= names
    return frozenset(tables.OPTIONS[word] for word in chosen)


def _lines(pages: list[Page], options: frozenset[str]) -> tuple[Line, ...]:
    """What is said of attributes: a file's own lines go before those that it includes."""
    found: list[Line] = []
    for page, given in reversed(_all(pages, "attributes")):
        lines = attributes.read(page.document, given, page.name)
        for (selector, treat), (word, (at, _)) in zip(
            lines, page.document.mapping(given[1], "attributes").items(), strict=True
        ):
            problem = _tells_shift(Exceptions(((selector, treat),)), (selector, treat), options)
            if problem:
                raise page.document.wrong(at, f"'{word}: {treat.word}' is not possible", problem)
        known = {selector for selector, _ in found}
        found += [line for line in lines if line[0] not in known]
    return tuple(found)


def _tells_shift(alone: Exceptions, line: Line, options: frozenset[str]) -> str:
    """Why a date cannot be treated so where others are moved, or stay; "" when it can."""
    selector, treat = line
    own = treat.action is Action.SHIFT
    if own and "full" in options:
        return f"beside dates that stay it would tell by how much ({FULL})"
    if "modified" not in options or not (treat.action in TELLING or (own and treat.made is not None)):
        return ""
    every = (tag for tag in dictionary.keywords().values() if tag not in FIXED_DATES)
    dates = [tag for tag in every if dictionary.vr_of(tag) in ("DA", "DT")]
    named = alone.tags(selector, dates)
    return f"beside moved dates it would tell by how much ({MODIFIED})" if named else ""


def _dates(pages: list[Page], options: frozenset[str], lines: tuple[Line, ...]) -> Shift:
    """How far dates are moved."""
    found = Shift()
    given = _last(pages, "dates")
    if given is None:
        return found
    page, (line, node) = given
    document = page.document
    if "modified" not in options and not any(treat.action is Action.SHIFT for _, treat in lines):
        raise document.wrong(line, "'dates' says how dates are moved, but they are not", f"add option {MODIFIED}")
    for key, (at, value) in document.mapping(node, "dates").items():
        text = document.text(value)
        if key == "shift":
            if text not in SHIFTS:
                raise document.wrong(at, f"unknown shift '{text}'", nearest(text, SHIFTS))
            found = replace(found, unit=SHIFTS[text])
        elif key == "range":
            if not re.fullmatch("[0-9]{1,5}", text) or not LEAST_RANGE <= int(text) <= MOST_RANGE:
                raise document.wrong(at, f"range must be {LEAST_RANGE} to {MOST_RANGE} days", "write: range: 365")
            found = replace(found, most=int(text))
        elif key == "days":
            if not re.fullmatch("[+-]?[0-9]{1,5}", text) or not 0 < abs(int(text)) <= MOST_RANGE:
                raise document.wrong(at, f"days must be a number up to {MOST_RANGE}, not 0", "write: days: -42")
            found = replace(found, days=int(text))
        else:
            raise document.wrong(at, f"unknown key '{key}'", nearest(key, ("shift", "range", "days")))
    return found


def _descriptors(pages: list[Page], options: frozenset[str], lines: tuple[Line, ...]) -> dict[str, tuple[str, ...]]:
    """Descriptions and words that stay."""
    found: dict[str, set[str]] = {}
    cleans = "descriptors" in options or any(treat.action is Action.CLEAN for _, treat in lines)
    for page, (line, node) in _all(pages, "descriptors"):
        document = page.document
        if not cleans:
            raise document.wrong(line, "'descriptors' says what stays of descriptions", f"add option {DESCRIPTORS}")
        for key, (at, value) in document.mapping(node, "descriptors").items():
            if key not in ("vocabulary", "words"):
                raise document.wrong(at, f"unknown key '{key}'", nearest(key, ("vocabulary", "words")))
            texts = document.words(value, key)
            for where, text in texts:
                if not phrase(text) or (key == "words" and len(phrase(text)) > 1):
                    raise document.wrong(where, f"'{text}' is no word", "put whole texts under vocabulary")
            found.setdefault(key, set()).update(text for _, text in texts)
    return {key: tuple(sorted(texts)) for key, texts in found.items()}


def _templates(pages: list[Page]) -> dict[str, str]:
    templates = dict.fromkeys(TEMPLATE_LIMITS, DEFAULT_TEMPLATE)
    for page, given in _all(pages, "templates"):
        for name, (line, node) in page.document.mapping(given[1], "templates").items():
            if name not in TEMPLATE_LIMITS:
                raise page.document.wrong(line, f"unknown template '{name}'", nearest(name, TEMPLATE_LIMITS))
            templates[name] = _template(page.document, name, line, page.document.text(node))
    return templates


def _template(document: Document, name: str, line: int, text: str) -> str:
    """One template; a variable stands for the whole, and where it has no value there is no value, or a pseudonym."""
    try:
        filled, whole = document.filled(text)
    except Missing as missing:
        document.missing[NAMES[name]] = str(missing)
        return "" if name != "patient_id" else DEFAULT_TEMPLATE
    if whole:
        if not filled.isascii() or not filled.isprintable() or len(filled) > TEMPLATE_LIMITS[name] or "\\" in filled:
            raise document.wrong(
                line, f"the value of {text} cannot be a {name}", "give it as plain ASCII, not too long"
            )
        return filled
    problem = check_template(name, text)
    if problem:
        raise document.wrong(line, f"template {name}: {problem}", "write for example: '{hash:10}'")
    return text


def _classes(pages: list[Page], key: str, allowed: frozenset[str]) -> frozenset[str]:
    return frozenset().union(*(page.document.classes(given, allowed) for page, given in _all(pages, key)))


def _acceptance(pages: list[Page]) -> Acceptance:
    """Conditions: the last accept_if, and all of withhold_if."""
    accept, aggregate = _last(pages, "accept_if"), _last(pages, "aggregate")
    tests = read_accept_if(accept[0].document, accept[1]) if accept else ()
    withheld = tuple(
        each for page, given in _all(pages, "withhold_if") for each in read_withhold_if(page.document, given)
    )
    if aggregate is None:
        return Acceptance(tests, withheld)
    page, given = aggregate
    if not tests and not withheld:
        raise page.document.wrong(
            given[0], "'aggregate' says what fails as a whole, but nothing is asked", "add accept_if"
        )
    return Acceptance(tests, withheld, read_aggregate(page.document, given))


def _pixels(pages: list[Page]) -> suspicious.SuspiciousPixels:
    given = _last(pages, "suspicious_pixels")
    return suspicious.read(given[0].document, given[1]) if given else suspicious.default()
