"""Ages of more than 89 years, in attributes and in content items."""

from __future__ import annotations

import documents
import images
import pytest
from compare import BASIC, engine_output, plan_of, read
from documents import item, report
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

RULES = BASIC + "options: [clean_structured_content, retain_patient_characteristics]\n"
AGE = "121033 DCM Subject Age"
OTHER = "397669002 SCT Age"


def measured(value: object, units: str, **more: object) -> Dataset:
    made = Dataset()
    made.NumericValue = value
    made.MeasurementUnitsCodeSequence = Sequence([documents.concept(units)])
    for keyword, each in more.items():
        setattr(made, keyword, each)
    return made


def sent(name: str, value: Dataset, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """The Measured Value of a NUM item below a container, after de-identification."""
    one = item("NUM", name, "1")
    one.MeasuredValueSequence = Sequence([value])
    source = report(item("CONTAINER", "121118 DCM Patient Characteristics", None, one))
    data = images.encode(source, syntax)
    output = read(engine_output(plan_of(RULES), data, syntax, source.SOPClassUID, source.SOPInstanceUID))
    (container,) = (each for each in output.ContentSequence if each.ValueType == "CONTAINER")
    found: Dataset = container.ContentSequence[0].MeasuredValueSequence[0]
    return found


def told(value: Dataset) -> tuple[str, str, str]:
    unit = value.MeasurementUnitsCodeSequence[0]
    return str(value.NumericValue), unit.CodeValue, unit.CodeMeaning


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("name", [AGE, OTHER])
@pytest.mark.parametrize(
    ("value", "years"), [("89", "89"), ("89.9", "89.9"), ("90", "90"), ("94", "90"), ("103.5", "90"), ("1.1E2", "90")]
)
def test_years_of_content_items(value: str, years: str, name: str, syntax: str) -> None:
    assert told(sent(name, measured(value, "a UCUM year"), syntax)) == (years, "a", "year")


@pytest.mark.parametrize(
    ("name", "value", "units", "expected"),
    [
        (AGE, "1140", "mo UCUM month", ("90", "a", "year")),
        (AGE, "1079", "mo UCUM month", ("1079", "mo", "month")),
        (AGE, "4900", "wk UCUM week", ("90", "a", "year")),
        (AGE, "34000", "d UCUM day", ("90", "a", "year")),
        (AGE, "94", "a_j UCUM years", ("90", "a", "year")),
        (AGE, "94", "Y 99HWK years", ("90", "a", "year")),
        (AGE, "61", "Y 99HWK years", ("61", "Y", "years")),
        (AGE, "120", "h UCUM hour", ("120", "h", "hour")),
        (OTHER, "34000", "d UCUM day", ("34000", "d", "day")),
        (OTHER, "94", "mm UCUM millimetre", ("94", "mm", "millimetre")),
    ],
)
def test_other_units(name: str, value: str, units: str, expected: tuple[str, str, str]) -> None:
    assert told(sent(name, measured(value, units))) == expected


def test_the_same_number_in_other_forms_goes_too() -> None:
    value = measured("94", "a UCUM year", FloatingPointValue=94.25, RationalNumeratorValue=377)
    value.RationalDenominatorValue = 4
    found = sent(AGE, value)
    assert (found.FloatingPointValue, found.RationalNumeratorValue, found.RationalDenominatorValue) == (90.0, 90, 1)


def test_a_number_that_is_only_there_in_another_form() -> None:
    assert sent(AGE, measured(None, "a UCUM year", FloatingPointValue=94.25)).FloatingPointValue == 90.0


@pytest.mark.parametrize(("age", "expected"), [("089Y", "089Y"), ("090Y", "090Y"), ("091Y", "090Y"), ("117Y", "090Y")])
def test_ages_of_patients(age: str, expected: str) -> None:
    source = report()
    source.PatientAge = age
    data = images.encode(source, ExplicitVRLittleEndian)
    uids = source.SOPClassUID, source.SOPInstanceUID
    assert read(engine_output(plan_of(RULES), data, ExplicitVRLittleEndian, *uids)).PatientAge == expected
