"""What a script of CTP's anonymiser comes to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from dicomnode.recipes.draft import Draft, Source
from dicomnode.recipes.fields import keyword_of
from dicomnode.recipes.script import Line, branches, lines
from dicomnode.recipes.unsaid import Unsaid, pseudonyms_hold, settle, strictest

CALL = re.compile(r"@([a-z]+)\s*\(((?:[^()\"]|\"[^\"]*\")*)\)\s*")
PARAM = re.compile(r"@([A-Za-z_][A-Za-z0-9_]*)")
CONDITIONS = {"contains": "substring", "equals": "in", "matches": "matches"}
DECLARED = ("00120062", "00120063", "00120064", "00280303")
CASES = ("lowercase", "uppercase")
TEMPLATES = {"00100010": "patient_name", "00100020": "patient_id", "00080050": "accession", "00200010": "study_id"}
PSEUDONYMS = (
    "hash",
    "hashname",
    "hashptid",
    "lookup",
    "integer",
    "encrypt",
    "scramble",
    "numerichash",
    "alphabetichash",
)
LEAST_HASH = 8
ONE_SITE = (
    "the site is no part of the pseudonym: one ID at two sites of a project is one patient; "
    "where that must not be, give each site a project, or a prefix in templates"
)
CREATOR = re.compile("[0-9a-f]{3}[13579bdf]00[1-9a-f][0-9a-f]")

Arguments = list[str]


class Reading(Draft):
    """A draft with the elements of which nothing can be said yet: another line may keep their group."""

    def __init__(self) -> None:
        super().__init__("CTP script")
        self.unsaid: list[Unsaid] = []

    def leave(self, key: str, tag: str, why: str, source: Source, harmless: bool = False) -> None:
        """An element whose script is not carried over."""
        self.unsaid.append(Unsaid(key, int(tag, 16), why, source, harmless))


def read(text: str) -> Draft:
    """What a script comes to."""
    draft = Reading()
    found = lines(text)
    params = {line.what: line.value for line in found if line.kind == "param"}
    for line in found:
        if line.kind == "set":
            _element(draft, line, params)
        elif line.kind == "keep":
            _group(draft, line)
        elif line.kind == "remove":
            _removed(draft, line)
    settle(draft, draft.unsaid)
    pseudonyms_hold(draft, {name: int(tag, 16) for tag, name in TEMPLATES.items()})
    if not any(line.kind == "remove" and line.what == "unspecifiedelements" for line in found):
        draft.note(
            Source(0, '<r en="F" t="unspecifiedelements">'),
            "what the script does not name is treated as the profile says",
        )
    return draft


def _group(draft: Draft, line: Line) -> None:
    if line.what.startswith("safe"):
        draft.option("retain_safe_private", line.source)
    elif re.fullmatch("[0-9a-f]{4}", line.what):
        draft.attribute(f"({line.what},xxxx)", "keep", line.source)
    else:
        draft.note(line.source, "not understood")


def _removed(draft: Draft, line: Line) -> None:
    keys = {"curves": "(50xx,xxxx)", "overlays": "(60xx,xxxx)", "unspecifiedelements": "/^/"}
    if line.what == "privategroups":
        draft.note(line.source, "private attributes go without being mentioned")
    elif line.what in keys:
        draft.attribute(keys[line.what], "remove", line.source)
    else:
        draft.note(line.source, "not understood", lost=True)


def _element(draft: Reading, line: Line, params: Mapping[str, str]) -> None:
    tag, value = line.what, line.value
    if not re.fullmatch("[0-9a-f]{8}", tag):
        draft.note(line.source, f"'{tag}' is no tag", lost=True)
    elif tag in DECLARED:
        draft.note(line.source, "it is written without being mentioned")
    elif int(tag[:4], 16) & 1:
        _private(draft, line)
    else:
        always = "@always()" in value
        _value(draft, keyword_of(tag), tag, value.replace("@always()", "").strip(), always, line.source, params)


def _private(draft: Reading, line: Line) -> None:
    if "@remove()" in line.value:
        return
    draft.note(line.source, "private attributes are not written; a trial's names fit the attributes of group 0012")


def _value(
    draft: Reading, key: str, tag: str, value: str, always: bool, source: Source, params: Mapping[str, str]
) -> None:
    """One element's script: a function, a condition, or text with functions in it."""
    match = CALL.match(value)
    name = match[1] if match else ""
    rest = value[match.end() :] if match else value
    arguments = [each.strip().strip('"') for each in match[2].split(",")] if match else []
    if name == "if":
        _if(draft, key, tag, arguments, rest, source, params)
    elif name == "select":
        _strictest(draft, key, tag, rest, "an action that depends on the place", source, params)
    elif name in ("quarantine", "skip"):
        draft.note(source, "all instances would be withheld", lost=True)
    elif name in SIMPLE and not rest:
        _simple(draft, key, tag, name, arguments, source, params)
    else:
        _text(draft, key, tag, value, always, source, params)


