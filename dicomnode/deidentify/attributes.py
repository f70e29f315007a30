"""The section `attributes` of a rules file: which attributes each line names, and what it says of them."""

from __future__ import annotations

import re
from collections.abc import Callable

import yaml

from dicomnode.deidentify import patterns
from dicomnode.deidentify.actions import HASH_LENGTH, LONGEST, fits
from dicomnode.deidentify.conditions import folded
from dicomnode.deidentify.exceptions import Line, Selector, Treat, forbidden
from dicomnode.deidentify.plan import Action, Made
from dicomnode.deidentify.pseudonyms import HASH_LENGTH as MOST_HASH
from dicomnode.deidentify.pseudonyms import LEAST_HASH
from dicomnode.deidentify.reading import VARIABLE, Document, Missing, Node, nearest
from dicomnode.deidentify.standard import dictionary

WORDS = {
    "keep": Action.KEEP,
    "remove": Action.REMOVE,
    "empty": Action.EMPTY,
    "dummy": Action.DUMMY,
    "uid": Action.UID,
    "pseudonym": Action.REPLACE,
    "hash": Action.HASH,
    "shift": Action.SHIFT,
    "clean": Action.CLEAN,
}
"""The actions that need no argument."""
ARGUMENTS = {
    "hash": "hash: 12",
    "shift": "shift: -30",
    "replace": "replace: '{project}'",
    "set": "set: '{project}'",
    "substitute": r"substitute: {'CT-(\d+)': '\1'}",
    "vocabulary": "vocabulary: [HEAD, NECK]",
    "round": "round: month",
    "code": "code: {Male: M, Female: F}",
}
"""The actions with an argument, and an example of each."""
NAMES = tuple(dict.fromkeys([*WORDS, *ARGUMENTS]))
TAG = re.compile(r"\(?([0-9A-Fa-fxX]{4}),\s?([0-9A-Fa-fxX]{4})\)?")
PRIVATE = re.compile(r"\(([0-9A-Fa-fxX]{4}),\s?([xX]{2})([0-9A-Fa-f]{2}|[xX]{2}),\s?(.{1,64})\)")
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
MOST_DAYS = 36500
PRIVATE_WORDS = (Action.KEEP, Action.REMOVE)


def read(document: Document, given: tuple[int, Node] | None, what: str) -> list[Line]:
    """The lines of the section; raises RulesError."""
    lines = []
    seen: dict[Selector, str] = {}
    for word, (line, node) in (document.mapping(given[1], "attributes") if given else {}).items():
        selector = selector_of(document, line, word)
        try:
            treat = _treat(document, line, node, selector, f"{what}:{line}")
        except Missing as missing:
            document.missing[word] = str(missing)
            treat = Treat(Action.REMOVE, word="remove", line=f"{what}:{line}")
        problem = "" if selector.kind not in ("tag", "path") else forbidden(selector.tag, treat)
        if treat.added and not problem:
            problem = _not_added(selector)
        if problem:
            raise document.wrong(line, f"'{word}: {treat.word}' is not possible", problem)
        if selector in seen:
            raise document.wrong(line, f"'{word}' is there twice", "keep one of the two")
        seen[selector] = word
        lines.append((selector, treat))
    return lines


def selector_of(document: Document, line: int, word: str) -> Selector:
    """What a key names: a keyword, a tag, a mask, a path, /a regular expression/, VR:PN, or (0009,xx01,CREATOR)."""
    if word.startswith("/"):
        return _expression(document, line, word)
    if word.upper().startswith("VR:"):
        vr = word[3:].strip().upper()
        if vr not in (known := {*dictionary.TEXT, "SQ", "US", "SS", "UL", "SL", "FL", "FD", "OB", "OW", "UN", "AT"}):
            raise document.wrong(line, f"unknown VR '{vr}'", nearest(vr, known) or "write for example: VR:PN")
        return Selector("vr", text=vr)
    if ">" in word:
        *around, last = (document.tag(line, _bracketed(part.strip())) for part in word.split(">"))
        return Selector("path", last, path=tuple(around))
    private = PRIVATE.fullmatch(word)
    if private:
        group, _, element, creator = private.groups()
        return _private(document, line, group, element, creator)
    match = TAG.fullmatch(word)
    if match and "x" in word.lower():
        digits = (match[1] + match[2]).lower()
        mask = "".join("0" if digit == "x" else "F" for digit in digits)
        return Selector("mask", int(digits.replace("x", "0"), 16), int(mask, 16))
    return Selector("tag", document.tag(line, _bracketed(word)))


def _bracketed(word: str) -> str:
    """A tag without parentheses with them."""
    return f"({word})" if TAG.fullmatch(word) and not word.startswith("(") else word


def _expression(document: Document, line: int, word: str) -> Selector:
    pattern = word[1:-1] if word.endswith("/") and len(word) > 2 else ""
    if not pattern:
        raise document.wrong(line, f"'{word}' is no regular expression", "write for example: /^Referring/")
    try:
        tried = patterns.searching(pattern)
    except re.error as error:
        raise document.wrong(line, f"'{pattern}' is no regular expression", str(error)) from None
    _check_bounded(document, line, pattern, tried)
    return Selector("keyword", text=pattern)


