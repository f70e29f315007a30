"""The oracle's suspicious pixels: the rules read as plain YAML, the values as pydicom shows them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pydicom.uid
import pynetdicom.sop_class
import yaml
from pydicom.dataset import Dataset

FILE = Path(__file__).parents[2] / "rules" / "suspicious_pixels.yaml"


@cache
def rules() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def suspected(data_set: Dataset) -> str:
    """The name of the first rule that holds for an instance with pixels; "" when none does."""
    for name, rule in rules().items():
        if any(all(_holds(data_set, keyword, tests) for keyword, tests in each.items()) for each in rule["when"]):
            return name
    return ""


def _holds(data_set: Dataset, keyword: str, tests: dict[str, Any]) -> bool:
    values = [text for text in map(_plain, _values(data_set, keyword)) if text]
    for test, argument in tests.items():
        if test == "present":
            good = (len(values) > 0) == argument
        elif test in ("in", "not_in"):
            wanted = [_plain(_uid(str(each))) for each in argument]
            good = (len([value for value in values if value in wanted]) > 0) == (test == "in")
        else:
            found = [
                value for value in values for each in argument if re.search(each.upper().replace("\\B", "\\b"), value)
            ]
            good = (len(found) > 0) == (test == "matches")
        if not good:
            return False
    return True


def _values(data_set: Dataset, keyword: str) -> list[str]:
    if keyword not in data_set:
        return []
    value = data_set[keyword].value
    return (
        [str(each) for each in value]
        if isinstance(value, list | tuple | pydicom.multival.MultiValue)
        else [str(value or "")]
    )


def _plain(text: str) -> str:
    return re.sub("[ _\0\t\r\n]+", " ", text).strip().upper()


def _uid(word: str) -> str:
    return str(getattr(pynetdicom.sop_class, word, word))