def _simple(
    draft: Reading, key: str, tag: str, name: str, arguments: Arguments, source: Source, params: Mapping[str, str]
) -> None:
    if name in PSEUDONYMS or name == "initials":
        _pseudonym(draft, key, tag, name, arguments, source)
        return
    said = SIMPLE[name](arguments, params)
    if isinstance(said, str) and said.startswith("!"):
        draft.leave(key, tag, said[1:], source, harmless=name in CASES)
        return
    if tag in TEMPLATES and said in ("remove", "empty"):
        if tag == "00100020":
            draft.note(source, "a patient needs an ID: it becomes a pseudonym")
        else:
            draft.template(TEMPLATES[tag], "", source)
        return
    if name == "require":
        draft.note(source, "it is kept, but not made where it is missing")
    draft.attribute(key, said, source)


def _pseudonym(draft: Draft, key: str, tag: str, name: str, arguments: Arguments, source: Source) -> None:
    """A hash of this value or of another, a name, or a place in a table: all become pseudonyms of the project's key."""
    if tag in TEMPLATES:
        length = _length(",".join(arguments)) if name == "hash" else 10
        if name == "hashptid":
            draft.note(source, ONE_SITE)
        draft.template(TEMPLATES[tag], f"{{hash:{length}}}", source)
    elif "PatientID" in arguments:
        draft.attribute(key, "pseudonym", source)
    else:
        numbers = [int(each) for each in arguments if each.isdecimal()]
        draft.attribute(key, {"hash": max(LEAST_HASH, numbers[0])} if numbers else "hash", source)
    if name not in ("hash", "hashname", "hashptid"):
        draft.note(source, f"a pseudonym of the project's key takes the place of @{name}")


def _length(arguments: str) -> int:
    """The length of a hash among the arguments of a function, as far as pseudonyms can have it."""
    numbers = [int(each) for each in arguments.replace(" ", "").split(",") if each.isdecimal()]
    return max(LEAST_HASH, min(numbers[-1], 16)) if numbers else 10


def _shift(arguments: Arguments, params: Mapping[str, str]) -> object:
    given = _param(arguments[1], params) if len(arguments) > 1 else ""
    return {"shift": given} if re.fullmatch("[+-]?[0-9]+", given) else f"!'{given}' is no number of days"


def _modified(arguments: Arguments, params: Mapping[str, str]) -> object:
    year, month, day = ([each for each in arguments if each != "this"] + ["*", "*", "*"])[:3]
    if year == "*" and month == "*" and day.lstrip("0") == "1":
        return {"round": "month"}
    if year == "*" and month.lstrip("0") == "1" and day.lstrip("0") == "1":
        return {"round": "year"}
    return "!dates are rounded to the month or to the year only"


def _truncated(arguments: Arguments, params: Mapping[str, str]) -> object:
    number = arguments[-1]
    if not re.fullmatch("-?[0-9]{1,4}", number):
        return f"!'{number}' is no length"
    part = rf"([\s\S]{{0,{abs(int(number))}}})"
    return {"substitute": {rf"{part}[\s\S]*": r"\1"} if int(number) >= 0 else {rf"[\s\S]*?{part}": r"\1"}}


def _contents(arguments: Arguments, params: Mapping[str, str]) -> object:
    if len(arguments) == 1:
        return {"replace": f"{{{keyword_of(arguments[0]) or arguments[0]}}}"} if arguments[0] != "this" else "keep"
    return "!texts are not replaced inside a value; substitute keeps what a pattern says"


def _param(text: str, params: Mapping[str, str]) -> str:
    return PARAM.sub(lambda match: params.get(match[1], match[0]), text)


SIMPLE: Mapping[str, Callable[[Arguments, Mapping[str, str]], object]] = {
    "keep": lambda _, __: "keep",
    "process": lambda _, __: "keep",
    "require": lambda _, __: "keep",
    "remove": lambda _, __: "remove",
    "empty": lambda _, __: "empty",
    "blank": lambda _, __: "empty",
    "hashuid": lambda _, __: "uid",
    "hashdate": lambda _, __: "shift",
    "incrementdate": _shift,
    "modifydate": _modified,
    "round": lambda arguments, _: {"round": arguments[-1]},
    "truncate": _truncated,
    "contents": _contents,
    "value": _contents,
    "date": lambda _, __: "!a run's date is never written",
    "time": lambda _, __: "!a run's time is never written",
    "dateinterval": lambda _, __: "!intervals are not computed",
    "lowercase": lambda _, __: "!case is not changed",
    "uppercase": lambda _, __: "!case is not changed",
    "call": lambda _, __: "!programs are not called",
    "pathelement": lambda _, __: "!paths are not read",
    "initials": lambda _, __: "",
    **dict.fromkeys(PSEUDONYMS, lambda _, __: ""),
}
"""What becomes of an element under one function; what begins with ! says why nothing can be said."""


