"""Lists of what is to be fetched: command options, text files, CSV files. A wrong line is named by its number alone.

Values identify, so no message quotes one.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import click

from dicomnode.store.jobs import Line

LONGEST = 64
_uid = re.compile(r"[0-9]+(\.[0-9]+)*")
MOST_NAMED = 10
_BESIDE = ("accession", "patient", "day", "since", "until")
_forbidden = set("*?\\")  # a C-FIND would match more than what is written
_COLUMNS = {
    "study": ("study", "studyuid", "studyinstanceuid", "originalstudyuid", "uid"),
    "accession": ("accession", "accessionno", "accessionnumber"),
    "patient": ("patient", "patientid"),
    "day": ("day", "date", "studydate"),
    "since": ("since", "from", "datefrom"),
    "until": ("until", "to", "dateto"),
}


def options(
    studies: Sequence[str], accessions: Sequence[str], patients: Sequence[str], dates: str | None
) -> Iterator[Line]:
    """What the command line names; `-` among the studies reads standard input."""
    since, until = span(dates, "--date") if dates else ("", "")
    words = [word for each in studies for word in (sys.stdin.read().split() if each == "-" else [each])]
    for number, word in enumerate(words, 1):
        yield study(word, f"study {number}")
    for number, word in enumerate(accessions, 1):
        yield Line("accession", _value(word, f"accession number {number}"), "", since, until)
    for number, word in enumerate(patients, 1):
        yield Line("patient", _value(word, f"patient {number}"), "", since, until)


def study(word: str, which: str) -> Line:
    """A Study Instance UID as a line; `which` says which one is wrong."""
    if len(word) > LONGEST or not _uid.fullmatch(word):
        raise click.UsageError(f"{which} is not a UID: up to 64 digits and dots")
    return Line("study", word)


def _value(word: str, which: str) -> str:
    text = word.strip()
    if not text or len(text) > LONGEST or not text.isprintable() or _forbidden & set(text):
        raise click.UsageError(f"{which} must have 1 to 64 characters, none of them * ? or \\")
    return text


def span(text: str, which: str) -> tuple[str, str]:
    """A day or days as YYYYMMDD or YYYY-MM-DD, FROM..TO or FROM- or -TO, as first and last day; either may be open."""
    days = re.sub(r"(\d{4})-(\d\d)-(\d\d)", r"\1\2\3", text.strip()).replace("..", "-")
    first, dash, last = days.partition("-")
    for day in filter(None, (first, last)):
        if not re.fullmatch(r"\d{8}", day) or not _is_day(day):
            raise click.UsageError(f"{which}: write days as 20240131, 2024-01-31, or 20240101-20240131")
    if not first and not last:
        raise click.UsageError(f"{which}: no day is named")
    if first and last and first > last:
        raise click.UsageError(f"{which}: the first day comes after the last")
    return first, last if dash else first


def _is_day(day: str) -> bool:
    try:
        date(int(day[:4]), int(day[4:6]), int(day[6:]))
    except ValueError:
        return False
    return True


def read(file: str) -> str:
    """The text of a list file; `-` is standard input."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise click.UsageError(f"the list cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError("the list is no UTF-8 text") from None


def lines(text: str) -> Iterator[Line]:
    """The lines of a list: CSV with a heading, or words; one with two dots is a UID, else it is an accession number."""
    rows = table(text)
    if rows is not None:
        _tell_unused(text)
        _check_accessions(rows)
        for number, row in rows:
            yield _line(row, f"line {number} of the list")
        _tell_not_compared(rows)
        return
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.split("#")[0].split():
            which = f"line {number} of the list"
            if set(word) & set(",;"):
                raise click.UsageError(f"{which}: a CSV needs a heading with study, accession or patient")
            yield study(word, which) if word.count(".") > 1 else Line("accession", _value(word, which))


def table(text: str, columns: Mapping[str, tuple[str, ...]] = _COLUMNS) -> list[tuple[int, dict[str, str]]] | None:
    """The rows of a CSV, each with its line number, by the names that we have for its columns; None: it is no CSV."""
    delimiter, names = _heading(text, columns)
    if not any(names):
        return None
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    next(reader)
    return [
        (reader.line_num, {name: cell.strip() for name, cell in zip(names, row, strict=False) if name})
        for row in reader
        if any(cell.strip() for cell in row)
    ]


def _heading(text: str, columns: Mapping[str, tuple[str, ...]]) -> tuple[str, list[str]]:
    """The delimiter, and our name for each column, empty where it is none of ours."""
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    return delimiter, [_column(name, columns) for name in head.split(delimiter)]


def _tell_unused(text: str) -> None:
    """Say which columns mean nothing here: one of them may have been meant to narrow what is fetched."""
    unused = [str(number) for number, name in enumerate(_heading(text, _COLUMNS)[1], 1) if not name]
    if unused:
        known = "study, accession, patient, date, from and to are"
        click.echo(f"not used: column {', '.join(unused)} of the list; {known}", err=True)


def _check_accessions(rows: Sequence[tuple[int, dict[str, str]]]) -> None:
    """Raises UsageError where one study has two accession numbers: one of the lines names another than was meant."""
    seen: dict[str, tuple[str, int]] = {}
    for number, row in rows:
        study_uid, accession = row.get("study"), row.get("accession")
        if study_uid and accession:
            before, first = seen.setdefault(study_uid, (accession, number))
            if before != accession:
                which = f"lines {first} and {number} of the list"
                raise click.UsageError(
                    f"{which}: one study with two accession numbers; correct them, or leave them out"
                )


def _tell_not_compared(rows: Sequence[tuple[int, dict[str, str]]]) -> None:
    """Say on which lines the study alone decides: nobody has compared it with what else stands there."""
    found = [str(number) for number, row in rows if row.get("study") and any(row.get(name) for name in _BESIDE)]
    if found:
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        which = f"line{'s' if len(found) > 1 else ''} {', '.join(found[:MOST_NAMED])}{more} of the list"
        click.echo(f"{which}: the study is fetched by its UID; what stands beside it is not compared", err=True)


def _column(name: str, columns: Mapping[str, tuple[str, ...]]) -> str:
    plain = re.sub(r"[^a-z]", "", name.lower())
    return next((ours for ours, theirs in columns.items() if plain in theirs), "")


def _line(row: dict[str, str], which: str) -> Line:
    """A row of a CSV: the study where one is named, else the accession number, else the patient; all are read."""
    since, until = span(row["day"], which) if row.get("day") else ("", "")
    since = span(row["since"], which)[0] if row.get("since") else since
    until = span(row["until"], which)[1] if row.get("until") else until
    accession, patient = (_value(row[name], which) if row.get(name) else "" for name in ("accession", "patient"))
    if row.get("study"):
        return study(row["study"], which)
    if accession:
        return Line("accession", accession, patient, since, until)
    if not patient:
        raise click.UsageError(f"{which} names no study, accession number or patient")
    return Line("patient", patient, "", since, until)
