"""A study's life, without I/O or clock: one transition table, completeness by evidence, retry timing.

Times are monotonic seconds, passed in. Studies are known by (project, study key), never by association.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from dicomnode.model import StudyState as S


class Fact(StrEnum):
    """What can happen to a study."""

    ARRIVED = "arrived"
    COMPLETE = "complete"
    NOTHING_CLEAN = "nothing-clean"
    MISSING = "missing"
    SENDING = "sending"
    DELIVERED = "delivered"
    UNDELIVERABLE = "undeliverable"
    CONFIRMED = "confirmed"
    HELD = "held"
    RETRY = "retry"
    HOLD = "hold"
    FORWARD = "forward"
    CLOSE = "close"


# (state, fact) -> state. A pair that is not here leaves the study as it is.
TRANSITIONS: dict[tuple[S, Fact], S] = {
    (S.RECEIVING, Fact.COMPLETE): S.COMPLETE,
    (S.RECEIVING, Fact.NOTHING_CLEAN): S.WITHHELD,
    (S.RECEIVING, Fact.MISSING): S.INCOMPLETE,
    (S.INCOMPLETE, Fact.COMPLETE): S.COMPLETE,
    (S.COMPLETE, Fact.SENDING): S.FORWARDING,
    (S.COMPLETE, Fact.DELIVERED): S.FORWARDED,
    (S.FORWARDING, Fact.DELIVERED): S.FORWARDED,
    (S.FORWARDING, Fact.UNDELIVERABLE): S.FAILED,
    (S.FORWARDING, Fact.HELD): S.HELD,
    (S.FORWARDED, Fact.CONFIRMED): S.CONFIRMED,
    (S.FAILED, Fact.RETRY): S.COMPLETE,
    (S.HELD, Fact.RETRY): S.COMPLETE,
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


def amends(state: S, fact: Fact) -> bool:
    """True when a late instance reopens a study that has already gone out."""
    return fact is Fact.ARRIVED and state in SENT_ONCE


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What the source says it holds of a study: keys of its instances, or only a count; None: it cannot tell."""

    keys: frozenset[str] | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a study is complete and why; `missing` holds the keys the source has and the node has not."""

    fact: Fact
    evidence: str
    expected: int | None = None
    missing: frozenset[str] = frozenset()


def judge(
    held: frozenset[str],
    withheld: frozenset[str],
    quiet: float,
    answer: SourceAnswer | None,
    lost: frozenset[str] = frozenset(),
) -> Verdict:
    """Weigh what is here against what the source says it holds (nothing missing, or quiet alone).

    What was here and is `lost` is told; where nothing else is held it is missing, else the rest goes on.
    """
    here = held | withheld
    expected, missing, evidence = _weigh(here, quiet, answer)
    if lost:
        missing, evidence = missing if held else missing | lost, f"{evidence}, {len(lost)} lost here"
    if missing or (expected is not None and len(here) < expected):
        return Verdict(Fact.MISSING, evidence, expected, missing)
    return Verdict(Fact.COMPLETE if held else Fact.NOTHING_CLEAN, evidence, expected)


def _weigh(here: frozenset[str], quiet: float, answer: SourceAnswer | None) -> tuple[int | None, frozenset[str], str]:
    if answer is not None and answer.keys is not None:
        missing = answer.keys - here
        extra = len(here - answer.keys)
        evidence = f"source lists {len(answer.keys)}, {len(answer.keys) - len(missing)} here"
        return len(answer.keys), missing, evidence + (f", {extra} more than listed" if extra else "")
    if answer is not None and answer.count is not None:
        return answer.count, frozenset(), f"source counts {answer.count}, {len(here)} here"
    return None, frozenset(), f"quiet for {quiet:g} s, source not asked"


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
        first, study.grown, study.last = not study.grown, True, now
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
    return whole * (0.75 + 0.5 * jitter)


def fold(facts: Iterable[Fact], state: S = S.RECEIVING) -> S:
    """The state after a sequence of facts."""
    for fact in facts:
        state = after(state, fact)
    return state
