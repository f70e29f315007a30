"""Regular expressions of rules: which are refused, and that no value makes a match endless."""

from __future__ import annotations

import images
import pytest
from compare import BASIC, engine_output, plan_of, read
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from test_rules_actions import source

from dicomnode.deidentify import patterns
from dicomnode.errors import RulesError
from dicomnode.model import Doubt, Reason

ENDLESS = [
    "(a+)+$",
    "(a*)*b",
    "(a|aa)+$",
    "(a|a?)+b",
    r"([a-z]+\s?)*x",
    r"(\w*\s*)+$",
    "(a?){30}a{30}",
    "(.*,){20}x",
    "(?:(?:a{0,9}){9}){9}",
    "(?=(a+)+b)",
    r"(a)(\1+)+",
    "x*x*x*x*x*x*y",
    "((((a?){9}){9}){9}){9}",
]
"""On `"a" * 64 + "!"` and the like each takes ages."""
ORDINARY = [
    ".*test.*",
    "^(CT|MR)+$",
    r"CT-(\d+)",
    "screen.?sav",
    r"(\d{1,3}\.){3}\d{1,3}",
    ".*A.*B.*",
    r"\b[0-9]{6,10}\b",
    r"[A-Z]+\^[A-Z]+",
    r"(?i)^(?!.*(?:Name|Date))",
]
PLACES = [
    "withhold_if: [{SeriesDescription: {matches: [%s]}}]",
    "withhold_if: [{SeriesDescription: {not_matches: [%s]}}]",
    "accept_if: {SeriesDescription: {matches: [%s]}}",
    "attributes: {SeriesDescription: {substitute: {%s: x}}}",
    "attributes: {%s: keep}",
    "suspicious_pixels: {rules: {own: {reason: why, when: [{SeriesDescription: {matches: [%s]}}]}}}",
]


def picture(**values: object) -> Dataset:
    data_set = source(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    data_set.Rows = data_set.Columns = data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation, data_set.PixelRepresentation = "MONOCHROME2", 0
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelData = 16, 16, 15, b"\0\0"
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


def based(rules: str) -> str:
    return ("profile: basic\n" if rules.startswith("suspicious_pixels") else BASIC) + rules


def output(rules: str, data_set: Dataset) -> Dataset:
    data = images.encode(data_set, ExplicitVRLittleEndian)
    return read(
        engine_output(
            plan_of(based(rules)), data, ExplicitVRLittleEndian, data_set.SOPClassUID, data_set.SOPInstanceUID
        )
    )


def rules_with(place: str, pattern: str) -> str:
    return place % (f"'/{pattern}/'" if place == "attributes: {%s: keep}" else f"'{pattern}'") + "\n"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("pattern", ENDLESS)
def test_an_expression_without_a_bound_is_refused_wherever_rules_have_one(place: str, pattern: str) -> None:
    with pytest.raises(
        RulesError, match="could be tried on a value without end; write it without a repetition"
    ) as told:
        plan_of(based(rules_with(place, pattern)))
    assert f"'{pattern}'" in told.value.what


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("pattern", ORDINARY)
def test_ordinary_expressions_are_accepted(place: str, pattern: str) -> None:
    plan_of(based(rules_with(place, pattern)))


def test_what_stands_at_the_ends_of_what_is_searched_costs_nothing() -> None:
    assert patterns.searching(".*test.*").longest == patterns.searching("test").longest
    assert patterns.searching(r"test\.*").ways.degree == 2
    assert patterns.searching("(?m)^x*y").ways.degree == 2
    assert patterns.whole(r"([\s\S]{0,99})[\s\S]*").ways.degree == 1


CUBIC = "x*x*x*y"


@pytest.mark.parametrize(
    ("rules", "where"),
    [
        ("withhold_if: [{ImageComments: {matches: ['%s']}}]", "(0020,4000) too long to be matched"),
        ("withhold_if: [{ImageComments: {not_matches: ['^x', '%s']}}]", "(0020,4000) too long to be matched"),
        ("accept_if: {ImageComments: {not_matches: ['%s']}}", "(0020,4000) too long to be matched"),
        ("attributes: {ImageComments: {substitute: {'%s': 'y'}}}", "(0020,4000) too long to be matched"),
        (
            "suspicious_pixels: {rules: {own: {reason: why, when: [{ImageComments: {matches: ['%s']}}]}}}",
            "(0020,4000) own",
        ),
    ],
)
@pytest.mark.parametrize("value", ["x" * 10_000, "\\".join(["x" * 100] * 100)])
def test_a_value_that_is_too_long_to_be_matched_withholds(rules: str, where: str, value: str) -> None:
    with pytest.raises(Doubt) as doubt:
        output(rules % CUBIC + "\n", picture(ImageComments=value))
    assert doubt.value.where == where
    assert doubt.value.reason in (Reason.CONDITIONS, Reason.WRONG_VR, Reason.SUSPICIOUS_PIXELS)


def test_a_value_that_is_long_is_matched_where_that_costs_little() -> None:
    rules = (
        "accept_if: {ImageComments: {matches: ['x+$']}}\nattributes: {ImageComments: {substitute: {'(x*)y': '\\1'}}}\n"
    )
    assert output(rules.replace("x+$", "x+y$"), picture(ImageComments="x" * 900 + "y")).ImageComments == "x" * 900


def test_the_bound_is_of_all_values_of_an_instance_together() -> None:
    rules = "attributes: {CodeMeaning: {substitute: {'(x*x*x*)[0-9]+': '\\1'}}}\n"
    made = picture()
    made.AnatomicRegionSequence = [Dataset() for _ in range(2000)]
    for item in made.AnatomicRegionSequence:
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-1", "SRT", "x" * 60 + "1"
    assert {item.CodeMeaning for item in output(rules, made).AnatomicRegionSequence} == {"x" * 60}
    for number, item in enumerate(made.AnatomicRegionSequence):
        item.CodeMeaning = "x" * 60 + str(number)
    with pytest.raises(Doubt, match="too long to be matched"):
        output(rules, made)
