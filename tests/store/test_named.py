"""The study that a person names: its key, or how it begins; a UID that was retained only whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kept import KEYS, instance, location

from dicomnode.desk import find_study
from dicomnode.errors import PermanentError
from dicomnode.store.journal import Journal

RETAINED = "1.2.826.0.1.3680043.10.5"
MADE = "2.25.123456789012345678901234567890"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.db")
    yield opened
    opened.close()


def hold(journal: Journal, number: int, key: str, uid: str) -> None:
    held = replace(instance(number, study=key), study_uid=uid)
    journal.stored(held, location(number, f"trial/{key}/aa.seg")).result()


def named(journal: Journal, name: str) -> str:
    return find_study(journal, name, None, {"trial": KEYS}).study_key


def test_a_uid_that_goes_on_is_another_study(journal: Journal) -> None:
    hold(journal, 1, "longer", f"{RETAINED}.10")
    with pytest.raises(PermanentError, match="no study begins so"):
        named(journal, f"{RETAINED}.1")
    hold(journal, 2, "whole", f"{RETAINED}.1")
    assert named(journal, f"{RETAINED}.1") == "whole"
    assert named(journal, f"{RETAINED}.10") == "longer"


def test_how_a_key_or_a_uid_of_ours_begins(journal: Journal) -> None:
    hold(journal, 1, "abcdef", MADE)
    hold(journal, 2, "abcxyz", f"{MADE}7")
    assert named(journal, "abcd") == "abcdef"
    assert named(journal, MADE) == "abcdef"
    with pytest.raises(PermanentError, match="2 studies begin so"):
        named(journal, MADE[:-1])
    assert named(journal, f"{MADE}7") == "abcxyz"


def test_the_whole_uid_that_it_has_at_the_source(journal: Journal) -> None:
    hold(journal, 1, KEYS.journal_key("study", f"{RETAINED}.3"), MADE)
    assert named(journal, f"{RETAINED}.3") == KEYS.journal_key("study", f"{RETAINED}.3")
    with pytest.raises(PermanentError, match="no study begins so"):
        named(journal, RETAINED)
