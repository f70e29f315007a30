"""Which instances are certainly new: nothing is said before every key was read, and never of one that is there."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from kept import instance, location

from dicomnode.store import absent
from dicomnode.store.absent import Absent
from dicomnode.store.journal import Journal


def keys(count: int) -> list[str]:
    return [secrets.token_hex(13) for _ in range(count)]


def enter(journal: Journal, number: int, key: str) -> None:
    journal.stored(replace(instance(number), instance_key=key), location(number))


def filled(path: Path, those: list[str]) -> None:
    journal = Journal.open(path)
    for number, key in enumerate(those):
        enter(journal, number, key)
    journal.close()


def learns(path: Path, count: int) -> tuple[Journal, threading.Thread]:
    """A journal of so many rows that is just being learnt."""
    filled(path, keys(count))
    journal = Journal.open(path)
    learning = threading.Thread(target=journal.learn)
    learning.start()
    return journal, learning


def certain(journal: Journal, key: str) -> bool:
    return journal._lookup._absent.certain(key)


def test_after_learning_new_keys_are_not_looked_up_and_old_ones_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absent, "PAGE", 7)
    old, new = keys(50), keys(1000)
    filled(tmp_path / "journal.db", old)
    journal = Journal.open(tmp_path / "journal.db")
    assert not any(certain(journal, key) for key in new), "nothing is certain before"
    journal.learn()
    assert not any(certain(journal, key) for key in old)
    assert sum(certain(journal, key) for key in new) > 980
    assert all(journal.known("trial", key) for key in old)
    assert not any(journal.known("trial", key) for key in new)
    journal.close()


def test_what_is_entered_while_it_learns_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absent, "PAGE", 1)
    journal, learning = learns(tmp_path / "journal.db", 40)
    entered = keys(200)
    for number, key in enumerate(entered, 100):
        enter(journal, number, key)
        time.sleep(0.001)
    learning.join()
    assert certain(journal, secrets.token_hex(13))
    assert not any(certain(journal, key) for key in entered)
    journal.flush().result()
    assert all(journal.known("trial", key) for key in entered)
    journal.close()


def test_threads_that_add_at_once_lose_nothing() -> None:
    filter, groups = Absent(), [keys(2000) for _ in range(4)]
    filter._complete = True

    def add(those: list[str]) -> None:
        for key in those:
            filter.add(key)

    threads = [threading.Thread(target=add, args=(group,)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(filter.certain(key) for group in groups for key in group)


def test_a_journal_that_is_closed_learns_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absent, "PAGE", 1)
    journal, learning = learns(tmp_path / "journal.db", 400)
    time.sleep(0.02)
    journal.close()
    learning.join(1)
    assert not learning.is_alive()
    assert not certain(journal, secrets.token_hex(13))


def test_what_cannot_be_read_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = keys(3)
    filled(tmp_path / "journal.db", old)
    journal = Journal.open(tmp_path / "journal.db")
    monkeypatch.setattr(absent, "_PAGE", "SELECT nothing FROM {} WHERE id > ? LIMIT ?")
    journal.learn()
    assert not certain(journal, secrets.token_hex(13))
    assert all(journal.known("trial", key) for key in old)
    journal.close()


def test_a_closed_journal_is_not_opened_again_to_learn(tmp_path: Path) -> None:
    filled(tmp_path / "journal.db", keys(3))
    journal = Journal.open(tmp_path / "journal.db")
    journal.close()
    journal.learn()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.db"]
