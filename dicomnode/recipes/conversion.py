"""A recipe as rules: what the rules can say, tried line by line with what reads rules, and what they cannot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dicomnode.deidentify import rules
from dicomnode.deidentify.plan import Action, Plan, key_of
from dicomnode.deidentify.standard import dictionary
from dicomnode.errors import RulesError
from dicomnode.recipes import ctp, deid, script, vocabulary
from dicomnode.recipes.draft import Draft, Entry, Note, written

FAILED = re.compile(r":(\d+): (.*)", re.DOTALL)
STAYING = (Action.KEEP, Action.FORM, Action.CHECK)
WITHOUT = {"PatientID": "becomes a pseudonym"}
WITHOUT |= dict.fromkeys(("PatientName", "AccessionNumber", "StudyID"), "is emptied")
"""What becomes of an attribute for want of a value, where an instance must have it; others are removed."""
ANY_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(frozen=True)
class Converted:
    """Rules made of a recipe: their text, compiled, and what was not carried over."""

    kind: str
    text: str
    plan: Plan
    notes: tuple[Note, ...]

    @property
    def lost(self) -> tuple[Note, ...]:
        """Where the rules protect less than the recipe did."""
        return tuple(note for note in self.notes if note.lost)


def load(path: Path, variables: Mapping[str, str] | None = None) -> Plan:
    """Compile a rules file or a recipe; raises RulesError, also where a recipe protects in a way that rules cannot."""
    text = _text(path)
    if text is None or not is_recipe(text):
        return rules.load(path, variables)
    return accepted(convert(text, path, variables), path).plan


def accepted(found: Converted, path: Path) -> Converted:
    """The same where nothing is lost; raises RulesError."""
    if found.lost:
        note = found.lost[0]
        more = f" (and {len(found.lost) - 1} more)" if len(found.lost) > 1 else ""
        raise RulesError(
            f"{path}:{note.source.line}: '{note.source.text}' cannot be carried over: {note.why}{more}",
            f"run dicomnode rules convert {path} --output rules.yaml, which names every such line; say in rules.yaml "
            "what is to happen instead, and name that file in place of the recipe",
        )
    return found


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def is_recipe(text: str) -> bool:
    """Whether a text is a recipe, script or vocabulary that can be converted."""
    return deid.is_recipe(text) or script.is_script(text) or vocabulary.is_vocabulary(text)


def drafted(text: str, path: Path) -> Draft:
    """What a recipe comes to; raises RulesError when it is none."""
    for known, read in (
        (deid.is_recipe, deid.read),
        (script.is_script, ctp.read),
        (vocabulary.is_vocabulary, vocabulary.read),
    ):
        if known(text):
            try:
                return read(text)
            except RulesError as error:
                raise RulesError(f"{path}: {error.what}", error.hint) from None
    raise RulesError(
        f"{path} is no recipe that is known",
        "a deid recipe, a script of CTP's anonymiser, or a vocabulary of dicom-anon",
    )


def convert(text: str, path: Path, variables: Mapping[str, str] | None = None) -> Converted:
    """Rules made of a recipe; raises RulesError when it is none."""
    return compiled(drafted(text, path), path, variables)


def compiled(draft: Draft, path: Path, variables: Mapping[str, str] | None = None) -> Converted:
    """Rules made of what a recipe comes to; its lines that rules refuse are taken out and noted.

    Raises RulesError where the value of a variable cannot be one.
    """
    refused: list[tuple[Entry, str]] = []
    while True:
        made, origins = written(draft, _heading(draft, path))
        try:
            plan = rules.load_text(made, path)
            break
        except RulesError as error:
            entry, why = _refused(error, origins)
            draft.entries.remove(entry)
            refused.append((entry, why))
    if variables:
        plan = rules.load_text(made, path, variables)
    notes = [*draft.notes, *(Note(entry.source, why, _lost(plan, entry)) for entry, why in refused)]
    plan = _placed(plan, path, origins)
    return Converted(draft.kind, made, plan, tuple(sorted(notes, key=lambda note: note.source.line)))


def _heading(draft: Draft, path: Path) -> list[str]:
    return [f"Made of the {draft.kind} {path.name}; what it does not name is treated as the profile says."]


def _refused(error: RulesError, origins: Mapping[int, Entry]) -> tuple[Entry, str]:
    """The entry that the rules refuse, and why."""
    match = FAILED.search(error.what)
    entry = origins.get(int(match[1])) if match else None
    if match is None or entry is None:
        raise error
    return entry, f"{match[2]}; {error.hint}" if error.hint else match[2]


def said(error: RulesError) -> str:
    """What is wrong, without the file and the line."""
    match = FAILED.search(error.what)
    return match[2] if match else error.what


def without_value(missing: str) -> tuple[str, str, str]:
    """Of one of `Plan.missing` the attribute, the variable, and what becomes of the attribute."""
    attribute, _, variable = missing.rpartition(": ")
    return attribute, variable, WITHOUT.get(attribute, "is removed")


def _placed(plan: Plan, path: Path, origins: Mapping[int, Entry]) -> Plan:
    """The remarks about lines of the rules as remarks about those of the recipe."""

    def placed(match: re.Match[str]) -> str:
        entry = origins.get(int(match[1]))
        return f"{path.name}:{entry.source.line}:" if entry else match[0]

    begin = re.compile(rf"^{re.escape(path.name)}:(\d+):")
    return replace(plan, remarks=tuple(begin.sub(placed, remark) for remark in plan.remarks))


def _lost(plan: Plan, entry: Entry) -> bool:
    """Whether an attribute stays as it is that the recipe changes."""
    if entry.section != "attributes":
        return entry.section == "withhold_if"
    if entry.value == "keep":
        return False
    tag = dictionary.keywords().get(entry.key)
    if tag is None:
        return not entry.key.startswith("(")
    return plan.for_class(ANY_IMAGE)[key_of(tag, dictionary.vr_of(tag))].action in STAYING
