"""C-FIND, C-MOVE and C-ECHO as an SCU, through pynetdicom. Everything here blocks: call it in a thread.

What is asked for and found is identified; it must not be logged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydicom.dataset import Dataset

from dicomnode.dimse.lines import Lines
from dicomnode.dimse.session import Session
from dicomnode.dimse.syntaxes import FIND, MOVE, VERIFICATION
from dicomnode.errors import PeerUnreachable, PermanentError, TransientError
from dicomnode.model import Peer

SILENCE = 60.0
MOVE_SILENCE = 600.0

_MOST_MATCHES = 250_000
_LONGEST_LIST = 600.0  # seconds that a source may take to list one study
_STALLED = 6  # times `silence` that pending responses of a C-MOVE are believed while nothing else happens
_MOST_IN_LIST = 500
_LONGEST_NUMBER = 12  # characters of an IS, PS3.5 6.2
_MOST_INSTANCES = 10**9
_CANNOT = frozenset({0x0122, 0xA900})
_BUSY = frozenset({0xA700, 0xA701, 0xA702, 0x0110, 0x0213})


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """One match of a C-FIND; identified. `count` is the number of related instances, where the source told it."""

    study_uid: str
    series_uid: str = ""
    sop_uid: str = ""
    modality: str = ""
    count: int | None = None


@dataclass(frozen=True)
class FoundStudy:
    """A study that matches what was asked for; identified. `modalities` as told, joined; empty where not told."""

    uid: str
    accession: str
    patient: str
    date: str
    modalities: str


@dataclass(frozen=True)
class Moved:
    """A C-MOVE response (PS3.4 C.4.2): status, sub-operation counts where told, and words for people."""

    status: int
    remaining: int | None
    completed: int | None
    failed: int | None
    warning: int | None
    text: str

    @property
    def pending(self) -> bool:
        """Whether more responses follow."""
        return self.status in (0xFF00, 0xFF01)


class _CannotAnswer(Exception):
    """The peer does not do this level or model."""


def _asked(peer: Peer, calling: str, work: Callable[[Session], T], silence: float, lines: Lines | None) -> T:
    """What C-FINDs on one association bring: on one of `lines`, else on one of its own."""
    if lines is not None:
        return lines.use(peer, calling, FIND, work, silence)
    with Session(peer, calling, [FIND], silence) as session:
        return work(session)


def _studies(session: Session, keys: Dataset, pick: Callable[[Dataset], T | None]) -> list[T]:
    """What a C-FIND at STUDY level finds; a source that cannot answer that is of no use."""
    try:
        return _find(session, keys, pick)
    except _CannotAnswer as error:
        hint = "have it allow study root C-FIND"
        raise PermanentError(f"{session.peer.name} cannot answer C-FIND: {error}", hint) from None


def find_study(
    peer: Peer, calling: str, study_uid: str, *, silence: float = SILENCE, lines: Lines | None = None
) -> Found | None:
    """The study as the source knows it, or None. Raises PeerUnreachable, PeerRejected, Transient- or PermanentError."""
    keys = _keys("STUDY", study_uid, NumberOfStudyRelatedInstances="", ModalitiesInStudy="")

    def work(session: Session) -> list[Found]:
        return _studies(session, keys, lambda match: _counted(match, study_uid))

    matches = _asked(peer, calling, work, silence, lines)
    return matches[0] if matches else None


def _counted(match: Dataset, study_uid: str) -> Found | None:
    if _text(match, "StudyInstanceUID") != study_uid:
        return None
    count = _count(match, "NumberOfStudyRelatedInstances")
    return Found(study_uid, modality=_text(match, "ModalitiesInStudy"), count=count)


def find_studies(
    peer: Peer, calling: str, *, accession: str = "", patient: str = "", dates: str = "", silence: float = SILENCE
) -> list[FoundStudy]:
    """The studies with all of these values, dates as YYYYMMDD or a range; each once. Some sources match loosely:
    what comes with another value is left out.

    Raises PeerUnreachable, PeerRejected, Transient- or PermanentError.
    """
    asked = {"AccessionNumber": accession, "PatientID": patient}
    told = dict.fromkeys(("ModalitiesInStudy", "NumberOfStudyRelatedInstances"), "")
    keys = _keys("STUDY", "", StudyDate=dates, **asked, **told)
    found = _asked(peer, calling, lambda session: _studies(session, keys, _study), silence, None)
    fit = (s for s in found if s.uid and (not accession or s.accession == accession))
    return list({s.uid: s for s in fit if not patient or s.patient == patient}.values())


def _study(match: Dataset) -> FoundStudy:
    return FoundStudy(
        _text(match, "StudyInstanceUID").strip(),
        _text(match, "AccessionNumber").strip(),
        _text(match, "PatientID").strip(),
        _text(match, "StudyDate").strip(),
        _text(match, "ModalitiesInStudy"),
    )


def find_modalities(peer: Peer, calling: str, study_uid: str, *, silence: float = SILENCE) -> frozenset[str]:
    """The modalities of a study's series; none where the source does not tell. Raises as find_study."""
    with Session(peer, calling, [FIND], silence) as session:
        try:
            keys = _keys("SERIES", study_uid, SeriesInstanceUID="", Modality="")
            found = _find(session, keys, lambda match: _series(match, study_uid))
        except _CannotAnswer:
            return frozenset()
    return frozenset(series.modality.strip().upper() for series in found) - {""}


