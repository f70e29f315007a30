"""Dates moved by the days of the patient, ages above 89 years: every form that PS3.5 section 6.2 knows, no other."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from building import EXPLICIT, IMPLICIT, data_set, doubt_of, element, item, output, received, sequence
from compare import BASIC, KEYS, plan_of, read
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dicomnode.deidentify import Deidentifier, dates, values
from dicomnode.deidentify.pseudonyms import Pseudonyms
from dicomnode.errors import RulesError
from dicomnode.keys import ProjectKeys
from dicomnode.model import Doubt, Reason

MODIFIED = BASIC + "options: [retain_longitudinal_modified_dates]\n"
ENGINE = Deidentifier(plan_of(MODIFIED), KEYS)
PSEUDONYMS = Pseudonyms(KEYS.pseudonym, {})
DAYS = PSEUDONYMS.shift("PID-4711", "", 1, 365)


@pytest.mark.parametrize(
    ("vr", "value", "days", "expected"),
    [
        ("DA", b"20200301", -1, b"20200229"),
        ("DA", b"20190301", -1, b"20190228"),
        ("DA", b"19000301", -1, b"19000228"),
        ("DA", b"20000301", -1, b"20000229"),
        ("DA", b"20210101", -1, b"20201231"),
        ("DA", b"20201231", -366, b"20191231"),
        ("DA", b"10000101", -1, b"09991231"),
        ("DA", b"00010101", -1, b"19000101"),
        ("DA", b"00000101", -1, None),
        ("DA", b"99991231", -1, b"19000101"),
        ("DA", b"99991230", -1, b"99991229"),
        ("DA", b"00010102", -2, None),
        ("DA", b"18991230", -1, b"19000101"),
        ("DA", b"1900.01.01", -1, b"19000101"),
        ("DA", b"19700101\\19700102", -1, b"19000101\\19700101"),
        ("DT", b"19700101000000.000000+0100", -1, b"19000101000000.000000+0100"),
        ("DT", b"19691231190000", -1, b"19000101190000"),
        ("DT", b"00010101000000", -1, b"19000101000000"),
        ("DT", b"1970", -1, b"1970"),
        ("DA", b"2020.03.01", -1, b"20200229"),
        ("DA", b"2020.0301", -1, None),
        ("DA", b"20200301 ", -1, b"20200229"),
        ("DA", b"20200301\\\\20200401", -1, b"20200229\\\\20200331"),
        ("DA", b"20200301\\20200401 ", -1, b"20200229\\20200331"),
        ("DA", b"", -1, b""),
        ("DA", b"  ", -1, b""),
        ("DA", b"20200230", -1, None),
        ("DA", b"20201301", -1, None),
        ("DA", b"202003", -1, None),
        ("DA", b"2020", -1, None),
        ("DA", b"20200301-20200401", -1, None),
        ("DA", b"20200301-", -1, None),
        ("DA", b"01.03.2020", -1, None),
        ("DA", b"2020\xb2\xb2\xb2\xb2", -1, None),
        ("DA", b"around Easter", -1, None),
        ("DT", b"20200301", -1, b"20200229"),
        ("DT", b"20200301101112", -1, b"20200229101112"),
        ("DT", b"20200301101112.123456", -1, b"20200229101112.123456"),
        ("DT", b"20200301101112.12+0130", -1, b"20200229101112.12+0130"),
        ("DT", b"20200301101112-0800", -1, b"20200229101112-0800"),
        ("DT", b"2020030110", -1, b"2020022910"),
        ("DT", b"20200301+0100", -1, b"20200229+0100"),
        ("DT", b"202003", -7, b"202003"),
        ("DT", b"202003", -15, b"202002"),
        ("DT", b"202001", -31, b"201912"),
        ("DT", b"2020", -100, b"2020"),
        ("DT", b"2020", -183, b"2019"),
        ("DT", b"2020-0500", -365, b"2019-0500"),
        ("DT", b"202001+0100", -31, b"201912+0100"),
        ("DT", b"2019-2020", -1, None),
        ("DT", b"201901-202001", -1, None),
        ("DT", b"20200301+1500", -1, None),
        ("DT", b"20200301-1230", -1, None),
        ("DT", b"20200301-", -1, None),
        ("DT", b"202013", -1, None),
        ("DT", b"20200301251112", -1, None),
        ("DT", b"2020.03.01", -1, None),
        ("DT", b"0001", -365, None),
    ],
)
def test_forms(vr: str, value: bytes, days: int, expected: bytes | None) -> None:
    assert dates.moved(value, vr, days) == expected


@given(st.dates(min_value=date(1600, 1, 1)), st.integers(-36500, -1))
@settings(max_examples=100, deadline=None)
def test_intervals_between_dates_stay(day: date, days: int) -> None:
    later = day + timedelta(days=90) if day.year < 9999 else day
    assume(not {f"{day:%Y%m%d}", f"{later:%Y%m%d}"} & dates.ZEROS)
    moved = [dates.moved(each.strftime("%Y%m%d").rjust(8, "0").encode(), "DA", days) for each in (day, later)]
    one, other = (date(int(each[:4]), int(each[4:6]), int(each[6:])) for each in moved if each)
    assert other - one == later - day
    assert one - day == timedelta(days=days)


def test_how_far_a_patient_is_moved() -> None:
    found = {PSEUDONYMS.shift(f"P{number}", "1.2", 1, 30) for number in range(2000)}
    assert found == set(range(-30, 0))
    weeks = {PSEUDONYMS.shift(f"P{number}", "1.2", 7, 365) for number in range(2000)}
    assert weeks == {-7 * number for number in range(1, 53)}


def test_the_shift_hangs_on_key_and_patient() -> None:
    assert PSEUDONYMS.shift("P1", "1.2", 1, 36500) == PSEUDONYMS.shift(" P1 ", "1.3", 1, 36500)
    assert PSEUDONYMS.shift("P1", "1.2", 1, 36500) != PSEUDONYMS.shift("P2", "1.2", 1, 36500)
    assert PSEUDONYMS.shift("", "1.2", 1, 36500) != PSEUDONYMS.shift("", "1.3", 1, 36500)
    assert PSEUDONYMS.shift("", "1.2", 1, 36500) != PSEUDONYMS.shift("1.2", "1.2", 1, 36500)
    other = Pseudonyms(ProjectKeys.derive(bytes(32)).pseudonym, {})
    assert other.shift("P1", "1.2", 1, 36500) != PSEUDONYMS.shift("P1", "1.2", 1, 36500)


def moved(*more: bytes, syntax: str = EXPLICIT, engine: Deidentifier = ENGINE, **changed: str):
    """What a small instance with these elements becomes."""
    implicit = syntax == IMPLICIT
    return read(output(engine.clean(received(syntax), data_set(*more, implicit=implicit, **changed))))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_all_dates_of_an_instance_move_alike(syntax: str) -> None:
    implicit = syntax == IMPLICIT
    found = moved(
        element(0x00080020, "DA", "20200301", implicit=implicit),
        element(0x00080030, "TM", "101112.5", implicit=implicit),
        element(0x0008002A, "DT", "20200301235959.5+0100", implicit=implicit),
        element(0x00080201, "SH", "+0100", implicit=implicit),
        element(0x00100032, "TM", "0312", implicit=implicit),
        element(0x00143076, "DA", "20200302", implicit=implicit),
        sequence(
            0x00081115,
            item(element(0x00080021, "DA", "20200303", implicit=implicit)),
            implicit=implicit,
        ),
        syntax=syntax,
    )
    start = date(2020, 3, 1) + timedelta(days=DAYS)
    assert found.StudyDate == f"{start:%Y%m%d}"
    assert found.StudyTime == "101112.5"
    assert found.AcquisitionDateTime == f"{start:%Y%m%d}235959.5+0100"
    assert found.TimezoneOffsetFromUTC == "+0100"
    assert found.DateOfGainCalibration == f"{start + timedelta(days=1):%Y%m%d}"
    assert found.ReferencedSeriesSequence[0].SeriesDate == f"{start + timedelta(days=2):%Y%m%d}"
    assert found.PatientBirthDate == ""
    assert "PatientBirthTime" not in found
    assert found.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [code.CodeValue for code in found.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert "PS3.15 2026d Retain Modified Dates Option" in found.DeidentificationMethod


def test_what_everybody_knows_does_not_move() -> None:
    """A date that is the same for many patients, or stands for none, would tell by how much it was moved."""
    code = item(
        element(0x00080100, "SH", "T-D1100")
        + element(0x00080106, "DT", "20020904000000.000000")
        + element(0x00080107, "DT", "20040101")
    )
    made = [element(0x00181204, "DA", "20110405"), element(0x00181205, "DA", "20110607")]
    found = moved(
        sequence(0x00082218, code), *made, element(0x00080020, "DA", "20200301"), element(0x00080021, "DA", "19700101")
    )
    assert found.AnatomicRegionSequence[0].ContextGroupVersion == "19000101000000"
    assert "20040101" not in str(found) and "DateOfManufacture" not in found and "DateOfInstallation" not in found
    assert found.SeriesDate == "19000101"
    assert found.StudyDate == f"{date(2020, 3, 1) + timedelta(days=DAYS):%Y%m%d}"
    device = Deidentifier(plan_of(MODIFIED.replace("[", "[retain_device_identity, ")), KEYS)
    kept = moved(*made, engine=device)
    assert (kept.DateOfManufacture, kept.DateOfInstallation) == ("20110405", "20110607")


def test_a_day_that_stands_for_no_date_is_no_repeat_of_a_birth_date() -> None:
    for day in ("19000101", "19700101"):
        assert moved(element(0x00080021, "DA", day), t00100030=day).SeriesDate == "19000101"


@pytest.mark.parametrize("line", ["DateOfManufacture: shift", "ContextGroupVersion: {shift: -3}"])
def test_rules_cannot_move_what_everybody_knows(line: str) -> None:
    with pytest.raises(RulesError, match="the same for many patients"):
        plan_of(f"{BASIC}attributes: {{{line}}}\n")
    kept = Deidentifier(plan_of(f"{MODIFIED}attributes: {{DateOfManufacture: keep}}\n"), KEYS)
    assert moved(element(0x00181204, "DA", "20110405"), engine=kept).DateOfManufacture == "20110405"
    wide = Deidentifier(plan_of(f"{BASIC}attributes: {{VR:DA: shift, VR:DT: shift}}\n"), KEYS)
    found = moved(element(0x00181204, "DA", "20110405"), element(0x00080020, "DA", "20200301"), engine=wide)
    assert "DateOfManufacture" not in found and found.StudyDate != "20200301"


FULL_DATES = "options: [retain_longitudinal_full_dates]\n"


@pytest.mark.parametrize(
    ("rules", "before", "said"),
    [
        ("", "", "REMOVED"),
        ("", "UNMODIFIED", "REMOVED"),
        ("attributes: {StationName: keep, 'VR:LO': keep}", "", "REMOVED"),
        ("attributes: {StudyDate: keep}", "", "MODIFIED"),
        ("attributes: {StudyDate: {round: year}}", "", "MODIFIED"),
        ("attributes: {'VR:TM': keep}", "", "MODIFIED"),
        ("attributes: {RequestAttributesSequence > ScheduledProcedureStepStartDate: keep}", "", "MODIFIED"),
        ("attributes: {StudyDate: {set: '20200101'}}", "", "REMOVED"),
        ("attributes: {StudyDate: shift}", "", "MODIFIED"),
        (FULL_DATES, "", "UNMODIFIED"),
        (FULL_DATES, "UNMODIFIED", "UNMODIFIED"),
        (FULL_DATES, "MODIFIED", "MODIFIED"),
        (FULL_DATES, "REMOVED", "REMOVED"),
        (FULL_DATES, "whatever", "UNMODIFIED"),
        (FULL_DATES + "attributes: {StudyTime: remove}", "", "MODIFIED"),
        (FULL_DATES + "attributes: {'/Time$/': {round: hour}}", "", "MODIFIED"),
        (FULL_DATES + "attributes: {StudyDate: keep, PatientBirthDate: remove, StationName: remove}", "", "UNMODIFIED"),
    ],
)
def test_what_is_said_of_dates_is_true(rules: str, before: str, said: str) -> None:
    engine = Deidentifier(plan_of(BASIC + rules), KEYS)
    found = moved(element(0x00280303, "CS", before), engine=engine)
    assert said == found.LongitudinalTemporalInformationModified


def test_studies_of_a_patient_move_alike_and_patients_do_not() -> None:
    day = element(0x00080020, "DA", "20200301")
    same = moved(day, t0020000D="1.2.826.0.1.77.99").StudyDate
    assert same == moved(day).StudyDate
    assert same != moved(day, t00100020="PID-4712").StudyDate
    unnamed = [moved(day, t00100020="", t0020000D=f"1.2.826.0.1.77.{number}").StudyDate for number in range(10, 15)]
    assert len(set(unnamed)) > 1


def test_whole_weeks_keep_the_day_of_the_week() -> None:
    engine = Deidentifier(plan_of(MODIFIED + "dates: {shift: weeks, range: 3650}\n"), KEYS)
    found = moved(element(0x00080020, "DA", "20200301"), engine=engine).StudyDate
    assert date(int(found[:4]), int(found[4:6]), int(found[6:])).weekday() == date(2020, 3, 1).weekday()
    assert found != "20200301"


@pytest.mark.parametrize(
    "wrong",
    [
        element(0x00080020, "DA", "20200230"),
        element(0x00080020, "DA", "20200301-20200401"),
        element(0x00080020, "DA", "on Monday"),
        element(0x0008002A, "DT", "2019-2020"),
        element(0x00080030, "TM", "noon"),
        element(0x00080030, "TM", "1000-1200"),
        element(0x00080201, "SH", "Berlin"),
        element(0x00143076, "DA", "19"),
    ],
)
def test_what_cannot_be_moved_is_withheld(wrong: bytes) -> None:
    with pytest.raises(Doubt) as caught:
        ENGINE.clean(received(), data_set(wrong))
    assert caught.value.reason is Reason.BAD_DATE
    assert doubt_of(data_set(wrong)) is None


def test_the_device_option_keeps_no_date_that_is_to_be_moved() -> None:
    """Eleven rows say K for the device and C for modified dates: C beats K."""
    options = "options: [retain_longitudinal_modified_dates, retain_device_identity]\n"
    engine = Deidentifier(plan_of(BASIC + options), KEYS)
    found = moved(element(0x00181200, "DA", "20200301"), element(0x00181000, "LO", "SN-1234"), engine=engine)
    assert found.DateOfLastCalibration == f"{date(2020, 3, 1) + timedelta(days=DAYS):%Y%m%d}"
    assert found.DeviceSerialNumber == "SN-1234"


@pytest.mark.parametrize("written", ["19370214", "born 14.02.1937", "14 Feb 1937"])
def test_a_birth_date_in_a_kept_text_is_still_found(written: str) -> None:
    day = element(0x00080020, "DA", "19370214")
    assert moved(day).StudyDate != "19370214"
    with pytest.raises(Doubt) as caught:
        ENGINE.clean(received(), data_set(day, t00080070=written))
    assert caught.value.reason is Reason.RESIDUE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"089Y", b"089Y"),
        (b"090Y", b"090Y"),
        (b"091Y", b"090Y"),
        (b"999Y", b"090Y"),
        (b"95Y ", b"090Y"),
        (b"75Y ", b"75Y"),
        (b"999M", b"999M"),
        (b"999W", b"999W"),
        (b"010D", b"010D"),
        (b"1080M ", b""),
        (b"95", b""),
        (b"ninety", b""),
        (b"\xb9\xb2\xb3Y", b""),
        (b"", b""),
        (b"095Y\\045Y ", b"090Y\\045Y"),
    ],
)
def test_ages(value: bytes, expected: bytes) -> None:
    assert values.capped_ages(value) == expected


def test_an_age_is_kept_or_capped() -> None:
    engine = Deidentifier(plan_of(BASIC + "options: [retain_patient_characteristics]\n"), KEYS)
    for age, expected in (("045Y", "045Y"), ("097Y", "090Y"), ("ninety", ""), ("006M", "006M")):
        assert moved(element(0x00101010, "AS", age), engine=engine).PatientAge == expected
    assert moved(element(0x00101010, "UN", b"097Y"), engine=engine).PatientAge == "090Y"
    assert "PatientAge" not in moved(element(0x00101010, "AS", "045Y"))
