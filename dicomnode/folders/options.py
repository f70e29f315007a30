"""The options of a run that are rules: what they come to, written as rules above the rules file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.deidentify.rules import load_text
from dicomnode.deidentify.standard import dictionary
from dicomnode.errors import ConfigError, RulesError
from dicomnode.recipes import conversion
from dicomnode.recipes.draft import Draft, Entry, Source, scalar, written
from dicomnode.recipes.fields import keyword_of

CHANGE = re.compile(r"\(?([0-9A-Fa-f]{4}),\s?([0-9A-Fa-f]{4})\)?=(.*)", re.DOTALL)
NAMED = re.compile(r"([A-Za-z][A-Za-z0-9]*)=(.*)", re.DOTALL)
ACTIONS = {
    "keep": "keep",
    "remove": "remove",
    "empty": "empty",
    "hash": "hash",
    "hashuid": "uid",
    "hashuid+PROJECTNAME": "uid",
    "incrementdate": "shift",
    "incrementdatetime": "shift",
}
"""Values of --tag-change that are actions; every other one is text."""
MODIFIED = "retain_longitudinal_modified_dates"
MOST_DAYS = 36500
OPTIONS = Path("options")
"""The name of the rules that are made of options."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says beside the rules file."""

    project: str = ""
    site: str = ""
    site_id: str = ""
    event: str = ""
    days: int | None = None
    tag_changes: tuple[str, ...] = ()
    reg_tag_changes: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether anything is said that is a rule."""
        return self != Options()


def rules(options: Options, file: Path | None) -> str:
    """The options as rules that include the rules file; raises RulesError, which names the option that is wrong."""
    draft = Draft("options")
    if options.days is not None:
        if not 0 < abs(options.days) <= MOST_DAYS:
            raise ConfigError(f"--date-increment {options.days} is no number of days", f"give 1 to {MOST_DAYS}, or -42")
        source = _said("--date-increment", options.days)
        draft.option(MODIFIED, source)
        draft.entries.append(Entry("dates", "days", options.days, source))
    for change in options.tag_changes:
        _change(draft, options, "--tag-change", change, change)
    for change in options.reg_tag_changes:
        _substitution(draft, change)
    trial = {"project": ("ClinicalTrialProtocolID", "ClinicalTrialProtocolName"), "site": ("ClinicalTrialSiteName",)}
    trial |= {"site_id": ("ClinicalTrialSiteID",), "event": ("ClinicalTrialTimePointID",)}
    for name, keywords in trial.items():
        text = getattr(options, name)
        for keyword in keywords if text else ():
            value = "{project}" if name == "project" else text
            draft.attribute(keyword, {"set": value}, _said(f"--{name.replace('_', '-')}", text))
    if file is not None and conversion.is_recipe(_content(file)):
        raise RulesError(
            f"{file} is a recipe, with which options do not go", "convert it first: dicomnode rules convert"
        )
    text, origins = written(draft, ["Made of the options of dicomnode deidentify."])
    head = f"include: {scalar(str(file.resolve()))}" if file else "profile: basic"
    text = text.replace("profile: basic", head, 1)
    _try(text, origins)
    return text


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def patient_id(text: str) -> str:
    """A Patient ID that can be one (LO); raises ConfigError."""
    if len(text) > 64 or not text.isascii() or not text.isprintable() or "\\" in text or text != text.strip():
        raise ConfigError("--patient-id cannot be a Patient ID", "give up to 64 printable ASCII characters")
    return text


def _try(text: str, origins: dict[int, Entry]) -> None:
    """Raises RulesError with the option in place of the line, where an option is what is wrong."""
    try:
        load_text(text, OPTIONS)
    except RulesError as error:
        match = conversion.FAILED.search(error.what)
        entry = origins.get(int(match[1])) if match and error.what.startswith(f"{OPTIONS}:") else None
        if match is None or entry is None:
            raise
        raise RulesError(f"{entry.source.text}: {match[2]}", error.hint) from None


def _said(option: str, value: object) -> Source:
    return Source(0, f"{option} {value}")


def _change(draft: Draft, options: Options, option: str, change: str, shown: str) -> None:
    key, value = _split(option, change)
    texts = {"PROJECTNAME": "{project}", "PATIENTID": "{patient}", "SITENAME": options.site}
    texts |= {"SITEID": options.site_id, "EVENTNAME": options.event}
    source = _said(option, shown)
    if value in ACTIONS:
        draft.attribute(key, ACTIONS[value], source)
        return
    text = texts.get(value.upper(), value)
    if not text:
        raise ConfigError(f"{option} {shown}: {value} is not given", f"give it, or write {shown.split('=')[0]}=empty")
    single = dictionary.vr_of(dictionary.keywords().get(key, 0)) in dictionary.TEXT
    draft.attribute(key, {"set" if single else "replace": text}, source)


def _substitution(draft: Draft, change: str) -> None:
    """What the groups of the pattern match is kept, with spaces between; nothing where it does not match."""
    key, pattern = _split("--reg-tag-change", change)
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(f"--reg-tag-change {change}: no regular expression ({error})", "mend it") from None
    if not groups:
        raise ConfigError(f"--reg-tag-change {change}: nothing is kept", "put what is to stay into parentheses")
    kept = " ".join(f"\\{number}" for number in range(1, groups + 1))
    whole = rf"[\s\S]*?(?:{pattern})[\s\S]*"
    draft.attribute(key, {"substitute": {whole: kept}}, _said("--reg-tag-change", change))


def _split(option: str, change: str) -> tuple[str, str]:
    """The attribute and the value of a change."""
    match = CHANGE.fullmatch(change)
    if match:
        return keyword_of(f"{match[1]},{match[2]}"), match[3]
    named = NAMED.fullmatch(change)
    if not named or not keyword_of(named[1]):
        raise ConfigError(f"{option} {change} is not understood", 'write for example "0008,0080=PROJECTNAME"')
    return keyword_of(named[1]), named[2]


def exported(text: str, options: Sequence[str]) -> str:
    """Rules for a file of their own, with the options that are no rules in front."""
    return "".join(f"# use it with {option}\n" for option in options) + text