def _check_bounded(document: Document, line: int, pattern: str, tried: patterns.Pattern) -> None:
    if not tried.bounded:
        raise document.wrong(line, f"'{pattern}' could be tried on a value without end", patterns.HINT)


def _private(document: Document, line: int, group: str, element: str, creator: str) -> Selector:
    digits, mask = 0, 0
    if "x" not in group.lower():
        digits, mask = int(group, 16) << 16, 0xFFFF0000
        if not int(group, 16) & 1:
            raise document.wrong(line, f"group {group} is not private", "private groups have odd numbers")
    elif group.lower() != "xxxx":
        raise document.wrong(line, f"'{group}' is no group", "write four digits, or xxxx for any")
    if "x" not in element.lower():
        digits, mask = digits | int(element, 16), mask | 0xFF
    return Selector("private", digits, mask, text=creator.strip().strip("\"'").upper())


def _treat(document: Document, line: int, node: Node, selector: Selector, where: str) -> Treat:
    if isinstance(node, yaml.MappingNode):
        keys = document.mapping(node, "an action")
        if len(keys) != 1:
            raise document.wrong(line, "an attribute has one action", "write for example: {hash: 12}")
        ((word, (at, argument)),) = keys.items()
        if word not in ARGUMENTS:
            raise document.wrong(at, f"unknown action '{word}' with an argument", nearest(word, ARGUMENTS))
        treat = READERS[word](document, at, argument, selector)
    else:
        word = document.text(node)
        action = WORDS.get(word.lower())
        if action is None:
            example = f"{word} needs an argument: {{{ARGUMENTS[word]}}}" if word in ARGUMENTS else nearest(word, NAMES)
            raise document.wrong(line, f"unknown action '{word}'", example)
        treat = Treat(action, PLAIN_MADE.get(word.lower()))
    if selector.kind == "private" and treat.action not in PRIVATE_WORDS:
        raise document.wrong(line, f"'{word}' is not possible for private attributes", "use keep or remove")
    return Treat(treat.action, treat.made, treat.items, treat.added, word, where)


PLAIN_MADE = {
    "pseudonym": Made(Action.REPLACE, (("patient", 0),)),
    "hash": Made(Action.HASH, (HASH_LENGTH,)),
}


def _not_added(selector: Selector) -> str:
    if selector.kind != "tag" or selector.tag >= 0x7F000000:
        return "only a single attribute of the top level can be set; use replace"
    vr = dictionary.vr_of(selector.tag)
    return "" if vr in dictionary.TEXT else f"its VR is {vr}, not a text"


# arguments


def _hash(document: Document, line: int, node: Node, selector: Selector) -> Treat:
    length = document.text(node)
    most = min(MOST_HASH, LONGEST.get(dictionary.vr_of(selector.tag), MOST_HASH)) if selector.tag else MOST_HASH
    if not length.isdecimal() or not LEAST_HASH <= int(length) <= most:
        raise document.wrong(line, f"a hash has {LEAST_HASH} to {most} characters", "write: hash: 10")
    return Treat(Action.HASH, Made(Action.HASH, (int(length),)))


def _shift(document: Document, line: int, node: Node, selector: Selector) -> Treat:
    days, given = document.filled(document.text(node))
    if given and not re.fullmatch("[+-]?[0-9]{1,5}", days):
        raise document.wrong(line, f"the value of {document.text(node)} is no number of days", "give it as -30")
    if not re.fullmatch("[+-]?[0-9]{1,5}", days) or not 0 < abs(int(days)) <= MOST_DAYS:
        raise document.wrong(line, f"shift must be a number of days up to {MOST_DAYS}, not 0", "write: shift: -30")
    return Treat(Action.SHIFT, Made(Action.SHIFT, (int(days),)))


def _replace(document: Document, line: int, node: Node, selector: Selector) -> Treat:
    return Treat(Action.REPLACE, Made(Action.REPLACE, _parts(document, line, document.text(node), selector)))


def _set(document: Document, line: int, node: Node, selector: Selector) -> Treat:
    treat = _replace(document, line, node, selector)
    if treat.made is not None and treat.made.asks_value:
        raise document.wrong(line, "set cannot use {hash}: there may be no value", "use replace")
    return Treat(treat.action, treat.made, added=True)


