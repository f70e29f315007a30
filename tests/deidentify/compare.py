"""Runs engine and oracle over the same bytes and lists where their outputs differ."""

from __future__ import annotations

import warnings
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import images
import pydicom
from oracle import Oracle
from oracle_facts import dictionary_vr, effective_vr, is_sequence, items_of
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomnode.deidentify import Deidentifier, rules
from dicomnode.deidentify.plan import Plan
from dicomnode.keys import ProjectKeys
from dicomnode.model import Origin, Received

ORIGIN = Origin("default", "staging", "STAGING", "DICOMNODE", "127.0.0.1", 1)
KEYS = ProjectKeys.derive(bytes(range(32)))
RULES = Path(__file__).parents[2] / "rules" / "basic.yaml"
BASIC = "profile: basic\nsuspicious_pixels: {off: all}\n"
"""Pixels are not judged: ultrasound and secondary captures show that whatever is sent goes through as it should."""


@cache
def plan_of(text: str) -> Plan:
    """The plan of a rules text; the digest is the same wherever the file lies."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rules.yaml")
        path.write_text(text, encoding="utf-8")
        return rules.load(path)


def oracle_of(plan: Plan, **arguments: Any) -> Oracle:
    return Oracle(KEYS.pseudonym, dict(plan.templates), plan.methods.text, plan.methods.codes, **arguments)


def read(part10: bytes) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(part10), force=True)


def engine_output(plan: Plan, data: bytes, syntax: str, sop_class: str, sop_uid: str) -> bytes:
    """The Part 10 bytes that the engine makes; raises Doubt."""
    cleaned = Deidentifier(plan, KEYS).clean(Received(ORIGIN, sop_class, sop_uid, syntax), data)
    pixels = [cleaned.pixels] if cleaned.pixels is not None else []
    return b"".join(bytes(part) for part in [*cleaned.head, *pixels, *cleaned.tail])


def expected_output(oracle: Oracle, data: bytes, syntax: str) -> bytes:
    """The Part 10 bytes that the oracle and pydicom make."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = read(images.part10(data, syntax, "1.2", "1.2"))
        if syntax in (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
            plain = images.encode(data_set, ExplicitVRLittleEndian)
            syntax = ExplicitVRLittleEndian
            data_set = read(images.part10(plain, syntax, "1.2", "1.2"))
        cleaned = oracle.clean(data_set)
        cleaned.file_meta = FileMetaDataset()
        cleaned.file_meta.TransferSyntaxUID = syntax
        file = BytesIO()
        cleaned.save_as(
            file, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True, enforce_file_format=True
        )
        return file.getvalue()


def differences(actual: Dataset, expected: Dataset, path: str = "") -> list[str]:
    """Where two data sets differ, by tag, VR or value; values are compared as encoded."""
    found = []
    for tag in sorted({*actual.keys(), *expected.keys()}):
        where = f"{path}>{tag}"
        if tag not in actual or tag not in expected:
            found.append(f"{where} only in {'actual' if tag in actual else 'expected'}")
            continue
        one, other = actual.get_item(tag), expected.get_item(tag)
        vrs = effective_vr(one), effective_vr(other)
        known = tag.is_private or vrs[1] == dictionary_vr(tag)  # pydicom replaces UN with what it knows
        if vrs[0] != vrs[1] and not (vrs[0] == "UN" and known):
            found.append(f"{where} VR {vrs}")
        elif is_sequence(tag, vrs[0]) or vrs[1] == "SQ" or _hidden(one) or _hidden(other):
            found += _items(items_of(actual, tag), items_of(expected, tag), where)
        elif _value(one) != _value(other):
            found.append(f"{where} {_value(one)[:40]!r} != {_value(other)[:40]!r}")
    return found


def _items(actual: Any, expected: Any, where: str) -> list[str]:
    if len(actual) != len(expected):
        return [f"{where} {len(actual)} items != {len(expected)}"]
    found = []
    for number, (one, other) in enumerate(zip(actual, expected, strict=True)):
        found += differences(one, other, f"{where}[{number}]")
    return found


def _hidden(element: Any) -> bool:
    """Whether a private element of VR UN has items."""
    return element.tag.is_private and effective_vr(element) == "UN" and _value(element).startswith(b"\xfe\xff\x00\xe0")


def _value(element: Any) -> bytes:
    if isinstance(element, RawDataElement):
        return element.value or b""
    value = element.value
    if isinstance(value, bytes):
        return value
    text = "\\".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value or "")
    return (text + " " * (len(text) % 2)).encode()