def _if(
    draft: Reading, key: str, tag: str, arguments: Arguments, rest: str, source: Source, params: Mapping[str, str]
) -> None:
    found = [*branches(rest)[0], "", ""][:2]
    quarantined = next((each for each in found if "@quarantine" in each or "@skip" in each), None)
    if quarantined is not None:
        other = found[1] if found[0] is quarantined else found[0]
        if found[0] is quarantined and _withhold(draft, tag, arguments, source):
            if other.strip():
                _value(draft, key, tag, other.strip(), False, source, params)
            else:
                draft.leave(key, tag, "nothing is said of other values", source, harmless=True)
            return
        draft.note(source, "this condition cannot be carried over", lost=True)
        return
    asked = keyword_of(tag) if arguments[0] == "this" else keyword_of(arguments[0])
    if asked == keyword_of(tag) and arguments[1:2] == ["isblank"] and found[0].strip() == "@remove()":
        _value(draft, key, tag, found[1], False, source, params)
        return
    _strictest(draft, key, tag, rest, "an action that depends on a value", source, params)


def _strictest(
    draft: Reading, key: str, tag: str, rest: str, why: str, source: Source, params: Mapping[str, str]
) -> None:
    """Of several branches the one that protects most, whichever would hold."""
    found, after = branches(rest)
    if after.strip() or not found or tag in TEMPLATES:
        draft.leave(key, tag, why, source)
        return
    outcomes = [_outcome(key, tag, each, source, params) for each in [*found, ""][:2]]
    value = strictest(outcomes, int(tag, 16))
    shown = value if isinstance(value, str) else next(iter(value))  # type: ignore[call-overload]
    draft.note(source, f"{why}: the strictest holds for all: {shown}")
    draft.attribute(key, value, source)


def _outcome(key: str, tag: str, value: str, source: Source, params: Mapping[str, str]) -> object:
    """What becomes of the element in one branch; None where nothing can be said."""
    tried = Reading()
    if not value.strip():
        return "empty"
    _value(tried, key, tag, value.strip(), False, source, params)
    return tried.entries[0].value if len(tried.entries) == 1 and not tried.unsaid else None


def _withhold(draft: Draft, tag: str, arguments: Arguments, source: Source) -> bool:
    name = keyword_of(tag) if arguments[0] == "this" else keyword_of(arguments[0])
    if not name or len(arguments) < 2:
        return False
    if arguments[1] in ("isblank", "exists"):
        draft.withhold({name: {"present": "false" if arguments[1] == "isblank" else "true"}}, source)
        return True
    if arguments[1] not in CONDITIONS or len(arguments) < 3:
        return False
    argument: object = arguments[2] if arguments[1] == "contains" else [arguments[2]]
    draft.withhold({name: {CONDITIONS[arguments[1]]: argument}}, source)
    return True


def _text(
    draft: Reading, key: str, tag: str, value: str, always: bool, source: Source, params: Mapping[str, str]
) -> None:
    """Text in which parameters and other elements are filled in."""
    made = re.sub(r"@param\(\s*@?([A-Za-z0-9_]+)\s*\)", lambda match: params.get(match[1], f"@{match[1]}"), value)
    if tag in TEMPLATES:
        if "@hashptid(" in made:
            draft.note(source, ONE_SITE)
        made = re.sub(r"@hash\w*\(([^)]*)\)", lambda match: f"{{hash:{_length(match[1])}}}", made)
        if made.count("{hash") == 1 and "@" not in made:
            draft.template(TEMPLATES[tag], made, source)
            return
    made = re.sub(r"@(?:contents|value)\(\s*([A-Za-z0-9]+)[^)]*\)", lambda match: f"{{{keyword_of(match[1])}}}", made)
    if "@" in made or not made:
        why = f"{made.split('(')[0]} has no counterpart" if made else "nothing is said"
        draft.leave(key, tag, why, source)
    elif tag == "00100020":
        draft.note(source, f"all patients would be {made}: it becomes a pseudonym; deidentify --patient-id names one")
    elif tag in TEMPLATES:
        draft.note(source, "it becomes a pseudonym")
    else:
        draft.attribute(key, {"set" if always else "replace": made}, source)
