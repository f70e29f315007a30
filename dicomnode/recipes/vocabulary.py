"""Vocabularies of dicom-anon: by tag, the values that stay."""

from __future__ import annotations

import json
import re

from dicomnode.errors import RulesError
from dicomnode.recipes.draft import Draft, Source
from dicomnode.recipes.fields import keyword_of

TAG = re.compile(r"[0-9A-Fa-f]{1,4},\s?[0-9A-Fa-f]{1,4}")


def is_vocabulary(text: str) -> bool:
    """Whether a text is such a vocabulary."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and any(TAG.fullmatch(key) for key in found)


def read(text: str) -> Draft:
    """What a vocabulary comes to; raises RulesError where values are no list of texts."""
    draft = Draft("dicom-anon vocabulary")
    for key, values in json.loads(text).items():
        line = next((number for number, each in enumerate(text.splitlines(), 1) if f'"{key}"' in each), 0)
        source = Source(line, key)
        if not TAG.fullmatch(key):
            draft.note(source, "this is no tag, so nothing is listed for any attribute")
            continue
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise RulesError(f"line {line}: '{key}' has no list of texts", 'write "0008,1030": ["CT CHEST"]')
        group, element = (part.strip().zfill(4) for part in key.split(","))
        if not values:
            draft.attribute(keyword_of(group + element), "remove", source)
        else:
            draft.attribute(keyword_of(group + element), {"vocabulary": list(dict.fromkeys(values))}, source)
    if draft.entries:
        draft.note(
            Source(0, "all of it"),
            "values are compared without case and runs of spaces; commas, dashes, underscores and full stops count",
        )
    return draft