def find_instances(
    peer: Peer, calling: str, study_uid: str, *, silence: float = SILENCE, lines: Lines | None = None
) -> list[Found] | None:
    """Every instance that the source says the study holds; None where it cannot list them all at IMAGE level.

    Raises PeerUnreachable, PeerRejected, TransientError.
    """

    def work(session: Session) -> list[Found] | None:
        try:
            return _listed(session, study_uid)
        except _CannotAnswer:
            return None

    return _asked(peer, calling, work, silence, lines)


def _listed(session: Session, study_uid: str) -> list[Found] | None:
    """All instances of the study; None where it does not list all that it counts."""
    found: dict[str, Found] = {}
    keys = _keys("SERIES", study_uid, SeriesInstanceUID="", Modality="", NumberOfSeriesRelatedInstances="")
    for series in dict.fromkeys(_find(session, keys, lambda match: _series(match, study_uid))):
        images = _images(session, series) if series.series_uid else {}
        if not series.series_uid or (not images and series.count is None) or len(images) < (series.count or 0):
            return None
        found |= images
        if len(found) > _MOST_MATCHES:
            raise _endless(session)
    return list(found.values())


def _series(match: Dataset, study_uid: str) -> Found | None:
    """A series of this study: who does not say of which study a match is was asked for no other."""
    if not _is(match, "StudyInstanceUID", study_uid):
        return None
    count = _count(match, "NumberOfSeriesRelatedInstances")
    return Found(study_uid, _text(match, "SeriesInstanceUID"), modality=_text(match, "Modality"), count=count)


def _images(session: Session, series: Found) -> dict[str, Found]:
    """The instances of one series by their UID."""

    def image(match: Dataset) -> str:
        uids = {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.series_uid}
        of_series = all(_is(match, keyword, uid) for keyword, uid in uids.items())
        return _text(match, "SOPInstanceUID") if of_series else ""

    keys = _keys("IMAGE", series.study_uid, SeriesInstanceUID=series.series_uid, SOPInstanceUID="")
    return {
        uid: Found(series.study_uid, series.series_uid, uid, series.modality)
        for uid in _find(session, keys, lambda match: image(match) or None)
    }


def _is(match: Dataset, keyword: str, uid: str) -> bool:
    return _text(match, keyword) in ("", uid)


def _keys(level: str, study_uid: str, **others: str | list[str]) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = level
    keys.StudyInstanceUID = study_uid
    for keyword, value in others.items():
        setattr(keys, keyword, value)
    return keys


def _text(match: Dataset, keyword: str) -> str:
    """An attribute as text, several values joined; empty when it is not there."""
    value = match.get(keyword)
    if value is None:
        return ""
    return str(value) if isinstance(value, str) or not isinstance(value, Sequence) else "\\".join(map(str, value))


