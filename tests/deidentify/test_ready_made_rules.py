"""The rules that come with the program, and the JSON Schema that editors check rules files with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import images
import jsonschema
import pytest
import yaml
from compare import differences, engine_output, expected_output, oracle_of, read
from pydicom.uid import ExplicitVRLittleEndian
from synthetic import PERSON, ct

from dicomnode.deidentify import rules
from dicomnode.deidentify.schema import schema

FOLDER = Path(__file__).parents[2] / "rules"
CLAIMS = {
    "basic": ["113100"],
    "longitudinal": ["113100", "113108", "113105", "113107"],
    "tcia": ["113100", "113109", "113108", "113105", "113107", "113111"],
    "hipaa_safe_harbor": ["113100", "113108", "113105"],
    "vna_import": [
        "113100", "113110", "113109", "113112", "113108", "113105", "113104", "113103", "113106", "113111",
    ],
}  # fmt: skip


class Yaml12(yaml.SafeLoader):
    """As editors read YAML: only true and false are booleans."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":bool") or first in "tTfF"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def document(text: str) -> Any:
    return yaml.load(text, Yaml12)


@pytest.mark.parametrize("name", CLAIMS)
def test_ready_made_rules_claim_what_they_say(name: str) -> None:
    plan = rules.load(FOLDER / f"{name}.yaml")
    assert [code for code, _ in plan.methods.codes] == CLAIMS[name]
    assert plan.remarks == ()


def test_every_ready_made_file_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} - {"suspicious_pixels"} == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_engine_and_oracle_agree_on_ready_made_rules(name: str) -> None:
    plan = rules.load(FOLDER / f"{name}.yaml")
    source = ct(1, 1, 1, rows=8, columns=8)
    source.PatientAddress = "Quittenweg 3, 12345 Anderswo"  # the institution's own may stay
    data = images.encode(source, ExplicitVRLittleEndian)
    made = engine_output(plan, data, ExplicitVRLittleEndian, source.SOPClassUID, source.SOPInstanceUID)
    expected = expected_output(oracle_of(plan, options=tuple(plan.options)), data, ExplicitVRLittleEndian)
    assert differences(read(made), read(expected)) == []
    if name != "vna_import":
        stays = {PERSON.station} if "retain_device_identity" in plan.options else set()
        assert not any(needle.encode() in made for needle in PERSON.needles() if needle not in stays)


@pytest.mark.parametrize("name", CLAIMS)
def test_the_schema_accepts_ready_made_rules(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    jsonschema.validate(document(text), schema())
    assert text.startswith("# yaml-language-server: $schema=rules.schema.json\n")


def test_the_schema_file_is_current() -> None:
    assert json.loads((FOLDER / "rules.schema.json").read_text()) == schema(), "run tools/reference.py"


GOOD = [
    "profile: basic\nattributes:\n  StationName: {hash: 12}\n  A > B: keep\n  /x/: {code: [a, b, c]}\n  VR:PN: hash\n",
    "profile: basic\naccept_if: {Modality: {in: [CT]}, Rows: {at_least: 3, values: all}}\naggregate: study\n",
    "include: [a.yaml]\nsuspicious_pixels: {off: all, rules: {x: {reason: y, when: [{Modality: {present: true}}]}}}\n",
]
BAD = [
    "options: []\n",
    "profile: basic\noptoins: []\n",
    "profile: basic\noptions: [retain_uid]\n",
    "profile: basic\nattributes: {StationName: kep}\n",
    "profile: basic\nattributes: {StationName: {hash: 12, replace: x}}\n",
    "profile: basic\naccept_if: {Modality: {is: CT}}\n",
    "profile: basic\naggregate: patient\n",
    "profile: basic\nwithhold: [CTImageStorag]\n",
    "profile: basic\ndates: {range: 3}\n",
]


@pytest.mark.parametrize("text", GOOD)
def test_the_schema_accepts(text: str) -> None:
    jsonschema.validate(document(text), schema())


@pytest.mark.parametrize("text", BAD)
def test_the_schema_refuses(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document(text), schema())
