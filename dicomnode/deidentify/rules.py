"""Rules files (YAML) read strictly and compiled to a plan; every error names file, line and the nearest right word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dicomnode.deidentify import claims, sections
from dicomnode.deidentify.acceptance import Acceptance
from dicomnode.deidentify.descriptors import Cleaner
from dicomnode.deidentify.exceptions import PLAIN
from dicomnode.deidentify.plan import Action, Plan
from dicomnode.deidentify.private import SafePrivate
from dicomnode.deidentify.resolve import MADE, Choices, Resolver
from dicomnode.deidentify.standard import dictionary, tables

METHOD = 9
"""Raised whenever the same rules and data would give other bytes: part of the plan's digest."""


def load(path: Path, variables: Mapping[str, str] | None = None) -> Plan:
    """Read and compile a rules file; raises RulesError on one line ("FILE:LINE: what; what to do").

    `variables` are the values of {var:NAME}. Where one is missing, the attribute is removed (`Plan.missing`).
    """
    return load_text(None, path, variables)


def load_text(text: str | None, path: Path, variables: Mapping[str, str] | None = None) -> Plan:
    """The same of rules that were made of a file in another form."""
    missing: dict[str, str] = {}
    plan = build(sections.choices(path, text, variables, missing), path.stem)
    return replace(
        plan,
        given=bool(variables),
        missing=tuple(f"{attribute}: {name}" for attribute, name in sorted(missing.items())),
    )


def build(choices: Choices, name: str) -> Plan:
    """Compile choices to a plan."""
    resolver = Resolver(choices)
    digest = _digest(choices)
    said = choices.exceptions
    cleans = "descriptors" in choices.options or any(treat.action is Action.CLEAN for treat in said.treats())
    private = "private" in choices.options
    return Plan(
        name=name,
        digest=digest,
        templates=dict(choices.templates),
        options=frozenset(long for long, short in tables.OPTIONS.items() if short in choices.options),
        methods=claims.methods(choices, digest),
        overrides={tag: treat.action for tag, treat in said.exact.items()},
        resolver=resolver.steps,
        refused=resolver.refuses,
        shift=choices.shift if claims.shifts(choices) else None,
        pixels=choices.pixels,
        protocol_series=choices.protocol_series,
        cleaner=Cleaner(choices.vocabulary, choices.words) if cleans else None,
        safe=SafePrivate("uids" in choices.options, private, said.private) if private or said.private else None,
        makes=any(treat.action in MADE for treat in said.treats()),
        adds=tuple((selector.tag, treat.made) for selector, treat in said.lines if treat.added and treat.made),
        acceptance=choices.acceptance if choices.acceptance != Acceptance() else None,
        exceptions=said,
        remarks=claims.remarks(choices),
    )


def _digest(choices: Choices) -> str:
    """Hex SHA-256 over everything that decides the output: choices, data, dictionaries, method."""
    plain = {tag: treat.action for tag, treat in choices.exceptions.exact.items() if treat.action in PLAIN}
    said: dict[str, object] = {
        "method": METHOD,
        "data": tables.digest(),
        "dictionary": dictionary.digest(),
        "options": sorted(choices.options),
        "overrides": sorted((tag, int(action)) for tag, action in plain.items()),
        "templates": dict(choices.templates),
        "withhold": sorted(choices.withhold),
        "accept": sorted(choices.accept),
        "pixels": choices.pixels.said,
        "protocol_series": choices.protocol_series.texts,
        "descriptors": [choices.vocabulary, choices.words] if "descriptors" in choices.options else None,
        "shift": [choices.shift.unit, choices.shift.most] if "modified" in choices.options else None,
    }
    said |= _further(choices)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _further(choices: Choices) -> dict[str, object]:
    """What is said only where rules make use of it, so that the digest of others stays."""
    said: dict[str, object] = {
        "exceptions": choices.exceptions.more,
        "accept_if": choices.acceptance.said if choices.acceptance != Acceptance() else [],
        "broken": claims.broken(choices),
    }
    if "modified" not in choices.options and claims.shifts(choices):
        said["shift"] = [choices.shift.unit, choices.shift.most]
    if choices.shift.days is not None:
        said["days"] = [choices.shift.days]
    if "descriptors" not in choices.options and (choices.vocabulary or choices.words):
        said["descriptors"] = [choices.vocabulary, choices.words]
    return {key: value for key, value in said.items() if value}