def _count(match: Dataset, keyword: str) -> int | None:
    text = _text(match, keyword)
    count = int(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else None
    return None if count is None or count > _MOST_INSTANCES else count


def _find(session: Session, keys: Dataset, pick: Callable[[Dataset], T | None]) -> list[T]:
    """What `pick` makes of the matches of a C-FIND, without the Nones; the responses are taken to the last."""
    found: list[T] = []
    final: int | None = None
    message_id = session.next_id()
    responses = session.responses(lambda: session.association.send_c_find(keys, FIND, msg_id=message_id))
    for number, (status, identifier) in enumerate(responses, 1):
        session.heard()
        if "Status" not in status:
            raise session.lost()
        final = status.Status
        if final in (0xFF00, 0xFF01) and identifier is not None and (picked := pick(identifier)) is not None:
            found.append(picked)
        if number > _MOST_MATCHES or time.monotonic() - session.began > _LONGEST_LIST:
            raise _endless(session)
    if final is None or final in (0xFF00, 0xFF01):
        raise session.lost()
    if final:
        _raise_for(session.peer, "C-FIND", final)
    return found


def _endless(session: Session) -> PermanentError:
    return PermanentError(f"{session.peer.name} never ends its answer to C-FIND", "look into its log")


def _raise_for(peer: Peer, operation: str, status: int) -> None:
    if status in _CANNOT or status >> 12 == 0xC:
        raise _CannotAnswer(f"status 0x{status:04X}")
    error = TransientError if status in _BUSY else PermanentError
    raise error(f"{peer.name} answered {operation} with status 0x{status:04X}", "look into its log")


_MOVE_TEXTS = {
    0x0000: "finished",
    0x0122: "the source does not support this retrieve",
    0x0124: "the source does not authorize the retrieve",
    0xA701: "the source is out of resources and could not count the matches",
    0xA702: "the source is out of resources and could not send",
    0xA801: "the source does not know the AE title to move to: have it entered there with this host and port",
    0xA900: "the source could not match the identifier to the SOP class",
    0xB000: "finished, with failures",
    0xFE00: "cancelled",
    0xFF00: "pending",
    0xFF01: "pending",
}


def move_study(
    peer: Peer,
    calling: str,
    destination: str,
    study_uid: str,
    *,
    series_uid: str | None = None,
    sop_uids: Sequence[str] | None = None,
    progress: Callable[[Moved], None],
    alive: Callable[[], float],
    silence: float = MOVE_SILENCE,
    lines: Lines | None = None,
) -> Moved:
    """C-MOVE of a study, a series or single instances (with their series) to `destination`; the final response.

    Many instances are asked for in several C-MOVEs; then the counts are those of the last, which is the first that
    did not succeed.

    `alive` tells the monotonic time of the last arrival: pending responses are optional, so silence is neither
    response nor arrival. Raises PeerUnreachable and PeerRejected. A final success is no evidence of completeness.
    """
    keys = _keys("STUDY", study_uid)
    if series_uid:
        keys.QueryRetrieveLevel = "SERIES"
        keys.SeriesInstanceUID = series_uid
    if sop_uids:
        keys.QueryRetrieveLevel = "IMAGE"

    def work(session: Session) -> Moved:
        return _moves(session, keys, sop_uids or (), destination, progress)

    if lines is not None:
        return lines.use(peer, calling, MOVE, work, silence, alive)
    with Session(peer, calling, [MOVE], silence, alive) as session:
        return work(session)


def _moves(
    session: Session, keys: Dataset, sop_uids: Sequence[str], destination: str, progress: Callable[[Moved], None]
) -> Moved:
    if not sop_uids:
        return _move(session, keys, destination, progress)
    for at in range(0, len(sop_uids), _MOST_IN_LIST):
        keys.SOPInstanceUID = list(sop_uids[at : at + _MOST_IN_LIST])
        last = _move(session, keys, destination, progress)
        if last.status != 0:
            break
    return last


def _move(session: Session, keys: Dataset, destination: str, progress: Callable[[Moved], None]) -> Moved:
    """One C-MOVE; its responses are taken to the last, unless they go on and on and nothing else happens."""
    last: Moved | None = None
    progressed = time.monotonic()
    number = session.next_id()
    for status, _ in session.responses(lambda: session.association.send_c_move(keys, destination, MOVE, msg_id=number)):
        session.heard()
        if "Status" not in status:
            raise session.lost()
        before, last = last, _moved(status)
        progress(last)
        if last != before:
            progressed = time.monotonic()
        if last.pending and time.monotonic() - max(progressed, session.alive()) > _STALLED * session.silence:
            what = f"{session.peer.name} says again and again that it will send, and does not"
            raise PeerUnreachable(what, "look into its log")
    if last is None or last.pending:
        raise session.lost()
    return last


def _moved(status: Dataset) -> Moved:
    code = int(status.Status)
    words = _MOVE_TEXTS.get(code, "the source cannot process the retrieve")
    return Moved(
        code,
        status.get("NumberOfRemainingSuboperations"),
        status.get("NumberOfCompletedSuboperations"),
        status.get("NumberOfFailedSuboperations"),
        status.get("NumberOfWarningSuboperations"),
        f"{words} (0x{code:04X})",
    )


def echo(peer: Peer, calling: str, *, silence: float = SILENCE) -> None:
    """C-ECHO. Raises PeerUnreachable, PeerRejected or, when the peer answers no, PermanentError."""
    with Session(peer, calling, [VERIFICATION], silence) as session:
        message_id = session.next_id()
        ((status, _),) = session.responses(lambda: [(session.association.send_c_echo(msg_id=message_id), None)])
        if "Status" not in status:
            raise session.lost()
        if status.Status:
            raise PermanentError(f"{peer.name} answered C-ECHO with status 0x{status.Status:04X}", "look into its log")
