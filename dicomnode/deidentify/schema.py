"""The JSON Schema of rules files, for editors: what can be written where, with a word on each key."""

from __future__ import annotations

from typing import Any

from dicomnode.deidentify import attributes, conditions, sections
from dicomnode.deidentify.acceptance import AGGREGATES
from dicomnode.deidentify.pseudonyms import TEMPLATE_LIMITS
from dicomnode.deidentify.standard import dictionary, tables

Schema = dict[str, Any]
TEXT: Schema = {"type": ["string", "number", "boolean"]}
SAID = {
    "include": "other rules files, relative to this one; what this one says goes before what they say",
    "profile": "basic is the Basic Application Level Confidentiality Profile (PS3.15 E.2)",
    "options": "options of the profile (PS3.15 E.3)",
    "dates": "how far dates are moved, where they are",
    "templates": "pseudonyms: {hash:N} is N characters of a keyed hash, {project} its name; '' empties the attribute",
    "attributes": "exceptions: a keyword, (gggg,eeee), (60xx,3000), A > B, /expression/, VR:PN or (0009,xx01,CREATOR)",
    "withhold": "SOP classes that are never let through",
    "accept": "SOP classes that are let through although they are withheld by default",
    "accept_if": "conditions of which all must hold, or the instance is withheld",
    "withhold_if": "conditions of which any one withholds the instance",
    "aggregate": "what is withheld with an instance that fails a condition",
    "suspicious_pixels": "pictures that may show who the patient is",
    "protocol_series": "texts in a Series Description that withhold the series: patient protocols, saved screens",
    "descriptors": "descriptions and words that stay, with clean_descriptors or the action clean",
}
ARGUMENTS: dict[str, Schema] = {
    "hash": {"type": ["integer", "string"]},
    "shift": {"type": ["integer", "string"]},
    "replace": TEXT,
    "set": TEXT,
    "substitute": {"type": "object", "additionalProperties": TEXT, "minProperties": 1},
    "vocabulary": {"type": "array", "items": TEXT, "minItems": 1},
    "round": {"anyOf": [{"enum": ["month", "year", "hour"]}, {"type": ["number", "string"]}]},
    "code": {
        "anyOf": [
            {"type": "object", "additionalProperties": TEXT, "minProperties": 1},
            {"type": "array", "items": TEXT, "minItems": 3, "maxItems": 3},
        ]
    },
}


def schema() -> Schema:
    """The schema of a rules file; a file that it lets through may still be refused at load."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules of dicomnode",
        "type": "object",
        "properties": {key: {"description": SAID[key], **_section(key)} for key in sections.KEYS},
        "anyOf": [{"required": ["profile"]}, {"required": ["include"]}],
        "additionalProperties": False,
    }


def _section(key: str) -> Schema:
    condition = {"type": "object", "additionalProperties": _tests(), "minProperties": 1}
    found: dict[str, Schema] = {
        "include": {"anyOf": [{"type": "string"}, _list({"type": "string"})]},
        "profile": {"enum": ["basic"]},
        "options": _list({"enum": list(tables.OPTIONS)}),
        "dates": _object({"shift": {"enum": list(sections.SHIFTS)}, "range": _number(30), "days": {"type": "integer"}}),
        "templates": _object({name: {"type": "string"} for name in TEMPLATE_LIMITS}),
        "attributes": {"type": ["object", "null"], "additionalProperties": _action()},
        "withhold": _list(_classes(list(dictionary.storage_classes().values()))),
        "accept": _list(_classes([dictionary.storage_classes()[uid] for uid in tables.withheld_classes()])),
        "accept_if": condition,
        "withhold_if": {"type": "array", "items": condition, "minItems": 1},
        "aggregate": {"enum": list(AGGREGATES)},
        "suspicious_pixels": _object(
            {
                "off": {"anyOf": [{"const": "all"}, _list({"type": "string"})]},
                "accept": _list(_classes(list(dictionary.storage_classes().values()))),
                "rules": {"type": "object", "additionalProperties": _pixel_rule(condition)},
            }
        ),
        "protocol_series": _list({"type": "string", "minLength": 3}),
        "descriptors": _object({"vocabulary": _list(TEXT), "words": _list(TEXT)}),
    }
    return found[key]


def _list(items: Schema) -> Schema:
    return {"type": ["array", "null"], "items": items}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _number(least: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": sections.MOST_RANGE}


def _classes(names: list[str]) -> Schema:
    """A keyword, or a UID."""
    return {"anyOf": [{"enum": sorted(names)}, {"type": "string", "pattern": "^[0-9.]+$"}]}


def _pixel_rule(condition: Schema) -> Schema:
    properties = {"reason": TEXT, "when": {"type": "array", "items": condition, "minItems": 1}}
    return {**_object(properties), "required": ["reason", "when"]}


def _action() -> Schema:
    with_argument = {
        "type": "object",
        "properties": {word: ARGUMENTS[word] for word in attributes.ARGUMENTS},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [{"enum": list(attributes.WORDS)}, with_argument]}


def _tests() -> Schema:
    several = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}
    tests: Schema = dict.fromkeys(conditions.OPERATORS, several)
    tests |= dict.fromkeys(conditions.COMPARISONS, TEXT)
    tests |= {"present": {"enum": [True, False, "yes", "no"]}, "values": {"enum": list(conditions.QUANTIFIERS)}}
    return {**_object(tests), "minProperties": 1}
