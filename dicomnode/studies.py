"""A study's life, without I/O or clock: one transition table, completeness by evidence, retry timing.

Times are monotonic seconds, passed in. Studies are known by (project, study key), never by association.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from dicomnode.model import StudyState as S


class Fact(StrEnum):
    """What can happen to a study."""

    ARRIVED = "arrived"
    COMPLETE = "complete"
    NOTHING_CLEAN = "nothing-clean"
    MISSING = "missing"
    LET_GO = "let-go"
    SENDING = "sending"
    DELIVERED = "delivered"
    UNDELIVERABLE = "undeliverable"
    CONFIRMED = "confirmed"
    HELD = "held"
    RETRY = "retry"
    HOLD = "hold"
    FORWARD = "forward"
    CLOSE = "close"
    PRACTISED = "practised"


# (state, fact) -> state. A pair that is not here leaves the study as it is.
TRANSITIONS: dict[tuple[S, Fact], S] = {
    (S.RECEIVING, Fact.COMPLETE): S.COMPLETE,
    (S.RECEIVING, Fact.NOTHING_CLEAN): S.WITHHELD,
    (S.RECEIVING, Fact.MISSING): S.INCOMPLETE,
    (S.INCOMPLETE, Fact.COMPLETE): S.COMPLETE,
    (S.INCOMPLETE, Fact.LET_GO): S.COMPLETE,
    (S.COMPLETE, Fact.SENDING): S.FORWARDING,
    (S.COMPLETE, Fact.HELD): S.HELD,
    (S.COMPLETE, Fact.PRACTISED): S.PRACTICE,
    (S.COMPLETE, Fact.DELIVERED): S.FORWARDED,
    (S.FORWARDING, Fact.DELIVERED): S.FORWARDED,
    (S.FORWARDING, Fact.UNDELIVERABLE): S.FAILED,
    (S.FORWARDING, Fact.HELD): S.HELD,
    (S.FORWARDED, Fact.CONFIRMED): S.CONFIRMED,
    (S.FORWARDED, Fact.UNDELIVERABLE): S.FAILED,  # it took what it does not hold
    (S.FORWARDED, Fact.HELD): S.HELD,
    (S.FAILED, Fact.RETRY): S.COMPLETE,
    (S.FAILED, Fact.DELIVERED): S.FORWARDED,  # the destination that refused it is one no longer
    (S.HELD, Fact.RETRY): S.COMPLETE,
    (S.HELD, Fact.DELIVERED): S.FORWARDED,
    (S.HELD, Fact.UNDELIVERABLE): S.FAILED,
    (S.INCOMPLETE, Fact.RETRY): S.RECEIVING,
    **{
        (state, Fact.HOLD): S.ON_HOLD
        for state in (S.RECEIVING, S.COMPLETE, S.FORWARDING, S.HELD, S.INCOMPLETE, S.FAILED)
    },
    **{(state, Fact.FORWARD): S.COMPLETE for state in (S.RECEIVING, S.ON_HOLD, S.INCOMPLETE, S.CLOSED)},
    **{(state, Fact.CLOSE): S.CLOSED for state in (S.RECEIVING, S.ON_HOLD, S.HELD, S.INCOMPLETE, S.WITHHELD, S.FAILED)},
    **{
        (state, Fact.ARRIVED): S.RECEIVING
        for state in (
            S.COMPLETE,
            S.FORWARDING,
            S.FORWARDED,
            S.CONFIRMED,
            S.INCOMPLETE,
            S.WITHHELD,
            S.FAILED,
            S.HELD,
            S.CLOSED,
            S.PRACTICE,
        )
    },
}

# What a person can do with a study, and what happens then.
DECISIONS: dict[Fact, str] = {
    Fact.RETRY: "what was refused or is missing is tried again",
    Fact.HOLD: "nothing of it is sent until a person lets it go on",
    Fact.FORWARD: "it is sent as it is, complete or not",
    Fact.CLOSE: "nothing more of it is sent or asked for, unless more of it comes",
}

SENT_ONCE = frozenset({S.FORWARDED, S.CONFIRMED})
REOPENED = frozenset(state for state, fact in TRANSITIONS if fact is Fact.ARRIVED)


def after(state: S, fact: Fact) -> S:
    """The state that follows a fact; the same state where the fact changes nothing."""
    return TRANSITIONS.get((state, fact), state)


class Verify(StrEnum):
    """What is asked of the source before a study counts as complete; each falls back on the next."""

    FIND = "find"
    COUNTS = "counts"
    QUIET = "quiet"


class Next(StrEnum):
    """What to do next about a study that is quiet."""

    ASK = "ask"
    ASK_LATER = "ask-later"
    FETCH_STUDY = "fetch-study"
    FETCH_SERIES = "fetch-series"
    FETCH_INSTANCES = "fetch-instances"
    JUDGE = "judge"


FETCHES = (Next.FETCH_SERIES, Next.FETCH_INSTANCES)
COUNTS_ALIKE = 2  # how often in a row a source must tell the same count before it is believed
LONGEST_PAUSE = 60.0
LONGEST = 1.25  # how many times the longest wait a wait can be, with its jitter


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What the source says it holds of a study: keys of its instances, or only a count; None: it cannot tell."""

    keys: frozenset[str] | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """What the source has and the node has not: how many, and their keys where the source lists them."""

    count: int = 0
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Here:
    """Keys of a study's instances: clean, sealed, discarded by a person, and lost since they came.

    `barred` are clean ones that are kept back because another of their series or study failed the rules' conditions.
    """

    held: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()
    discarded: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    barred: frozenset[str] = frozenset()

    @property
    def may_go(self) -> frozenset[str]:
        """The clean ones that are not kept back."""
        return self.held - self.barred

    @property
    def count(self) -> int:
        """How many are here."""
        return len(self.held | self.withheld)

    def gap(self, answer: SourceAnswer | None) -> Gap:
        """What is missing by this answer; what a person has discarded is not."""
        if answer is not None and answer.keys is not None:
            missing = answer.keys - self.held - self.withheld - self.discarded
            return Gap(len(missing), missing)
        told = answer.count if answer is not None else None
        return Gap(max(0, (told or 0) - self.count - len(self.discarded)))


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What was learnt of a quiet study beside its instances; each fact makes a new one.

    `unasked` says why there is no (new) answer, `over` that there will be none, `trouble` how a fetch failed.
    """

    answer: SourceAnswer | None = None
    alike: int = 0
    asked: int = 0
    unasked: str = ""
    over: bool = False
    fetched: int = 0
    trouble: str = ""

    def heard(self, answer: SourceAnswer) -> Inquiry:
        """The source answered."""
        alike = self.alike + 1 if answer == self.answer else 1
        return replace(self, answer=answer, alike=alike, asked=self.asked + 1, unasked="")

    def unanswered(self, why: str, *, for_good: bool) -> Inquiry:
        """The source could not be asked, now or `for_good`."""
        return replace(self, asked=self.asked + 1, unasked=why, over=for_good)

    def fetched_once(self, trouble: str = "") -> Inquiry:
        """What was missing has been asked for, and what came has come."""
        return replace(self, fetched=self.fetched + 1, trouble=trouble)

    def pause(self, quiet: float) -> float:
        """Seconds until the source is asked again: the quiet time, doubling."""
        return min(LONGEST_PAUSE, quiet * 2.0 ** max(0, self.asked - 1))

    def next(self, here: Here, waited: float, patience: float, in_vain: Gap) -> Next:
        """What to do now, `waited` seconds after the inquiry began; what was asked for `in_vain` is not fetched."""
        asking = not self.over and waited < patience
        if self.answer is None:
            return Next.JUDGE if self.over or (self.asked and not asking) else self._ask()
        if self.answer.keys is None and asking and self.alike < COUNTS_ALIKE:
            return self._ask()
        gap = here.gap(self.answer)
        if not gap.count or gap == in_vain:
            return Next.JUDGE
        if self.answer.keys is None:
            return Next.JUDGE if self.fetched else Next.FETCH_STUDY
        return FETCHES[self.fetched] if self.fetched < len(FETCHES) else Next.JUDGE

    def _ask(self) -> Next:
        return Next.ASK_LATER if self.asked else Next.ASK


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a study is complete and why; `gap` is what the source has and the node has not."""

    fact: Fact
    evidence: str
    expected: int | None = None
    gap: Gap = Gap()


