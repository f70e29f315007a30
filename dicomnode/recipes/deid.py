"""Recipes of pydicom's deid: sections, fields, actions and values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.recipes import filters
from dicomnode.recipes.draft import Draft, Function, Source
from dicomnode.recipes.fields import image_texts, keys_of, keywords_in, names_image

ACTIONS = ("KEEP", "ADD", "REPLACE", "JITTER", "REMOVE", "BLANK")
"""From the strongest to the weakest: of several about one field the strongest holds."""
NEEDS_VALUE = ("ADD", "REPLACE", "JITTER")
WORDS = re.compile(r"""(?:[^\s"']+|"(?:\\.|[^"])*"|'(?:\\.|[^'])*')+""")
DECLARED = frozenset(["PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"])
TEMPLATES = {"PatientID": "patient_id", "PatientName": "patient_name", "AccessionNumber": "accession"}
KEY_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
UID_FUNCTIONS = ("dicom_uuid", "pydicom_uuid", "simple_uuid", "suffix_uuid")
OF_NO_CREATOR = re.compile(r"\([0-9a-f]{3}[13579bdf],[0-9a-fx]{4}\)")
NEEDS_PYTHON = "a function needs Python: call dicomnode.identifiers.replace_identifiers"
NOT_CHANGED = frozenset(
    [
        "PixelData",
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
        "VOILUTSequence",
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "TransferSyntaxUID",
        "ImplementationClassUID",
    ]
)
"""What deid leaves alone whatever a recipe says."""


@dataclass(frozen=True, slots=True)
class Action:
    """One line of %header."""

    word: str
    field: str
    value: str
    source: Source


@dataclass(slots=True)
class Recipe:
    """The sections of a recipe."""

    actions: list[Action] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    """Texts of the image of which a line for many attributes has said something."""


def is_recipe(text: str) -> bool:
    """Whether a text is a deid recipe."""
    said = (line.strip() for line in text.splitlines())
    first = next((line for line in said if line and not line.startswith("#")), "")
    return bool(re.fullmatch(r"FORMAT\s+dicom", first, re.IGNORECASE)) or bool(
        re.match(r"%(header|filter|fields|values|labels)\b", first)
    )


def read(text: str) -> Draft:
    """What a recipe comes to."""
    draft, recipe = Draft("deid recipe"), Recipe()
    lines = [Source(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    section = name = ""
    left = [source for source in lines if source.text and not source.text.startswith("#")]
    while left:
        source = left.pop(0)
        if source.text.upper().startswith("FORMAT"):
            _format(draft, source)
        elif source.text.startswith("%"):
            words = source.text.split("#", 1)[0].split(maxsplit=1)
            section, name = words[0][1:].lower(), words[1].strip() if len(words) > 1 else ""
            if section not in ("header", "labels", "filter", "values", "fields"):
                draft.note(source, f"there is no section %{section} in a recipe", lost=True)
        elif section == "filter" and source.text.upper().startswith("LABEL"):
            filters.read(draft, name, source, _members(left))
        else:
            _line(draft, recipe, section, name, source)
    _actions(draft, recipe)
    return draft


def _format(draft: Draft, source: Source) -> None:
    if source.text.split()[-1].lower() != "dicom":
        draft.note(source, "only FORMAT dicom is known", lost=True)


def _members(left: list[Source]) -> list[Source]:
    """The lines of a LABEL; they are taken off."""
    members = []
    while left and not left[0].text.upper().startswith("LABEL") and not left[0].text.startswith("%"):
        members.append(left.pop(0))
    return members


def _line(draft: Draft, recipe: Recipe, section: str, name: str, source: Source) -> None:
    words = WORDS.findall(source.text)
    word = words[0].upper()
    if section == "labels":
        draft.labels.append(" ".join(words[1:]))
    elif section in ("fields", "values") and word in ("FIELD", "SPLIT") and len(words) > 1:
        group = recipe.fields if section == "fields" else recipe.values
        group.setdefault(name, []).append(words[1])
    elif section == "header" and word in ACTIONS and len(words) > 1:
        value = " ".join(words[2:]).split("#", 1)[0].strip()
        if word in NEEDS_VALUE and not value:
            draft.note(source, f"{word} needs a value", lost=True)
            return
        recipe.actions.append(Action(word, words[1].split("#", 1)[0], value, source))
    else:
        draft.note(source, "not understood", lost=True)


def _actions(draft: Draft, recipe: Recipe) -> None:
    for action in sorted(recipe.actions, key=lambda each: ACTIONS.index(each.word)):
        group = re.match(r"(fields|values):(.*)", action.field, re.IGNORECASE)
        if group and group[1].lower() == "fields":
            for each in recipe.fields.get(group[2], []):
                _action(draft, recipe, Action(action.word, each, action.value, action.source))
            if group[2] not in recipe.fields:
                draft.note(action.source, f"there is no %fields {group[2]}", lost=True)
        elif group:
            _by_values(draft, recipe, group[2], action)
        else:
            _action(draft, recipe, action)


def _by_values(draft: Draft, recipe: Recipe, name: str, action: Action) -> None:
    """What is done where a value of the group is found: the gate looks for names and IDs everywhere."""
    if action.word in ("KEEP", "ADD"):
        draft.note(action.source, f"{action.word} does not go with values")
        return
    keywords = [
        keyword for each in recipe.values.get(name, []) for key in keys_of(each) for keyword in keywords_in(key)
    ]
    open_ones = [keyword for keyword in keywords if not _searched(keyword)]
    if keywords and not open_ones:
        draft.note(action.source, "the gate does more: an instance in which one of these values is left is withheld")
        return
    why = f"values of {open_ones[0]} are not searched for" if open_ones else f"there is no %values {name}"
    draft.note(action.source, why, lost=True)


def _searched(keyword: str) -> bool:
    """Whether the gate searches the instance for the values of this attribute."""
    tag = dictionary.keywords()[keyword]
    return tag in tables.needles() or dictionary.vr_of(tag) == "PN"


def _action(draft: Draft, recipe: Recipe, action: Action) -> None:
    keys = keys_of(action.field)
    if not keys:
        lost = action.word != "KEEP" and ":" in action.field and "__" in action.field
        draft.note(action.source, f"no attribute is called {action.field}, so nothing happens", lost=lost)
    for key in keys:
        if key in DECLARED:
            draft.note(action.source, "it is written without being mentioned")
        elif OF_NO_CREATOR.fullmatch(key):
            kept = action.word not in ("REMOVE", "BLANK")
            why = "private attributes stay by creator only" if kept else "private attributes go without being mentioned"
            draft.note(action.source, why)
        elif key in NOT_CHANGED:
            if action.word != "KEEP":
                draft.note(action.source, "deid does not change it either")
        elif action.word == "REMOVE" and action.value:
            _remove_if(draft, recipe, key, action)
        elif action.word in NEEDS_VALUE:
            _valued(draft, key, action)
        elif key in TEMPLATES and action.word in ("REMOVE", "BLANK"):
            _without_pseudonym(draft, key, action)
        elif key in KEY_UIDS and action.word in ("REMOVE", "BLANK"):
            draft.note(action.source, "an instance must have it: it gets a new UID")
        else:
            draft.attribute(key, {"KEEP": "keep", "REMOVE": "remove", "BLANK": "empty"}[action.word], action.source)
        _image_texts(draft, recipe, key, action)


def _image_texts(draft: Draft, recipe: Recipe, key: str, action: Action) -> None:
    """Give the texts of the image lines of their own: no line of the rules for many attributes reaches its group."""
    if action.word == "JITTER" or (action.word == "REMOVE" and action.value):
        return
    if action.word != "KEEP" and names_image(key):
        draft.note(action.source, "of the group that describes the image only texts are treated so")
    for keyword in image_texts(key):
        said = any(entry.key == keyword for entry in draft.entries)
        if not said and keyword not in recipe.settled and action.word != "KEEP":
            if action.value.startswith("func:"):
                draft.attribute(keyword, {"replace": f"{{{action.value}}}"}, action.source)
            else:
                _action(draft, recipe, Action(action.word, keyword, action.value, action.source))
        recipe.settled.add(keyword)


def _without_pseudonym(draft: Draft, key: str, action: Action) -> None:
    if key == "PatientID":
        draft.note(action.source, "a patient needs an ID: it becomes a pseudonym")
        return
    draft.template(TEMPLATES[key], "", action.source)


def _remove_if(draft: Draft, recipe: Recipe, key: str, action: Action) -> None:
    if action.value.lower().startswith("values:"):
        _by_values(draft, recipe, action.value[7:], action)
        return
    why = "rules do not remove by value: name the attributes, or substitute in them"
    if action.value.startswith("func:"):
        draft.functions.append(Function(action.value[5:], key, "REMOVE", action.source))
        why = NEEDS_PYTHON
    draft.note(action.source, why, lost=True)


def _valued(draft: Draft, key: str, action: Action) -> None:
    """ADD, REPLACE and JITTER."""
    value = action.value.strip("\"'")
    kind, _, name = value.partition(":")
    if kind == "deid_func":
        _deid_function(draft, key, name, action)
        return
    made = f"{{{value}}}" if kind in ("var", "func") and name else value
    if kind == "func" and name:
        draft.functions.append(Function(name, key, action.word, action.source))
        draft.note(action.source, f"{NEEDS_PYTHON}; without it the attribute is removed")
    if action.word == "JITTER":
        draft.attribute(key, {"shift": made}, action.source)
    elif key in KEY_UIDS:
        draft.note(action.source, "it gets a new UID of the project's key")
    elif key in TEMPLATES:
        _pseudonym(draft, key, made, action)
    else:
        draft.attribute(key, {"set" if action.word == "ADD" else "replace": made}, action.source)


def _pseudonym(draft: Draft, key: str, made: str, action: Action) -> None:
    if made.startswith("{") or key == "AccessionNumber":
        draft.template(TEMPLATES[key], made, action.source)
        return
    draft.note(
        action.source, f"all patients would be {made}: it becomes a pseudonym; deidentify --patient-id names one"
    )


def _deid_function(draft: Draft, key: str, called: str, action: Action) -> None:
    name, *extras = called.split()
    given = dict(each.split("=", 1) for each in extras if "=" in each)
    if name == "jitter":
        days = int(given.get("days", 1)) + 365 * int(given.get("years", 0))
        draft.attribute(key, {"shift": days}, action.source)
    elif name in UID_FUNCTIONS:
        uid = key.endswith("UID") or key == "VR:UI"
        if key in KEY_UIDS:
            return
        draft.attribute(key, "uid" if uid else "hash", action.source)
        draft.note(action.source, f"made of the project's key, not by {name}: the same value gives the same result")
    else:
        draft.note(action.source, f"deid has no function {name}", lost=True)
