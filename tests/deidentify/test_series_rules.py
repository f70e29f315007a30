"""What the rules make, add and ask is the same whether or not others of the series came before."""

from __future__ import annotations

import images
import pytest
from compare import BASIC, plan_of
from test_series import USED, compare, counted, slices, taken

from dicomnode.model import Reason

__all__ = ["counted"]

OWN = """attributes:
  StationName: {hash: 10}
  InstitutionName: {replace: '{project} {StudyDescription} {patient}'}
  StudyDescription: {vocabulary: [Thorax, CT Abdomen]}
  ClinicalTrialSiteID: {set: 'site {Modality}'}
  SeriesDate: {shift: -3}
  AcquisitionTime: {round: hour}
  ContentTime: {round: hour}
  VR:PN: {replace: Nobody}
  Exposure: {round: 50}
"""
ASKED = "accept_if: {Modality: {in: [CT]}, Rows: {at_most: 4}}\nwithhold_if: [{StationName: {substring: PORTABLE}}]\n"


def test_what_rules_make_is_alike() -> None:
    compare(plan_of(BASIC + OWN), [taken(images.written(each)) for each in slices(12)])
    assert USED["alike"] >= 8


@pytest.mark.parametrize(
    "changes",
    [
        {"StudyDescription": "Thorax"},
        {"ClinicalTrialSiteID": "there"},
        {"Modality": "MR"},
        {"StationName": "OTHER"},
        {"InstitutionName": "Other"},
    ],
)
def test_one_that_differs_in_what_rules_ask(changes: dict[str, object]) -> None:
    compare(plan_of(BASIC + OWN), [taken(images.written(each)) for each in slices(10, **changes)])


def test_a_template_may_ask_for_what_varies() -> None:
    plan = plan_of(BASIC + "attributes: {StationName: {replace: 'I{InstanceNumber}'}}\n")
    found = compare(plan, [taken(images.written(each)) for each in slices(10)])
    assert len({each[0] for each in found}) == 10


def test_every_instance_is_judged_under_its_own_uid() -> None:
    found = compare(plan_of(BASIC + ASKED), [taken(images.written(each)) for each in slices(12)])
    entries = [next(e for e in each[8] if e.attribute == "AcceptConditions") for each in found]
    assert len({entry.original for entry in entries}) == len({entry.cleaned for entry in entries}) == 12
    assert USED["alike"] >= 8


@pytest.mark.parametrize("changes", [{"Modality": "MR"}, {"StationName": "Portable 3"}, {"Rows": 5}])
def test_one_that_is_not_accepted(changes: dict[str, object]) -> None:
    found = compare(plan_of(BASIC + ASKED), [taken(images.written(each)) for each in slices(10, **changes)])
    assert found[-1][0] is Reason.CONDITIONS
