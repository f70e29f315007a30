"""Pydantic's findings as one line for a person: the file, the line, what is wrong and the nearest right word."""

from __future__ import annotations

from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dicomnode.config.lines import Document
from dicomnode.config.lines import Path as Place
from dicomnode.config.sections import File
from dicomnode.config.values import shown
from dicomnode.errors import ConfigError


def nearest(word: str, words: list[str]) -> str:
    """The hint that names the nearest right word, or all of them when they are few."""
    close = get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"it can be {listed(words)}" if 0 < len(words) <= 12 else ""


def listed(words: list[str]) -> str:
    """'a', 'b' or 'c'."""
    quoted = [f"'{word}'" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def explain(document: Document, error: ValidationError) -> ConfigError:
    """The first finding in the order of the file; a key that is missing comes last, for it may be one misspelt."""
    details = error.errors()
    ranks = [(detail["type"] == "missing", document.line(_place(detail))) for detail in details]
    return _explain(document, details[ranks.index(min(ranks))])


def _place(detail: ErrorDetails) -> Place:
    """Where a finding is: a model's own check names its key before a colon."""
    place = tuple(part for part in detail["loc"] if part != "[key]")
    own = _own_key(detail)
    return (*place, own) if own else place


def _own_key(detail: ErrorDetails) -> str:
    cause = detail.get("ctx", {}).get("error")
    head, colon, _ = str(cause).partition(": ")
    model = section_at(tuple(part for part in detail["loc"] if part != "[key]"))
    return head if cause and colon and model and head in model.model_fields else ""


def section_at(place: Place) -> type[BaseModel] | None:
    """The section that stands at a place of the file, or None where a value or a name stands."""
    model: object = File
    for part in place:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else None
        else:
            arguments = get_args(model)
            model = arguments[1] if len(arguments) == 2 else None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def dotted(place: Place) -> str:
    """peers.staging.port, or 'the file' at the top."""
    return ".".join(str(part) for part in place) or "the file"


def _explain(document: Document, detail: ErrorDetails) -> ConfigError:
    place, kind = _place(detail), detail["type"]
    parent, key = place[:-1], str(place[-1]) if place else ""
    if kind == "extra_forbidden":
        model = section_at(parent)
        where = f" in {dotted(parent)}" if parent else ""
        return document.error(
            place, f"unknown key '{key}'{where}", nearest(key, list(model.model_fields) if model else [])
        )
    if kind == "missing":
        what = f"{dotted(parent)} lacks the key '{key}'" if parent else f"the section '{key}' is missing"
        return document.error(parent, what, "config/dicomnode.yaml shows every key")
    if kind == "literal_error":
        words = str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        value = shown(detail["input"])
        return document.error(place, f"{dotted(place)}: must be {listed(words)}, not {value}")
    return document.error(place, f"{dotted(place)}: {_problem(detail)}")


def _problem(detail: ErrorDetails) -> str:
    cause, kind = detail.get("ctx", {}).get("error"), detail["type"]
    if cause is not None:
        return str(cause).removeprefix(f"{_own_key(detail)}: ")
    value = shown(detail["input"])
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be a section with keys of its own, not {value}"
    if kind in ("tuple_type", "list_type"):
        return f"must be a list such as [a, b], not {value}"
    return f"cannot be {value}"