def judge(here: Here, quiet: float, inquiry: Inquiry) -> Verdict:
    """Weigh what is here against what the source says it holds (nothing missing, or quiet alone).

    What was here and is lost is told; where nothing else is held it is missing, else the rest goes on.
    """
    gap, answer = here.gap(inquiry.answer), inquiry.answer
    expected = None if answer is None else answer.count if answer.keys is None else len(answer.keys)
    if here.lost and not here.held and not gap.keys >= here.lost:
        gap = Gap(gap.count + len(here.lost - gap.keys), gap.keys | here.lost)
    evidence = ", ".join(_reasons(here, quiet, inquiry, gap))
    if gap.count:
        return Verdict(Fact.MISSING, evidence, expected, gap)
    return Verdict(Fact.COMPLETE if here.may_go else Fact.NOTHING_CLEAN, evidence, expected)


def _reasons(here: Here, quiet: float, inquiry: Inquiry, gap: Gap) -> Iterator[str]:
    answer = inquiry.answer
    if answer is not None and answer.keys is not None:
        ours = here.held | here.withheld
        yield f"source lists {len(answer.keys)}"
        yield f"{len(answer.keys & ours)} here"
        if ours - answer.keys:
            yield f"{len(ours - answer.keys)} more than listed"
    elif answer is not None and answer.count is not None:
        yield f"source counts {answer.count}"
        yield f"{here.count} here"
    else:
        yield f"quiet for {quiet:g} s"
    if here.barred:
        yield f"{len(here.barred)} kept back by conditions of the rules"
    if here.discarded:
        yield f"{len(here.discarded)} discarded"
    if here.lost:
        yield f"{len(here.lost)} lost here"
    if gap.count and inquiry.fetched:
        yield "asked for again in vain" + (f" ({inquiry.trouble})" if inquiry.trouble else "")
    if inquiry.unasked:
        yield inquiry.unasked
    elif answer is None:
        yield "source not asked"


