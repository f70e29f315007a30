"""What is asked of the journal for one study costs what that study is large, not what the journal is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kept import instance, location, withheld
from sqlalchemy import event

from dicomnode.model import Fate, Reason
from dicomnode.store.journal import Journal

TABLES = re.compile(r"SCAN (instance|withheld|sent|study|delivery|missing|event|segment)\b")
OF_STUDY = ("trial", "studya")
TO = (*OF_STUDY, "research")
FAILED = replace(withheld(9), series_key="seriesa", reason=Reason.SERIES_CONDITIONS)
QUESTIONS: dict[str, Callable[[Journal], Any]] = {
    "here": lambda journal: journal.here(*OF_STUDY),
    "senders": lambda journal: journal.senders(*OF_STUDY),
    "missing": lambda journal: journal.missing(*OF_STUDY),
    "get_study": lambda journal: journal.get_study(*OF_STUDY),
    "barred": lambda journal: journal.barred(*OF_STUDY),
    "may_go": lambda journal: journal.may_go(*OF_STUDY),
    "unsent": lambda journal: journal.unsent(*TO),
    "has_unsent": lambda journal: journal.has_unsent(*TO),
    "answers": lambda journal: journal.answers(*TO),
    "taken": lambda journal: journal.taken(*TO),
    "resent": lambda journal: journal.resent(*TO),
    "lost": lambda journal: journal.lost(*OF_STUDY),
    "deliveries": lambda journal: journal.deliveries("trial", study_key="studya"),
    "segment_offsets": lambda journal: journal.segment_offsets(*OF_STUDY),
    "failed_late": lambda journal: journal.failed_late(FAILED),
}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.db")
    for number in range(3):
        opened.stored(instance(number), location(number))
    opened.flush().result()
    yield opened
    opened.close()


def asked(journal: Journal, question: Callable[[Journal], Any]) -> list[tuple[str, Any]]:
    """The statements that it takes."""
    found: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        found.append((statement, parameters))

    event.listen(journal._engine, "before_cursor_execute", note)
    try:
        question(journal)
    finally:
        event.remove(journal._engine, "before_cursor_execute", note)
    return found


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_about_a_study_uses_an_index(journal: Journal, question: str, failed: bool) -> None:
    if failed:
        journal.withheld(FAILED).result()
    statements = asked(journal, QUESTIONS[question])
    assert statements
    with journal._engine.connect() as connection:
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert not [row[3] for row in plan if TABLES.search(row[3])], statement


def test_where_nothing_failed_no_instance_is_looked_at_for_it(journal: Journal) -> None:
    journal.withheld(withheld(8)).result()
    for question in ("barred", "failed_late"):
        (statement, _), *others = asked(journal, QUESTIONS[question])
        assert ("FROM withheld" in statement, others) == (True, []), question
    journal.withheld(FAILED).result()
    assert len(asked(journal, QUESTIONS["barred"])) == 2
    journal.end_withheld("trial", FAILED.quarantine, Fate.RELEASED, 1.0).result()
    assert len(asked(journal, QUESTIONS["barred"])) == 1


def test_whether_something_is_unsent(journal: Journal) -> None:
    assert journal.has_unsent(*TO)
    for number in range(3):
        journal.sent("trial", f"instance{number}", "research", 0, True, 1.0)
    journal.flush().result()
    assert not journal.has_unsent(*TO)
    assert journal.has_unsent(*OF_STUDY, "elsewhere")
    journal.withheld(FAILED).result()
    assert not journal.has_unsent(*OF_STUDY, "elsewhere"), "what is kept back is not to be sent"
