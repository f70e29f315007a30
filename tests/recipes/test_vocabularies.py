"""Vocabularies of dicom-anon as rules, and what is no recipe at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dicomnode.errors import RulesError
from dicomnode.recipes import convert


def test_a_vocabulary() -> None:
    text = '{\n  "0008,1030": ["CT CHEST W/CONTRAST", "NECK STUDY"],\n  "8,103E": [],\n  "0018,0015": ["HEAD"]\n}'
    found = convert(text, Path("white_list.json"))
    assert yaml.safe_load(found.text)["attributes"] == {
        "StudyDescription": {"vocabulary": ["CT CHEST W/CONTRAST", "NECK STUDY"]},
        "SeriesDescription": "remove",
        "BodyPartExamined": {"vocabulary": ["HEAD"]},
    }
    assert not found.lost


def test_a_key_that_is_no_tag_is_told_and_the_rest_converted() -> None:
    found = convert('{"0008,1030": ["NECK"],\n "StudyDescripton": ["HEAD"]}', Path("white_list.json"))
    assert yaml.safe_load(found.text)["attributes"] == {"StudyDescription": {"vocabulary": ["NECK"]}}
    assert [(note.source.line, note.why) for note in found.notes if "no tag" in note.why] == [
        (2, "this is no tag, so nothing is listed for any attribute")
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"0008,1030": "CT"}', "line 1: '0008,1030' has no list of texts"),
        ("{}", "is no recipe that is known"),
        ("profile: basic\n", "is no recipe that is known"),
        ("Dear Mrs Doe\n", "is no recipe that is known"),
    ],
)
def test_other_files_are_refused(text: str, why: str) -> None:
    with pytest.raises(RulesError, match=why):
        convert(text, Path("white_list.json"))