@dataclass(slots=True)
class _Open:
    last: float
    quiet: float
    associations: set[int] = field(default_factory=set)
    moves: int = 0
    grown: bool = False


Key = tuple[str, str]


class OpenStudies:
    """The studies that are arriving; says which have been quiet long enough to be judged."""

    def __init__(self) -> None:
        self._open: dict[Key, _Open] = {}
        self._carries: dict[int, set[Key]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def arrived(self, key: Key, association: int | None, quiet: float, now: float) -> bool:
        """Note an arrival; True when it is the first since the study was opened, be it by a C-MOVE."""
        study = self._open.setdefault(key, _Open(now, quiet))
        first, study.grown, study.last, study.quiet = not study.grown, True, now, quiet
        if association is not None and association not in study.associations:
            study.associations.add(association)
            self._carries.setdefault(association, set()).add(key)
        return first

    def heard(self, key: Key, now: float) -> None:
        """An instance came that is here already: the study does not grow, but is not quiet either."""
        study = self._open.get(key)
        if study is not None:
            study.last = now

    def association_closed(self, association: int) -> None:
        """An association that ended carries nothing any more."""
        for key in self._carries.pop(association, ()):
            study = self._open.get(key)
            if study is not None:
                study.associations.discard(association)

    def move_started(self, key: Key, quiet: float, now: float) -> None:
        """A C-MOVE for the study runs: it is not judged before the move has ended."""
        self._open.setdefault(key, _Open(now, quiet)).moves += 1

    def move_ended(self, key: Key, now: float) -> None:
        """A C-MOVE for the study ended; the quiet time starts again, for stores may still be under way."""
        study = self._open.get(key)
        if study is not None:
            study.moves = max(0, study.moves - 1)
            study.last = now

    def still(self, key: Key, now: float) -> bool:
        """Whether a study that is due has stayed so, but for the one C-MOVE or inquiry that holds it now."""
        study = self._open.get(key)
        return study is not None and not study.associations and study.moves <= 1 and now - study.last >= study.quiet

    def last_arrival(self, key: Key) -> float | None:
        """When an instance of the study last came, or None when it is not open."""
        study = self._open.get(key)
        return None if study is None else study.last

    def idle_association(self, association: int, key: Key) -> None:
        """The association has moved on to another study and no longer carries this one."""
        study = self._open.get(key)
        if study is not None:
            study.associations.discard(association)
        self._carries.get(association, set()).discard(key)

    def due(self, now: float) -> list[Key]:
        """The studies that nothing carries and that were quiet for their time; they stay open until closed."""
        return [
            key
            for key, study in self._open.items()
            if not study.associations and not study.moves and now - study.last >= study.quiet
        ]

    def close(self, key: Key) -> None:
        """The study has been judged."""
        study = self._open.pop(key, None)
        if study is not None:
            for association in study.associations:
                self._carries.get(association, set()).discard(key)


def backoff(attempts: int, first: float, most: float, jitter: float) -> float:
    """Seconds until the next attempt after `attempts` failures: doubling up to `most`; jitter is in [0, 1)."""
    whole = min(most, first * 2.0 ** min(attempts - 1, 30)) if attempts > 0 else 0.0
    return whole * (0.75 + (LONGEST - 0.75) * jitter)


def fold(facts: Iterable[Fact], state: S = S.RECEIVING) -> S:
    """The state after a sequence of facts."""
    for fact in facts:
        state = after(state, fact)
    return state
