"""Which clean instances a sealed original keeps back, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kept import instance, location, withheld

from dicomnode.model import JUDGED, Fate, IdentityEntry, Instance, Reason, Withheld
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal

ALL = {"instance1", "instance2", "instance3"}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Two instances of series a and one of series b, received at 1001 to 1003."""
    opened = Journal.open(tmp_path / "journal.db")
    for number, series in ((1, "a"), (2, "a"), (3, "b")):
        opened.stored(clean(number, series), location(number))
    opened.flush().result()
    yield opened
    opened.close()


def clean(number: int, series: str, at: float | None = None) -> Instance:
    made = replace(instance(number), series_key=series)
    return made if at is None else replace(made, received_at=at)


def failed(reason: Reason = Reason.SERIES_CONDITIONS, number: int = 9) -> Withheld:
    return replace(withheld(number), series_key="a", reason=reason)


def unsent(journal: Journal) -> set[str]:
    journal.flush().result()
    return {each.instance_key for each, _ in journal.unsent("trial", "studya", "research")}


@pytest.mark.parametrize(
    ("reason", "kept_back"),
    [
        (Reason.SERIES_CONDITIONS, {"instance1", "instance2"}),
        (Reason.STUDY_CONDITIONS, ALL),
        (Reason.CONDITIONS, set()),
        (Reason.RESIDUE, set()),
    ],
)
def test_what_an_original_keeps_back(journal: Journal, reason: Reason, kept_back: set[str]) -> None:
    assert unsent(journal) == ALL
    journal.withheld(failed(reason))
    assert unsent(journal) == ALL - kept_back
    assert journal.barred("trial", "studya") == kept_back
    here = journal.here("trial", "studya")
    assert (here.held, here.may_go) == (ALL, ALL - kept_back)
    assert journal.may_go("trial", "studya") == {key.replace("instance", "2.25.3") for key in ALL - kept_back}


def test_other_studies_and_projects_are_let_go(journal: Journal) -> None:
    journal.withheld(replace(failed(), study_key="studyb"))
    journal.withheld(replace(failed(number=10), project="other"))
    assert unsent(journal) == ALL


def test_a_release_lets_go_and_a_discard_does_not(journal: Journal) -> None:
    journal.withheld(failed())
    journal.end_withheld("trial", failed().quarantine, Fate.DISCARDED, 1.0)
    assert unsent(journal) == {"instance3"}
    journal.withheld(failed())  # it came again
    journal.end_withheld("trial", failed().quarantine, Fate.RELEASED, 2.0)
    assert unsent(journal) == ALL


def test_one_that_comes_again_and_is_accepted_lets_go(journal: Journal) -> None:
    journal.withheld(failed())
    assert unsent(journal) == {"instance3"}
    journal.stored(clean(9, "a", at=2000.0), location(9))
    assert unsent(journal) == ALL | {"instance9"}
    journal.lose("trial", "instance9")
    assert unsent(journal) == {"instance3"}, "its record is gone: it is not accepted any more"


def test_one_that_was_accepted_before_lets_nothing_go(journal: Journal) -> None:
    """Another content under the same SOP Instance UID came later and failed."""
    journal.withheld(replace(failed(), instance_key="instance2", received_at=1500.0))
    assert unsent(journal) == {"instance3"}


def test_a_late_failure_is_told_where_something_went_out(journal: Journal) -> None:
    journal.withheld(failed()).result()
    assert journal.failed_late(failed()) is None
    journal.sent("trial", "instance3", "research", 0, True, 1.0).result()
    assert journal.failed_late(failed()) is None, "it is of another series"
    journal.sent("trial", "instance1", "research", 0, True, 1.0).result()
    event = journal.failed_late(failed())
    assert event is not None
    assert (event.facts["sent"], event.facts["series"], event.study_key) == (1, "a", "studya")
    assert journal.failed_late(failed(Reason.RESIDUE)) is None
    assert journal.failed_late(replace(failed(), study_key="studyb"), under_way=True) is not None


def test_the_book_has_the_last_judgement_of_each_instance(tmp_path: Path) -> None:
    book = IdentityBook.open(tmp_path / "identity.db")
    for said, sop_uid in (('{"a": 1}', "2.25.1"), ('{"b": 1}', "2.25.2"), ('{"a": 2}', "2.25.1")):
        book.put("trial", [IdentityEntry(JUDGED, said, sop_uid)], "studya")
    book.put("trial", [IdentityEntry("PatientID", "PID", "ANON"), IdentityEntry(JUDGED, "{}", "2.25.3")], "studyb")
    book.flush().result()
    assert book.judged("trial", "studya") == ['{"a": 2}', '{"b": 1}']
    assert book.originals("2.25.1") == [], "a judgement is no original"
    book.close()
