"""The study's life: the transition table, completeness, and who carries a study."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.model import StudyState
from dicomnode.studies import (
    DECISIONS,
    TRANSITIONS,
    Fact,
    OpenStudies,
    after,
    backoff,
    fold,
)

KEY = ("default", "study")


def test_a_study_goes_from_receiving_to_confirmed() -> None:
    facts = [Fact.COMPLETE, Fact.SENDING, Fact.DELIVERED, Fact.CONFIRMED]
    assert fold(facts) is StudyState.CONFIRMED


@given(st.lists(st.sampled_from(list(Fact))))
def test_no_order_of_facts_confirms_what_was_not_delivered_since_the_last_arrival(facts: list[Fact]) -> None:
    state, delivered = StudyState.RECEIVING, False
    for fact in facts:
        state = after(state, fact)
        if fact is Fact.ARRIVED:
            delivered = False
        elif fact is Fact.DELIVERED and state is StudyState.FORWARDED:
            delivered = True
        if state in (StudyState.FORWARDED, StudyState.CONFIRMED):
            assert delivered


@given(st.lists(st.sampled_from(list(Fact))))
def test_an_arrival_always_reopens_but_not_what_a_person_holds(facts: list[Fact]) -> None:
    state = fold(facts)
    expected = state if state is StudyState.ON_HOLD else StudyState.RECEIVING
    assert after(state, Fact.ARRIVED) is expected


@given(st.lists(st.sampled_from(list(Fact))))
def test_what_a_person_holds_stays_until_a_person_decides(facts: list[Fact]) -> None:
    nobody = [fact for fact in facts if fact not in (Fact.FORWARD, Fact.CLOSE)]
    assert fold(nobody, StudyState.ON_HOLD) is StudyState.ON_HOLD


@given(st.lists(st.sampled_from(list(Fact))))
def test_what_a_person_closed_goes_nowhere_unless_more_comes(facts: list[Fact]) -> None:
    silent = [fact for fact in facts if fact not in (Fact.FORWARD, Fact.ARRIVED)]
    assert fold(silent, StudyState.CLOSED) is StudyState.CLOSED


@given(st.lists(st.sampled_from(list(Fact))), st.sampled_from(list(DECISIONS)))
def test_a_decision_never_counts_as_delivery(facts: list[Fact], decision: Fact) -> None:
    before = fold(facts)
    state = after(before, decision)
    assert state is before or state not in (StudyState.FORWARDING, StudyState.FORWARDED, StudyState.CONFIRMED)


def test_the_table_names_only_known_states_and_facts() -> None:
    assert all(isinstance(s, StudyState) and isinstance(f, Fact) for s, f in TRANSITIONS)


def test_a_study_is_due_when_quiet_and_not_before() -> None:
    studies = OpenStudies()
    assert studies.arrived(KEY, None, 10, now=100)
    assert not studies.arrived(KEY, None, 10, now=105)
    assert studies.due(114.9) == []
    assert studies.due(115) == [KEY]


def test_an_open_association_that_carries_it_keeps_a_study_open() -> None:
    studies = OpenStudies()
    studies.arrived(KEY, 1, 10, now=0)
    studies.arrived(KEY, 2, 10, now=0)
    studies.association_closed(1)
    assert studies.due(1000) == []
    studies.association_closed(2)
    assert studies.due(1000) == [KEY]


def test_an_association_that_moved_on_carries_it_no_longer() -> None:
    studies = OpenStudies()
    studies.arrived(KEY, 1, 10, now=0)
    studies.idle_association(1, KEY)
    assert studies.due(10) == [KEY]


def test_a_running_move_keeps_a_study_open_and_its_end_starts_the_quiet_time() -> None:
    studies = OpenStudies()
    studies.move_started(KEY, 10, now=0)
    assert studies.due(1000) == []
    studies.move_ended(KEY, now=1000)
    assert studies.due(1009) == []
    assert studies.due(1010) == [KEY]


def test_a_duplicate_is_a_sign_of_life_but_opens_nothing() -> None:
    studies = OpenStudies()
    studies.heard(KEY, now=0)
    assert studies.last_arrival(KEY) is None
    studies.move_started(KEY, 10, now=0)
    studies.heard(KEY, now=500)
    assert studies.last_arrival(KEY) == 500
    assert studies.arrived(KEY, None, 10, now=501)


def test_a_closed_study_is_forgotten() -> None:
    studies = OpenStudies()
    studies.arrived(KEY, 1, 10, now=0)
    studies.close(KEY)
    studies.association_closed(1)
    assert len(studies) == 0
    assert studies.due(1000) == []


@pytest.mark.parametrize(("attempts", "least", "most"), [(0, 0, 0), (1, 3.75, 6.25), (2, 7.5, 12.5), (50, 675, 1125)])
def test_backoff_doubles_up_to_its_limit(attempts: int, least: float, most: float) -> None:
    assert backoff(attempts, 5, 900, 0.0) == pytest.approx(least)
    assert backoff(attempts, 5, 900, 1.0) == pytest.approx(most)


def test_the_first_arrival_of_a_move_is_told_as_one_that_may_reopen() -> None:
    studies = OpenStudies()
    studies.move_started(KEY, 10, now=0)
    assert studies.arrived(KEY, 1, 10, now=1)
    assert not studies.arrived(KEY, 1, 10, now=2)