def _parts(document: Document, line: int, template: str, selector: Selector) -> tuple[object, ...]:
    """Texts, tags of other attributes, and (hash|project|patient, length)."""
    parts: list[object] = []
    at = 0
    for match in PLACEHOLDER.finditer(template):
        parts += [template[at : match.start()]] if match.start() > at else []
        parts.append(_placeholder(document, line, match[1], selector))
        at = match.end()
    parts += [template[at:]] if at < len(template) else []
    fixed = "".join(part for part in parts if isinstance(part, str))
    shown = template if VARIABLE.search(template) else fixed
    if re.search(r"[{}\\]", fixed) or not fixed.isascii() or not fixed.isprintable():
        raise document.wrong(line, f"template '{template}': only printable ASCII without \\ {{ }}", "write it plainly")
    vr = dictionary.vr_of(selector.tag) if selector.tag and selector.kind in ("tag", "path") else ""
    whole = len(parts) <= 1 and not any(not isinstance(part, str) for part in parts)
    if vr and vr != "SQ" and not (fits(vr, fixed) if whole else len(fixed) <= LONGEST.get(vr, len(fixed))):
        raise document.wrong(line, f"'{shown}' cannot be a value of VR {vr}", "see PS3.5 section 6.2")
    return tuple(parts)


def _placeholder(document: Document, line: int, word: str, selector: Selector) -> object:
    name, _, length = word.partition(":")
    if name in ("var", "func"):
        return document.variable(word)
    if name in ("project", "patient") and not length:
        return (name, 0)
    if name == "hash":
        number = length or str(HASH_LENGTH)
        if not number.isdecimal() or not LEAST_HASH <= int(number) <= MOST_HASH:
            raise document.wrong(line, f"the hash must have {LEAST_HASH} to {MOST_HASH} characters", "write: {hash:10}")
        return (name, int(number))
    tag = dictionary.keywords().get(word)
    if tag is None:
        known = ["project", "patient", "hash", *dictionary.keywords()]
        raise document.wrong(line, f"unknown placeholder '{{{word}}}'", nearest(word, known))
    if dictionary.vr_of(tag) not in dictionary.TEXT or tag == selector.tag:
        why = "it would be its own template" if tag == selector.tag else f"its VR is {dictionary.vr_of(tag)}"
        raise document.wrong(line, f"'{{{word}}}' cannot be in this template", why)
    return tag


def _substitute(document: Document, line: int, node: Node, selector: Selector) -> Treat:
    pairs = []
    for pattern, (at, given) in document.mapping(node, "substitute").items():
        replacement = document.text(given)
        try:
            tried = patterns.whole(pattern)
            tried.expression.sub(replacement, "")
        except (re.error, IndexError) as error:
            raise document.wrong(at, f"'{pattern}: {replacement}' is no substitution", str(error)) from None
        _check_bounded(document, at, pattern, tried)
        pairs.append((pattern, replacement))
    if not pairs:
        raise document.wrong(line, "substitute has no pattern", f"write: {ARGUMENTS['substitute']}")
    return Treat(Action.SUBSTITUTE, Made(Action.SUBSTITUTE, tuple(pairs)))


def _vocabulary(document: Document, line: int, node: Node, selector: Selector) -> Treat:
    words = [folded(text) for _, text in document.words(node, "vocabulary")]
    if not any(words):
        raise document.wrong(line, "vocabulary is empty", f"write: {ARGUMENTS['vocabulary']}")
    return Treat(Action.VOCABULARY, Made(Action.VOCABULARY, tuple(sorted({word for word in words if word}))))


def _round(document: Document, line: int, node: Node, selector: Selector) -> Treat:
    unit = document.text(node)
    number = unit.replace(".", "", 1).isdecimal() and float(unit) > 0
    if unit not in ("month", "year", "hour") and not number:
        raise document.wrong(line, f"unknown unit '{unit}'", "use month or year, hour, or a number as in round: 5")
    return Treat(Action.ROUND, Made(Action.ROUND, (unit,)))


def _code(document: Document, line: int, node: Node, selector: Selector) -> Treat:
    if isinstance(node, yaml.SequenceNode):
        item = [text for _, text in document.words(node, "code")]
        problem = _no_code(item)
        if problem:
            raise document.wrong(line, problem, "write: code: [T-D1100, SRT, Head]")
        return Treat(Action.CODE, items=((item[0], item[1], item[2]),))
    table = {}
    for value, (at, given) in document.mapping(node, "the table of codes").items():
        code = document.text(given)
        vr = dictionary.vr_of(selector.tag) if selector.tag else "LO"
        if not code.isascii() or (vr in dictionary.TEXT and not fits(vr, code)):
            raise document.wrong(at, f"'{code}' cannot be a value of VR {vr}", "see PS3.5 section 6.2")
        table[folded(value)] = code
    if not table:
        raise document.wrong(line, "the table of codes is empty", f"write: {ARGUMENTS['code']}")
    return Treat(Action.CODE, Made(Action.CODE, tuple(sorted(table.items()))))


def _no_code(item: list[str]) -> str:
    if len(item) != 3 or not all(item):
        return "a code has value, scheme and meaning"
    return (
        "" if all(map(fits, ("SH", "SH", "LO"), item)) and all(map(str.isascii, item)) else "a code that cannot be one"
    )


READERS: dict[str, Callable[[Document, int, Node, Selector], Treat]] = {
    "hash": _hash,
    "shift": _shift,
    "replace": _replace,
    "set": _set,
    "substitute": _substitute,
    "vocabulary": _vocabulary,
    "round": _round,
    "code": _code,
}
