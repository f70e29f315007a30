"""Retrievals and jobs in the identity book: what comes next, what is counted, what is left after a crash."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import older
import pytest

from dicomnode.store.identity import IdentityBook
from dicomnode.store.jobs import ACTIVE, CANCELLED, ENDED, ENTERING, MOVING, PAUSED, WAITING, Jobs, Line


@pytest.fixture
def book(tmp_path: Path) -> Iterator[IdentityBook]:
    made = IdentityBook.open(tmp_path / "identity.db")
    yield made
    made.close()


def _entered(jobs: Jobs, *uids: str, state: str = ACTIVE, priority: int = 0) -> int:
    number = jobs.add("trial", "staging", "somebody", priority=priority)
    jobs.enter(number, [(Line("study", uid), f"key{uid}", f"2.25.{uid}") for uid in uids]).result()
    jobs.change(number, state).result()
    return number


def test_the_most_urgent_comes_first_and_what_was_put_off_later(book: IdentityBook) -> None:
    jobs = book.jobs
    first, urgent = _entered(jobs, "1", "2"), _entered(jobs, "3", priority=3)
    _entered(jobs, "4", state=PAUSED)
    assert [each.id for each in jobs.active("staging")] == [urgent, first]
    assert jobs.active("other") == []
    job = jobs.next_job(first, time.time())
    assert job is not None
    assert (job.value, job.study_key, job.name) == ("1", "key1", "2.25.1")
    later = time.time() + 100
    jobs.set_job(job.id, WAITING, next_at=later).result()
    following = jobs.next_job(first, time.time())
    assert following is not None
    assert following.value == "2"
    jobs.set_job(following.id, "arrived", here=5).result()
    assert jobs.next_job(first, time.time()) is None
    assert jobs.next_at(first) == later
    again = jobs.next_job(first, later)
    assert again is not None
    assert again.value == "1"
    retrieval = jobs.retrieval(first)
    assert retrieval is not None
    progress = jobs.progress(retrieval)
    assert (progress.states, progress.here) == ({WAITING: 1, "arrived": 1}, 5)
    assert progress.rate > 0
    assert progress.left is not None


def test_what_was_put_off_before_the_clock_was_set_back_is_due(book: IdentityBook) -> None:
    number, now = _entered(book.jobs, "1"), time.time()
    job = book.jobs.next_job(number, now)
    assert job is not None
    for put_off, due in ((now + 100, False), (now + 301, True), (now - 1, True)):
        book.jobs.set_job(job.id, WAITING, next_at=put_off).result()
        assert (book.jobs.next_job(number, now, 300) is not None) is due


def test_the_same_study_is_one_job_and_belongs_to_each_retrieval(book: IdentityBook) -> None:
    one, two = _entered(book.jobs, "1", "1"), _entered(book.jobs, "1")
    assert book.jobs.counts(one) == {WAITING: 1}
    assert [retrieval.id for _, retrieval in book.jobs.of_study("key1")] == [one, two]


def test_a_crash_leaves_what_was_whole(tmp_path: Path) -> None:
    book = IdentityBook.open(tmp_path / "identity.db")
    whole, half = _entered(book.jobs, "1", "2"), _entered(book.jobs, "3", state=ENTERING)
    job = book.jobs.next_job(whole, time.time())
    assert job is not None
    book.jobs.set_job(job.id, MOVING).result()
    book.close()
    book = IdentityBook.open(tmp_path / "identity.db")
    book.jobs.take_back().result()
    assert book.jobs.counts(whole) == {WAITING: 2}
    states = {each.id: each.state for each in book.jobs.retrievals()}
    assert states == {whole: ACTIVE, half: CANCELLED}
    assert _entered(book.jobs, "9") == half + 1
    book.close()


def test_with_its_end_nothing_of_a_retrieval_waits(book: IdentityBook) -> None:
    number = _entered(book.jobs, "1", "2")
    book.jobs.change(number, CANCELLED).result()
    assert book.jobs.counts(number) == {CANCELLED: 2}
    book.jobs.change(number, ACTIVE).result()
    found = book.jobs.retrieval(number)
    assert found is not None
    assert found.state == CANCELLED
    book.jobs.set_priority(number, 4).result()
    assert [each.priority for each in book.jobs.retrievals([CANCELLED])] == [4]
    assert book.jobs.retrievals([ENDED]) == []


def test_a_hundred_thousand_studies_cost_no_time_to_go_on_with(book: IdentityBook) -> None:
    number = _entered(book.jobs, *map(str, range(100_000)))
    begin = time.perf_counter()
    for _ in range(20):
        job = book.jobs.next_job(number, time.time())
        assert job is not None
        book.jobs.set_job(job.id, "arrived", here=1).result()
    assert (time.perf_counter() - begin) / 20 < 0.1
    assert book.jobs.counts(number) == {WAITING: 99_980, "arrived": 20}


def test_arrivals(book: IdentityBook) -> None:
    assert book.jobs.arrival("there") is None
    book.jobs.set_arrival("there", False).result()
    book.jobs.set_arrival("there", True).result()
    found = book.jobs.arrival("there")
    assert found is not None
    assert found[0] is True
    assert abs(found[1] - time.time()) < 10


def test_requests_of_an_older_book_stay_on_record(tmp_path: Path) -> None:
    path = tmp_path / "identity.db"
    older.make(path, "identity", "0001")
    with sqlite3.connect(path) as connection:
        row = ("trial", "study", "1.2.3", "key", "asked", 5.0)
        connection.execute("INSERT INTO request VALUES (1, ?, ?, ?, ?, ?, ?)", row)
    book = IdentityBook.open(path)
    ((job, retrieval),) = book.jobs.of_study("key")
    assert (job.value, job.state, retrieval.project, retrieval.state, retrieval.at) == (
        "1.2.3",
        CANCELLED,
        "trial",
        ENDED,
        5.0,
    )
    book.close()
