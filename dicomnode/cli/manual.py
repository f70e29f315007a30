"""The reference of rules files, docs/rules/reference.md: made of what the program reads."""

from __future__ import annotations

from collections.abc import Iterable

from dicomnode.cli.markdown import table
from dicomnode.deidentify import attributes, conditions, explanation, schema
from dicomnode.deidentify.acceptance import AGGREGATES
from dicomnode.deidentify.plan import CID_7050, CLAIMS, Action
from dicomnode.deidentify.pseudonyms import LEAST_HASH, TEMPLATE_LIMITS
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.model import EXPLANATIONS

SELECTORS = {
    "PatientAge": "the attribute with this keyword",
    "(0008,1030)": "the attribute with this tag; also 0008,1030",
    "(60xx,3000)": "every attribute whose tag has these digits; x is any",
    "RequestAttributesSequence > StudyDescription": "the attribute in items of the sequence, wherever that stands",
    "/^Referring/": "every attribute with a keyword in which the regular expression is found; not group 0028",
    "VR:PN": "every attribute of this VR, by the file or the dictionary; not group 0028",
    "(0009,xx01,GEMS_IDEN_01)": "a private attribute of this creator; group and element may be xxxx and xx",
}
TESTS = {
    "in": "a value is one of these",
    "not_in": "no value is one of these",
    "substring": "a value contains one of these",
    "not_substring": "no value contains one of these",
    "matches": "one of these regular expressions is found in a value",
    "not_matches": "none of these regular expressions is found in any value",
    "above": "a value is greater",
    "below": "a value is less",
    "at_least": "a value is not less",
    "at_most": "a value is not greater",
    "present": "true: the attribute has a value; false: it has none, or is missing",
}
PLACEHOLDERS = {
    "{project}": "the name of the project",
    "{patient}": "the Patient ID as it is sent",
    "{hash:N}": f"N letters ({LEAST_HASH} to 52, else 10) of a keyed hash of the value that is replaced; not in set",
    "{Modality}": "any other attribute of the top level, as it is sent; nothing where it does not stay",
}
PAGE = """\
# Reference of rules files

Made from the program by `tools/reference.py`; a test keeps it current. [rules.md](../rules.md) explains it in steps.

## Keys

{keys}

## Options

{options}

## Which attributes a line of `attributes` names

Of several lines the nearest holds, in this order: path (the longest first), attribute, mask (the fewest x first),
expression, VR; of two alike the first one.

{selectors}

## Actions

{actions}

An action with an argument is written as `{{action: argument}}`.

{arguments}

## Templates

`templates` says how pseudonyms look, with `{{hash}}` or `{{hash:N}}` once and `{{project}}` where wanted, and how long
they can be:

{templates}

In `replace` and `set`:

{placeholders}

## Tests of `accept_if` and `withhold_if`

Attributes of the top level, with VR {askable}.
`values: any` or `values: all` beside a test says how many values must be so; without it any one is enough, and a test
with `not_` asks it of all of them, and holds where there is none. Numbers and ages are compared as such, all else as
text, without regard to case.

{tests}

`aggregate` says what is withheld with an instance that fails:

{aggregates}

## What happens to an attribute

The words of `dicomnode rules explain`:

{words}
"""


def page() -> str:
    """The page."""
    return PAGE.format(
        keys=_table(("key", "what it says"), schema.SAID.items()),
        options=_table(("option", "code", "meaning"), map(_option, tables.OPTIONS)),
        selectors=_table(("written", "names"), SELECTORS.items()),
        actions=_table(("action", "what happens"), ((word, _action(word)) for word in attributes.WORDS)),
        arguments=_table(("example", "what happens"), map(_argument, attributes.ARGUMENTS)),
        templates=_table(("template", "characters"), ((name, str(most)) for name, most in TEMPLATE_LIMITS.items())),
        placeholders=_table(("placeholder", "what it becomes"), PLACEHOLDERS.items()),
        askable=", ".join(sorted({*dictionary.TEXT, *conditions.NUMBERS})),
        tests=_table(("test", "holds where"), ((test, TESTS[test]) for test in conditions.OPERATORS)),
        aggregates=_table(("aggregate", "reason in the journal", "meaning"), map(_aggregate, AGGREGATES)),
        words=_table(("action", "what it does"), ((a.name.lower(), explanation.WORDS[a.name]) for a in Action)),
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(table(head, rows))


def _option(name: str) -> tuple[str, str, str]:
    code = CLAIMS[tables.OPTIONS[name]][0]
    return name, code, CID_7050[code]


def _action(word: str) -> str:
    return "the patient's pseudonym takes its place" if word == "pseudonym" else _words(attributes.WORDS[word])


def _words(action: Action) -> str:
    return explanation.WORDS[action.name]


def _argument(word: str) -> tuple[str, str]:
    own = {
        "shift": "moved by so many days, for everybody",
        "set": "like replace, and written at the top level where it is missing",
    }
    return attributes.ARGUMENTS[word], own.get(word) or _words(Action[word.upper()])


def _aggregate(word: str) -> tuple[str, str, str]:
    return word, str(AGGREGATES[word]), EXPLANATIONS[AGGREGATES[word]]
