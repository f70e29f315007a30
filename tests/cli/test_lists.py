"""Lists of what is to be fetched: CSV in its dialects, text, dates; and what is wrong is told without a value."""

from __future__ import annotations

import click
import pytest

from dicomnode.cli.lists import lines, span
from dicomnode.store.jobs import Line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "1.2.3\nA-1  # seen\n\n12345\n",
            [Line("study", "1.2.3"), Line("accession", "A-1"), Line("accession", "12345")],
        ),
        ("StudyInstanceUID,comment\n1.2.3,good\n", [Line("study", "1.2.3")]),
        ("Original Study UID\n1.2.3\n\n", [Line("study", "1.2.3")]),
        ("accession_no\tpatient_id\nA-1\tP-1\n", [Line("accession", "A-1", "P-1")]),
        ('PatientID;Study Date\n"P;1";2024-01-31\n', [Line("patient", "P;1", "", "20240131", "20240131")]),
        ("patient,from,to\nP-1,20240101,\n", [Line("patient", "P-1", "", "20240101", "")]),
        ("patient,from,to\nP-1,20240101,20240131\n", [Line("patient", "P-1", "", "20240101", "20240131")]),
        ("patient,to\nP-1,20240131\n", [Line("patient", "P-1", "", "", "20240131")]),
        ("study,accession\n1.2.3,A-1\n,A-2\n", [Line("study", "1.2.3"), Line("accession", "A-2")]),
    ],
)
def test_a_list_says_what_to_fetch(text: str, expected: list[Line]) -> None:
    assert list(lines(text)) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.2.3\n1.2.3.4.x\n", "line 2 of the list is not a UID"),
        ("study\n" + "1." * 40 + "1\n", "line 2 of the list is not a UID"),
        ("accession\nA*\n", "line 2 of the list must have 1 to 64 characters"),
        ("patient,comment\n,x\n", "line 2 of the list names no study"),
        ("patient,date\nP-1,31.1.2024\n", "line 2 of the list: write days as"),
        ("study,date\n1.2.3,2004-13-45\n", "line 2 of the list: write days as"),
        ("study,from\n1.2.3,20240131\n1.2.4,20240230\n", "line 3 of the list: write days as"),
        ("study,accession\n1.2.3,A*\n", "line 2 of the list must have 1 to 64 characters"),
        ("study,accession\n1.2.3,A\n1.2.4,A\n1.2.3,B\n", "lines 2 and 4 of the list: one study with two accession"),
        ("name,number\nA*,4711\n", "line 1 of the list: a CSV needs a heading with study, accession or patient"),
    ],
)
def test_a_wrong_line_is_named_by_its_number_alone(text: str, words: str) -> None:
    with pytest.raises(click.UsageError, match=words) as caught:
        list(lines(text))
    assert "A*" not in caught.value.message


def test_what_stands_beside_a_study_is_told_not_to_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    list(lines("study,accession,date\n1.2.3,A-1,\n1.2.4,,\n,A-2,20240131\n1.2.5,,20240131\n"))
    assert capsys.readouterr().err == (
        "lines 2, 5 of the list: the study is fetched by its UID; what stands beside it is not compared\n"
    )
    list(lines("study,accession\n" + "".join(f"1.2.{number},A-{number}\n" for number in range(20))))
    assert "lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 10 more of the list" in capsys.readouterr().err


def test_a_column_that_means_nothing_here_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(lines("patient;Datum;remark\nP-1;20240131;x\n")) == [Line("patient", "P-1", "", "", "")]
    assert capsys.readouterr().err.startswith("not used: column 2, 3 of the list; study, accession, patient, date")
    list(lines("patient;date\nP-1;20240131\n"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240131", ("20240131", "20240131")),
        ("2024-01-01..2024-01-31", ("20240101", "20240131")),
        ("20240101-", ("20240101", "")),
        ("-20240131", ("", "20240131")),
    ],
)
def test_days(text: str, expected: tuple[str, str]) -> None:
    assert span(text, "x") == expected
