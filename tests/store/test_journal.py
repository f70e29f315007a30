"""The journal: rows, counters, what is known before its commit, and databases that cannot be used."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import older
import pytest
from kept import instance, location, withheld

from dicomnode.errors import CannotKeep, StorageLocked, StoreDamaged
from dicomnode.model import Delivery, DeliveryState, Event, Fate, Reason, Study, StudyState
from dicomnode.store import changes, database
from dicomnode.store.journal import Journal
from dicomnode.store.known import Known
from dicomnode.store.waiting import Waiting
from dicomnode.studies import Gap, Here


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.db")
    yield opened
    opened.close()


def the_study(**changed: Any) -> Study:
    study = Study("trial", "studya", "2.25.studya", "ANON", StudyState.RECEIVING, 1, 0, None, "", False, 1000.0, 1000.0)
    return replace(study, **changed)


def test_the_first_instance_sets_its_study_up(journal: Journal) -> None:
    journal.stored(instance(), location()).result()
    assert journal.get_study("trial", "studya") == the_study()
    assert journal.instances("trial", "studya") == [(instance(), location())]
    assert journal.get_study("trial", "other") is None


def test_counters_and_times(journal: Journal) -> None:
    for number in (3, 1, 7):
        journal.stored(instance(number), location(number))
    journal.withheld(withheld(9))
    journal.withheld(withheld(8, study=""))
    journal.stored(instance(1, study="studyb"), location(1, "trial/studyb/aa.seg"))
    journal.flush().result()
    assert journal.get_study("trial", "studya") == the_study(stored=3, withheld=1, first_at=1001.0, last_at=1009.0)
    assert [study.study_key for study in journal.studies()] == ["studya", "studyb"]
    held, withheld_keys = {"instance1", "instance3", "instance7"}, {"instance9"}
    assert journal.here("trial", "studya") == Here(frozenset(held), frozenset(withheld_keys))
    assert [w.quarantine for w in journal.withheld_list("trial")] == ["quarantine9", "quarantine8"]
    assert journal.withheld_list("trial", "studya") == [withheld(9)]
    assert journal.quarantine_ids() == {"quarantine8", "quarantine9"}
    assert journal.segment_offsets() == {"trial/studya/aa.seg": 800, "trial/studyb/aa.seg": 200}


def test_rows_entered_twice_count_once(journal: Journal) -> None:
    for _ in range(2):
        for number in range(70):
            journal.stored(instance(number), location(number))
            journal.withheld(withheld(100 + number))
        journal.flush().result()
    study = journal.get_study("trial", "studya")
    assert study is not None
    assert (study.stored, study.withheld) == (70, 70)
    assert [found for found, _ in journal.instances("trial", "studya")] == [instance(number) for number in range(70)]


@pytest.mark.parametrize("count", [1, 3, 4, 63, 64, 65, 149])
def test_any_number_of_rows_in_a_batch(journal: Journal, count: int) -> None:
    for number in range(count):
        journal.stored(instance(number), location(number))
    journal.flush().result()
    assert len(journal.instances("trial", "studya")) == count


def test_known_before_and_after_the_commit(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    real = changes.apply
    monkeypatch.setattr(journal._writer, "_apply", lambda *arguments: gate.wait() and real(*arguments))
    journal.stored(instance(1), location(1))
    journal.withheld(withheld(2))
    for committed in (False, True):
        if committed:
            gate.set()
            journal.flush().result()
            assert not journal._lookup._stored
            assert not journal._lookup._withheld
        assert journal.known("trial", "instance1") == Known("received1", "stored", "studya")
        assert journal.known("trial", "instance2") == Known("withheld2", "withheld", "studya")
        assert journal.known("trial", "instance3") is None
        assert journal.known("other", "instance1") is None
        assert journal.known("trial", "") is None


def test_a_stored_instance_is_known_before_a_withheld_one(journal: Journal) -> None:
    journal.withheld(withheld(1)).result()
    journal.stored(instance(1), location(1)).result()
    journal.withheld(withheld(1, quarantine="again"))
    assert journal.known("trial", "instance1") == Known("received1", "stored", "studya")
    journal.flush().result()
    assert journal.known("trial", "instance1") == Known("received1", "stored", "studya")


def test_changes_of_a_study(journal: Journal) -> None:
    journal.stored(instance(), location())
    journal.study("trial", "studya", state=StudyState.COMPLETE, evidence="quiet", expected=4, at=5000.0).result()
    changed = the_study(state=StudyState.COMPLETE, evidence="quiet", expected=4)
    assert journal.get_study("trial", "studya") == changed
    journal.study("trial", "studya").result()
    assert journal.get_study("trial", "studya") == changed
    assert journal.studies(states=[StudyState.RECEIVING]) == []
    assert journal.studies(project="trial", states=[StudyState.COMPLETE, StudyState.FAILED])
    assert journal.studies(project="other") == []


def test_a_study_that_is_expected_before_it_comes(journal: Journal) -> None:
    journal.study("trial", "studya", expected=3, at=900.0).result()
    journal.stored(instance(), location()).result()
    assert journal.get_study("trial", "studya") == the_study(expected=3, first_at=900.0)


def test_find_study(journal: Journal) -> None:
    for key in ("abc", "abd", "b%c"):
        journal.stored(instance(study=key), location(segment=f"trial/{key}/aa.seg"))
    journal.flush().result()
    assert [study.study_key for study in journal.find_study("ab")] == ["abc", "abd"]
    assert [study.study_key for study in journal.find_study("2.25.abd")] == ["abd"]
    assert [study.study_key for study in journal.find_study("b%")] == ["b%c"]
    assert journal.find_study("%") == []


def test_unsent(journal: Journal) -> None:
    for number in range(4):
        journal.stored(instance(number), location(number))
    journal.sent("trial", "instance0", "research", 0x0000, True, 1.0)
    journal.sent("trial", "instance1", "research", 0xA900, False, 1.0)
    journal.sent("trial", "instance2", "archive", 0x0000, True, 1.0)
    journal.sent("trial", "instance0", "research", 0xB000, True, 2.0)
    journal.flush().result()
    assert [found.instance_key for found, _ in journal.unsent("trial", "studya", "research")] == [
        "instance2",
        "instance3",
    ]
    assert len(journal.unsent("trial", "studya", "archive")) == 3


def test_deliveries(journal: Journal) -> None:
    waiting = Delivery("trial", "studya", "research", DeliveryState.WAITING, 0, 50.0, "", 0, 0)
    other = replace(waiting, study_key="studyb", next_at=10.0)
    journal.delivery(waiting)
    journal.delivery(other).result()
    assert journal.deliveries() == [other, waiting]
    sent = replace(waiting, state=DeliveryState.SENT, sent=5, attempts=2, error="none")
    journal.delivery(replace(waiting, state=DeliveryState.SENDING))
    journal.delivery(sent).result()
    assert journal.deliveries("trial", [DeliveryState.SENT]) == [sent]
    assert journal.deliveries(states=[DeliveryState.WAITING]) == [other]
    assert journal.deliveries("trial", study_key="studya") == [sent]


def test_events(journal: Journal) -> None:
    told = [Event("study-complete", 5.0, "trial", "studya", {"stored": 3}), Event("study-sent", 6.0, "trial", "studya")]
    journal.event(told[0])
    journal.event(told[1]).result()
    assert journal.events("trial", "studya") == told


def test_places_are_forgotten_but_not_instances(journal: Journal) -> None:
    journal.stored(instance(1), location(1))
    journal.stored(instance(2), location(2))
    journal.forget_locations("trial", "studya", ["trial/studya/aa.seg"])
    journal.stored(instance(3), location(3))
    journal.flush().result()
    assert [found.instance_key for found, _ in journal.instances("trial", "studya")] == ["instance3"]
    assert journal.known("trial", "instance1") == Known("received1", "stored", "studya")
    assert journal.here("trial", "studya").held == {"instance1", "instance2", "instance3"}
    assert journal.segment_offsets() == {"trial/studya/aa.seg": 400}
    for near in ("trial/study/aa.seg", "trial/studyaa/aa.seg", "trial/studyb/aa.seg"):
        journal.stored(instance(4), location(4, near))
    journal.flush().result()
    assert journal.segment_offsets("trial", "studya") == {"trial/studya/aa.seg": 400}


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dicomnode.store.writer.LINGER", 60.0)
        journal = Journal.open(tmp_path / "journal.db")
        journal.stored(instance(), location())
        assert journal.backlog == 1
        journal.close()
    with pytest.raises(CannotKeep, match="closed"):
        journal.stored(instance(1), location(1))
    again = Journal.open(tmp_path / "journal.db")
    assert again.get_study("trial", "studya") == the_study()
    again.close()


def test_the_file_is_private_and_its_settings_are_safe(tmp_path: Path, journal: Journal) -> None:
    journal.stored(instance(), location()).result()
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path.name
    with journal._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"^journal\.db cannot be read: .*; move it away"):
        Journal.open(path)


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreDamaged, match="newer dicomnode"):
        Journal.open(path)


def test_a_locked_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnode.store.database.BUSY_SECONDS", 0.1)
    path = tmp_path / "journal.db"
    with sqlite3.connect(path, isolation_level=None) as connection:
        path.chmod(0o600)
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageLocked):
            Journal.open(path)


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotKeep):
        Journal.open(tmp_path / "missing" / "journal.db")
    with pytest.raises(CannotKeep, match="start the node once"):
        Journal.open(tmp_path / "journal.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_half_finished_migration_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    path = tmp_path / "journal.db"
    older.make(path, "journal", "0001")
    real = op.create_index

    def fail(name: str, *arguments: Any, **options: Any) -> None:
        if name == "event_waiting":
            raise KeyboardInterrupt
        real(name, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", fail)
        with pytest.raises(KeyboardInterrupt):
            Journal.open(path)
    journal = Journal.open(path)
    journal.stored(instance(), location()).result()
    journal.close()


def test_half_made_tables_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    with monkeypatch.context() as patch:
        patch.setattr(database, "REVISION", "CREATE TABLE nothing")
        with pytest.raises(CannotKeep):
            Journal.open(path)
    journal = Journal.open(path)
    journal.stored(instance(), location()).result()
    journal.close()


def test_a_fate_ends_the_waiting_once(journal: Journal) -> None:
    for number in range(3):
        journal.withheld(withheld(number))
    journal.end_withheld("trial", "quarantine0", Fate.RELEASED, 5000.0)
    for _ in range(2):
        journal.end_withheld("trial", "quarantine1", Fate.DISCARDED, 6000.0)
    journal.flush().result()
    assert journal.get_study("trial", "studya").withheld == 1
    assert journal.withheld_list() == [withheld(2)]
    assert journal.quarantine_ids() == {"quarantine2"}
    assert journal.ended_ids() == {"quarantine0": 1000.0, "quarantine1": 1001.0}
    assert journal.ended_list("trial") == [
        (withheld(0), Fate.RELEASED, 5000.0),
        (withheld(1), Fate.DISCARDED, 6000.0),
    ]
    assert journal.ended_list("other") == []
    here = journal.here("trial", "studya")
    assert (here.withheld, here.discarded) == ({"instance2"}, {"instance1"})


def test_what_comes_again_after_its_fate_waits_again(journal: Journal) -> None:
    journal.withheld(withheld(0))
    journal.end_withheld("trial", "quarantine0", Fate.DISCARDED, 5000.0)
    again = replace(withheld(0), received_at=7000.0, reason=Reason.TRUNCATED)
    for _ in range(2):
        journal.withheld(again)
    journal.flush().result()
    assert journal.withheld_list() == [again]
    assert journal.ended_ids() == {}
    assert journal.get_study("trial", "studya").withheld == 1
    journal.end_withheld("trial", "quarantine0", Fate.RELEASED, 8000.0).result()
    assert journal.get_study("trial", "studya").withheld == 0


def test_what_waits_for_a_destination(journal: Journal) -> None:
    for number in range(4):
        journal.stored(instance(number), location(number))
    journal.stored(instance(9, study="studyb"), location(9, "trial/studyb/aa.seg"))
    for study, destination, state in (
        ("studya", "research", DeliveryState.WAITING),
        ("studya", "archive", DeliveryState.SENT),
        ("studyb", "research", DeliveryState.SENDING),
    ):
        journal.delivery(Delivery("trial", study, destination, state, 3, 0.0, "", 0, 0))
    journal.sent("trial", "instance2", "research", 0, True, 1.0)
    journal.flush().result()
    assert journal.waiting(1003.0) == []
    assert journal.waiting(1003.5) == [Waiting("research", 1, 3, 300, 1003.0)]
    assert journal.waiting(2000.0) == [Waiting("research", 2, 4, 400, 1003.0)]


def test_an_instance_whose_record_is_gone_is_not_known_until_it_comes_again(journal: Journal) -> None:
    for number in range(3):
        journal.stored(instance(number), location(number))
    event = Event("instance-lost", 5.0, "trial", "studya", {"instance": "instance1"})
    journal.lose("trial", "instance1", location(1), event).result()
    journal.lose("trial", "instance1").result()
    journal.lose("trial", "instance2", location(7)).result()
    assert journal.known("trial", "instance1") is None
    assert journal.known("trial", "instance2") == Known("received2", "stored", "studya"), "another place was meant"
    assert journal.lost("trial", "studya") == {"instance1"}
    here = journal.here("trial", "studya")
    assert (here.held, here.lost, here.withheld) == ({"instance0", "instance2"}, {"instance1"}, set())
    assert journal.get_study("trial", "studya") == the_study(stored=2, last_at=1002.0)
    assert journal.events("trial", "studya") == [event]
    journal.stored(instance(1), location(1, "trial/studya/bb.seg")).result()
    assert journal.known("trial", "instance1") == Known("received1", "stored", "studya")
    assert journal.lost("trial", "studya") == set()
    assert journal.get_study("trial", "studya") == the_study(stored=3, last_at=1002.0)
    assert len(journal.instances("trial", "studya")) == 3


def test_only_what_lay_in_deleted_segments_loses_its_place(journal: Journal) -> None:
    journal.stored(instance(1), location(1))
    journal.stored(instance(2), location(0, "trial/studya/late.seg"))
    assert journal.flush().result() is None
    assert journal.placed_segments() == {"trial/studya/aa.seg": 200, "trial/studya/late.seg": 100}
    journal.forget_locations("trial", "studya", ["trial/studya/aa.seg"]).result()
    assert journal.instances("trial", "studya") == [(instance(2), location(0, "trial/studya/late.seg"))]
    assert journal.placed_segments() == {"trial/studya/late.seg": 100}
    assert journal.segment_offsets().keys() == {"trial/studya/aa.seg", "trial/studya/late.seg"}


def test_what_lies_in_a_run_of_a_segment_and_who_has_it(journal: Journal) -> None:
    for number in range(5):
        journal.stored(instance(number), location(number))
    segment = location().segment
    journal.sent("trial", "instance1", "research", 0, ok=True, at=1.0)
    journal.flush().result()
    assert [found[2] for found in journal.placed_in(segment, 0, 500)] == [False] * 5, "it was to go nowhere yet"
    for name in ("research", "archive"):
        journal.delivery(Delivery("trial", "studya", name, DeliveryState.SENDING, 0, 0.0, "", 0, 0)).result()
    journal.sent("trial", "instance2", "research", 0, ok=True, at=1.0)
    journal.sent("trial", "instance2", "archive", 0, ok=True, at=1.0)
    journal.sent("trial", "instance3", "research", 0, ok=True, at=1.0)
    journal.sent("trial", "instance3", "archive", 0xA900, ok=False, at=1.0)
    journal.flush().result()
    assert journal.placed_in(segment, 150, 350) == [
        (instance(1), location(1), False),
        (instance(2), location(2), True),
        (instance(3), location(3), False),
    ]
    assert journal.placed_in("trial/studya/other.seg", 0, 500) == []


def test_what_a_study_lacks_is_replaced_whole(journal: Journal) -> None:
    journal.stored(instance(1), location(1))
    journal.lacks("trial", "studya", Gap(2, frozenset({"b", "a"}))).result()
    assert journal.missing("trial", "studya") == Gap(2, frozenset({"a", "b"}))
    assert journal.get_study("trial", "studya") == the_study(missing=2, first_at=1001.0, last_at=1001.0)
    journal.lacks("trial", "studya", Gap(3)).result()
    assert journal.missing("trial", "studya") == Gap(3)
    assert journal.missing("trial", "none") == Gap()


def test_what_a_destination_does_not_have_after_all_is_unsent_again(journal: Journal) -> None:
    for number in range(3):
        journal.stored(instance(number), location(number))
        journal.sent("trial", f"instance{number}", "research", 0, ok=number < 2, at=1.0)
        journal.sent("trial", f"instance{number}", "archive", 0, ok=True, at=1.0)
    journal.flush().result()
    taken = journal.taken("trial", "studya", "research")
    assert taken == {instance(n).sop_uid: f"instance{n}" for n in range(2)}
    journal.untake("trial", "research", ["instance1"]).result()
    assert set(journal.taken("trial", "studya", "research").values()) == {"instance0"}
    assert [found.instance_key for found, _ in journal.unsent("trial", "studya", "research")] == ["instance1"]
    assert journal.unsent("trial", "studya", "archive") == []


def test_who_sent_a_study(journal: Journal) -> None:
    journal.stored(instance(1), location(1))
    journal.withheld(withheld(2))
    journal.flush().result()
    assert journal.senders("trial", "studya") == {instance(1).peer, withheld(2).peer}
    assert journal.senders("other", "studya") == set()


def test_a_study_is_settled_when_nothing_of_it_waits(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dicomnode.store.writer.LINGER", 60.0)
        journal = Journal.open(tmp_path / "journal.db")
        journal.stored(instance(1), location(1))
        assert journal.settle("trial", "other").done(), "what waits of another study is not hurried"
        assert not journal.get_study("trial", "studya")
        journal.settle("trial", "studya").result(5)
        assert journal.get_study("trial", "studya") == the_study(first_at=1001.0, last_at=1001.0)
        journal.withheld(withheld(9))
        journal.settle("trial", "studya").result(5)
        assert journal.quarantine_ids() == {"quarantine9"}
        journal.close()


def test_what_is_urgent_settles_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(tmp_path / "journal.db")
    journal.stored(instance(1), location(1)).result()
    apply, go = changes.lose_instances, threading.Event()

    def slow(connection: Any, rows: Any) -> None:
        assert go.wait(5)
        apply(connection, rows)

    monkeypatch.setattr(changes, "lose_instances", slow)
    journal.lose("trial", "instance1")
    settled = journal.settle("trial", "studya")
    assert not settled.done()
    go.set()
    settled.result(5)
    assert journal.lost("trial", "studya") == {"instance1"}
    journal.close()


def test_the_same_original_in_two_studies_keeps_both_from_being_settled(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dicomnode.store.writer.LINGER", 60.0)
        journal = Journal.open(tmp_path / "journal.db")
        journal.withheld(replace(withheld(1), instance_key="twin"))
        journal.withheld(replace(withheld(2, study="studyb"), instance_key="twin"))
        assert not journal.settle("trial", "studya").done()
        journal.settle("trial", "studya").result(5)
        assert journal.here("trial", "studya").withheld == {"twin"}
        assert journal.settle("trial", "studyb").done()
        assert not journal._lookup._waiting
        journal.close()


def test_places_that_former_versions_wrote_tell_no_bytes_of_values(journal: Journal) -> None:
    former = replace(withheld(1), where="(0008,1140)>(4F44,5E45)")
    journal.withheld(former).result()
    journal.end_withheld("trial", "quarantine1", Fate.DISCARDED, 5.0).result()
    journal.withheld(replace(former, quarantine="quarantine2", instance_key="instance2")).result()
    told = [*journal.withheld_list(), *(each for each, _, _ in journal.ended_list())]
    assert [each.where for each in told] == ["(0008,1140)>(unknown)"] * 2
    assert [each.facts["where"] for each in journal.events("trial", "studya")] == ["(0008,1140)>(unknown)"] * 2
