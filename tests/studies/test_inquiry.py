"""Completeness by evidence: what is asked and fetched, in which order, and what the verdict says."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dicomnode.model import StudyState
from dicomnode.studies import FETCHES, Fact, Gap, Here, Inquiry, Next, SourceAnswer, after, judge

PATIENCE = 300.0
NOTHING = Gap()


def here(held: str = "", withheld: str = "", discarded: str = "", lost: str = "") -> Here:
    return Here(*(frozenset(keys) for keys in (held, withheld, discarded, lost)))


def lists(keys: str) -> SourceAnswer:
    return SourceAnswer(frozenset(keys), len(keys))


def step(inquiry: Inquiry, mine: Here, waited: float = 0.0, in_vain: Gap = NOTHING) -> Next:
    return inquiry.next(mine, waited, PATIENCE, in_vain)


def test_nothing_missing_is_complete_and_extras_are_noted() -> None:
    inquiry = Inquiry().heard(lists("abd"))
    assert step(inquiry, here("abc", "d")) is Next.JUDGE
    verdict = judge(here("abc", "d"), 60, inquiry)
    assert verdict.fact is Fact.COMPLETE
    assert verdict.evidence == "source lists 3, 3 here, 1 more than listed"


def test_what_is_missing_is_fetched_by_series_then_by_instance_then_listed() -> None:
    inquiry = Inquiry()
    assert step(inquiry, here("a")) is Next.ASK
    inquiry = inquiry.heard(lists("abc"))
    assert step(inquiry, here("a")) is Next.FETCH_SERIES
    inquiry = inquiry.fetched_once()
    assert step(inquiry, here("a")) is Next.FETCH_INSTANCES
    inquiry = inquiry.fetched_once("the source is out of resources")
    assert step(inquiry, here("a")) is Next.JUDGE
    verdict = judge(here("a"), 60, inquiry)
    assert (verdict.fact, verdict.expected, verdict.gap) == (Fact.MISSING, 3, Gap(2, frozenset("bc")))
    assert verdict.evidence == "source lists 3, 1 here, asked for again in vain (the source is out of resources)"


def test_what_was_fetched_in_vain_before_is_not_fetched_again_until_the_gap_changes() -> None:
    inquiry = Inquiry().heard(lists("abc"))
    assert step(inquiry, here("a"), in_vain=Gap(2, frozenset("bc"))) is Next.JUDGE
    assert step(inquiry, here("ab"), in_vain=Gap(2, frozenset("bc"))) is Next.FETCH_SERIES


def test_a_count_is_asked_twice_before_it_is_believed() -> None:
    inquiry = Inquiry().heard(SourceAnswer(count=2))
    assert step(inquiry, here("ab")) is Next.ASK_LATER
    assert step(inquiry.heard(SourceAnswer(count=3)), here("ab")) is Next.ASK_LATER, "it still grows"
    inquiry = inquiry.heard(SourceAnswer(count=2))
    assert step(inquiry, here("ab")) is Next.JUDGE
    assert judge(here("ab"), 60, inquiry).evidence == "source counts 2, 2 here"
    assert step(inquiry, here("a")) is Next.FETCH_STUDY
    assert step(inquiry.fetched_once(), here("a")) is Next.JUDGE
    assert judge(here("a"), 60, inquiry).gap == Gap(1)


def test_a_count_that_is_never_the_same_holds_nothing_for_ever() -> None:
    inquiry = Inquiry().heard(SourceAnswer(count=2)).heard(SourceAnswer(count=3))
    assert step(inquiry, here("ab"), waited=PATIENCE) is Next.FETCH_STUDY
    assert judge(here("abc"), 60, inquiry).fact is Fact.COMPLETE


def test_a_source_that_is_away_is_asked_again_and_holds_nothing_for_ever() -> None:
    inquiry = Inquiry().unanswered("the source could not be asked: away", for_good=False)
    assert step(inquiry, here("a"), waited=PATIENCE - 1) is Next.ASK_LATER
    assert step(inquiry, here("a"), waited=PATIENCE) is Next.JUDGE
    verdict = judge(here("a"), 60, inquiry)
    assert (verdict.fact, verdict.evidence) == (
        Fact.COMPLETE,
        "quiet for 60 s, the source could not be asked: away",
    )
    assert step(Inquiry().unanswered("it does not do C-FIND", for_good=True), here("a")) is Next.JUDGE


def test_a_source_is_asked_at_least_once_however_short_the_patience() -> None:
    assert Inquiry().next(here("a"), 5.0, 1.0, NOTHING) is Next.ASK


def test_pauses_double_from_the_quiet_time_up_to_a_minute() -> None:
    inquiry, pauses = Inquiry(), []
    for _ in range(5):
        inquiry = inquiry.unanswered("away", for_good=False)
        pauses.append(inquiry.pause(10))
    assert pauses == [10, 20, 40, 60, 60]


def test_quiet_alone_says_so() -> None:
    assert step(Inquiry(over=True), here("a")) is Next.JUDGE
    verdict = judge(here("a"), 60, Inquiry(over=True))
    assert (verdict.fact, verdict.evidence) == (Fact.COMPLETE, "quiet for 60 s, source not asked")


def test_a_study_with_nothing_clean_is_withheld() -> None:
    assert judge(here("", "a"), 60, Inquiry(over=True)).fact is Fact.NOTHING_CLEAN


def test_what_a_person_discarded_is_neither_here_nor_missing() -> None:
    for answer in (lists("abc"), SourceAnswer(count=3)):
        inquiry = Inquiry().heard(answer).heard(answer)
        assert step(inquiry, here("ab", "", "c")) is Next.JUDGE
        verdict = judge(here("ab", "", "c"), 60, inquiry)
        assert (verdict.fact, verdict.gap) == (Fact.COMPLETE, NOTHING)
        assert verdict.evidence.endswith("3, 2 here, 1 discarded")


def test_what_was_here_and_is_lost_is_missing() -> None:
    over = Inquiry(over=True)
    assert judge(here("a", lost="b"), 60, over).fact is Fact.COMPLETE
    verdict = judge(here(lost="b"), 60, over)
    assert (verdict.fact, verdict.gap) == (Fact.MISSING, Gap(1, frozenset("b")))
    assert verdict.evidence == "quiet for 60 s, 1 lost here, source not asked"
    listed = Inquiry().heard(lists("ab"))
    assert step(listed, here("a", lost="b")) is Next.FETCH_SERIES, "what the source still has is fetched again"


# Random orders of facts.

KEYS = "abcdef"
some = st.frozensets(st.sampled_from(KEYS))
answers = st.one_of(
    st.builds(SourceAnswer, some.filter(bool), st.none()),
    st.builds(SourceAnswer, st.none(), st.integers(1, 8)),
)
facts = st.one_of(
    st.tuples(st.just("arrive"), some),
    st.tuples(st.just("withhold"), some),
    st.tuples(st.just("discard"), some),
    st.tuples(st.just("lose"), some),
    st.tuples(st.just("heard"), answers),
    st.tuples(st.just("away"), st.booleans()),
    st.tuples(st.just("fetched"), st.sampled_from(["", "trouble"])),
)


def befall(mine: Here, inquiry: Inquiry, fact: str, value: object) -> tuple[Here, Inquiry]:
    match fact, value:
        case "arrive", frozenset():
            mine = replace(mine, held=mine.held | value, lost=mine.lost - value)
        case "withhold", frozenset():
            mine = replace(mine, withheld=mine.withheld | value, discarded=mine.discarded - value)
        case "discard", frozenset():
            gone = value & mine.withheld
            mine = replace(mine, withheld=mine.withheld - gone, discarded=mine.discarded | gone - mine.held)
        case "lose", frozenset():
            mine = replace(mine, held=mine.held - value, lost=mine.lost | value & mine.held)
        case "heard", SourceAnswer():
            inquiry = inquiry.heard(value)
        case "away", bool():
            inquiry = inquiry.unanswered("away", for_good=value)
        case "fetched", str():
            inquiry = inquiry.fetched_once(value)
    return mine, inquiry


@given(st.lists(facts), st.booleans())
def test_no_order_of_facts_makes_complete_what_the_source_says_is_missing(
    happened: list[tuple[str, object]], goes: bool
) -> None:
    mine, inquiry = Here(), Inquiry()
    for fact, value in happened:
        mine, inquiry = befall(mine, inquiry, fact, value)
    verdict = judge(mine, 60, inquiry)
    answer = inquiry.answer
    known = mine.held | mine.withheld | mine.discarded
    if answer is not None and answer.keys is not None:
        assert (verdict.fact is Fact.MISSING) == bool(answer.keys - known or (mine.lost and not mine.held))
        assert answer.keys - known <= verdict.gap.keys
    if verdict.fact is Fact.COMPLETE:
        assert mine.held
        assert not verdict.gap.count
    state = after(StudyState.RECEIVING, verdict.fact)
    assert (state is StudyState.INCOMPLETE) == bool(verdict.gap.count)
    if goes:
        state = after(state, Fact.LET_GO)
    assert state in (StudyState.COMPLETE, StudyState.INCOMPLETE, StudyState.WITHHELD)
    assert (state is StudyState.COMPLETE) == (verdict.fact is Fact.COMPLETE or (goes and bool(verdict.gap.count)))


@given(st.lists(facts), st.lists(answers, min_size=1), st.lists(some), st.data())
def test_every_inquiry_ends_after_few_fetches_whatever_the_source_does(
    before: list[tuple[str, object]], told: list[SourceAnswer], come: list[frozenset[str]], data: st.DataObject
) -> None:
    mine, inquiry, waited, fetches = Here(), Inquiry(), 0.0, 0
    for fact, value in before:
        if fact in ("arrive", "withhold", "discard", "lose"):
            mine, inquiry = befall(mine, inquiry, fact, value)
    for _ in range(100):
        wanted = inquiry.next(mine, waited, PATIENCE, NOTHING)
        if wanted is Next.JUDGE:
            break
        if wanted in (Next.ASK, Next.ASK_LATER):
            waited += inquiry.pause(10) if wanted is Next.ASK_LATER else 0
            if data.draw(st.booleans(), "answers"):
                inquiry = inquiry.heard(data.draw(st.sampled_from(told), "answer"))
            else:
                inquiry = inquiry.unanswered("away", for_good=False)
            continue
        fetches += 1
        if come:
            mine = replace(mine, held=mine.held | data.draw(st.sampled_from(come), "come"))
        inquiry = inquiry.fetched_once()
    assert inquiry.next(mine, waited, PATIENCE, NOTHING) is Next.JUDGE
    assert fetches <= len(FETCHES)
