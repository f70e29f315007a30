"""Events in the journal: entered with what they tell of, and kept until somebody else has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from kept import withheld
from sqlalchemy import Connection

from dicomnode.model import Event, StudyState
from dicomnode.store.journal import Journal
from dicomnode.store.writer import Operation


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.db")
    yield opened
    opened.close()


def test_events_wait_for_publication_only_where_somebody_listens(journal: Journal) -> None:
    journal.event(Event("study-receiving", 1.0, "trial", "studya")).result()
    journal.publishing = True
    journal.study("trial", "studya", state=StudyState.COMPLETE, event=Event("study-complete", 2.0, "trial", "studya"))
    journal.withheld(withheld(1))
    journal.flush().result()
    waiting = journal.unpublished(10)
    assert {event.name for _, event in waiting} == {"study-complete", "instance-withheld"}
    assert journal.count_unpublished() == 2
    journal.published([waiting[0][0]]).result()
    assert journal.unpublished(10) == waiting[1:]
    assert len(journal.events("trial", "studya")) == 3


def test_a_transition_and_its_event_are_committed_together(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    kept = journal._writer._apply

    def watch(connection: Connection, operations: Sequence[Operation]) -> None:
        seen.append([what.__name__ for what, _ in operations])
        kept(connection, operations)

    monkeypatch.setattr(journal._writer, "_apply", watch)
    for number in range(20):
        journal.study("trial", f"study{number}", state=StudyState.COMPLETE, event=Event("study-complete", 1.0))
    journal.flush().result()
    assert all(batch.count("change_study") == batch.count("enter_events") for batch in seen)
    assert sum(len(batch) for batch in seen) == 40
