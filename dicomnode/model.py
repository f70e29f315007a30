"""The frozen values that all rooms share: what an instance is, where it lies and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

Buffer = bytes | bytearray | memoryview


JUDGED = "AcceptConditions"
"""The attribute under which the identity book has what the rules' conditions said of an instance, as JSON."""


class Reason(StrEnum):
    """Why an instance is withheld; the text for people is `EXPLANATIONS`."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing-bytes"
    UNKNOWN_VR = "unknown-vr"
    WRONG_VR = "wrong-vr"
    TOO_DEEP = "too-deep"
    HEADER_TOO_LARGE = "header-too-large"
    INFLATE_LIMIT = "inflate-limit"
    PIXEL_LENGTH = "pixel-length"
    PIXEL_STREAM = "pixel-stream"
    MISSING_UID = "missing-uid"
    BAD_UID = "bad-uid"
    COMMAND_MISMATCH = "command-mismatch"
    TRANSFER_SYNTAX = "transfer-syntax"
    SOP_CLASS = "sop-class"
    CHARACTER_SET = "character-set"
    BAD_DATE = "bad-date"
    RESIDUE = "residue"
    CONFLICT = "conflict"
    COLLISION = "collision"
    SUSPICIOUS_PIXELS = "suspicious-pixels"
    PROTOCOL_SERIES = "protocol-series"
    UNKNOWN_PATIENT = "unknown-patient"
    NOT_ACCEPTED = "not-accepted"
    CONDITIONS = "conditions"
    SERIES_CONDITIONS = "series-conditions"
    STUDY_CONDITIONS = "study-conditions"
    INTERNAL = "internal-error"


FAILING = frozenset({Reason.SERIES_CONDITIONS, Reason.STUDY_CONDITIONS})
"""Reasons for which clean instances of the same series or study are kept back."""

EXPLANATIONS: dict[Reason, str] = {
    Reason.UNREADABLE: "the data set does not add up when read strictly",
    Reason.TRUNCATED: "the data set ends in the middle of an element",
    Reason.TRAILING_BYTES: "bytes are left over after the last element or delimiter",
    Reason.UNKNOWN_VR: "an element has a value representation that the standard does not know",
    Reason.WRONG_VR: "an element that would be kept has a value representation or a value that it cannot have",
    Reason.TOO_DEEP: "sequences are nested deeper than the limit",
    Reason.HEADER_TOO_LARGE: "the elements beside the pixel data are larger than the limit",
    Reason.INFLATE_LIMIT: "the deflated data set is larger than the limit when inflated",
    Reason.PIXEL_LENGTH: "the pixel data is shorter or longer than the image attributes say",
    Reason.PIXEL_STREAM: "the encapsulated pixel data is malformed",
    Reason.MISSING_UID: "a Study, Series or SOP Instance or SOP Class UID is missing or there twice",
    Reason.BAD_UID: "a UID is longer than 64 characters or has characters that a UID cannot have",
    Reason.COMMAND_MISMATCH: "the C-STORE command, or the file meta information, names another instance or class",
    Reason.TRANSFER_SYNTAX: "the transfer syntax is private, unknown or cannot be read",
    Reason.SOP_CLASS: "the SOP class is private, unknown or not let through by the rules",
    Reason.CHARACTER_SET: "the specific character set is unknown or the text does not decode in it",
    Reason.BAD_DATE: "a date that would be kept or shifted cannot be parsed",
    Reason.RESIDUE: "the gate found an identifying value in the bytes about to be written",
    Reason.CONFLICT: "an instance with this SOP Instance UID but other content is already held",
    Reason.COLLISION: "two patients would get the same pseudonym",
    Reason.SUSPICIOUS_PIXELS: "the pixels may show identifying text",
    Reason.PROTOCOL_SERIES: "the series is described as one that never leaves, such as a patient protocol",
    Reason.UNKNOWN_PATIENT: "the patient is not in the project's table of pseudonyms; dicomnode mapping import adds it",
    Reason.NOT_ACCEPTED: "the rules do not accept this instance",
    Reason.CONDITIONS: "a condition of the rules does not hold",
    Reason.SERIES_CONDITIONS: "a condition of the rules does not hold; nothing of its series is sent",
    Reason.STUDY_CONDITIONS: "a condition of the rules does not hold; nothing of its study is sent",
    Reason.INTERNAL: "an unexpected error occurred while it was de-identified",
}


@dataclass(frozen=True, slots=True)
class Originals:
    """The UIDs under which an instance was received; identified."""

    study_uid: str
    series_uid: str
    sop_uid: str


class Doubt(Exception):
    """Raised while an instance is de-identified: it must be withheld. `where` names tags of the standard, no values.

    `originals` holds the instance's UIDs where they could be read, `judged` what the rules' conditions said of it.
    """

    def __init__(
        self,
        reason: Reason,
        where: str = "",
        originals: Originals | None = None,
        judged: IdentityEntry | None = None,
    ) -> None:
        super().__init__(f"{reason}: {where}" if where else str(reason))
        self.reason = reason
        self.where = where
        self.originals = originals
        self.judged = judged


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sent an instance, as the association said and as it was checked."""

    project: str
    peer: str
    calling: str
    called: str
    address: str
    association: int


@dataclass(frozen=True, slots=True)
class Received:
    """What the C-STORE command and its presentation context say of an instance; identified.

    `began` is when the command came, as time.perf_counter() tells it.
    """

    origin: Origin
    sop_class: str
    sop_uid: str
    transfer_syntax: str
    began: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class IdentityEntry:
    """One line of the identity book: DICOM keyword, the value received and the value sent; identified."""

    attribute: str
    original: str
    cleaned: str


@dataclass(frozen=True, slots=True)
class Instance:
    """What the journal knows of a clean instance; pseudonymous only.

    Keys are base32 HMACs of original UIDs under the journal key; digests are hex BLAKE3.
    """

    project: str
    study_key: str
    series_key: str
    instance_key: str
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    patient: str
    modality: str
    received_digest: str
    data_digest: str
    rules_digest: str
    peer: str
    received_at: float


@dataclass(frozen=True, slots=True)
class Location:
    """Where a clean instance lies: byte offsets into its segment file; `data_*` is the Part 10 file.

    `data_set_offset` is where the data set begins, relative to the Part 10 file.
    """

    segment: str
    offset: int
    length: int
    data_offset: int
    data_length: int
    data_set_offset: int


@dataclass(frozen=True, slots=True)
class Withheld:
    """An instance kept sealed for a person; pseudonymous only. Keys of unreadable UIDs are empty."""

    project: str
    quarantine: str
    study_key: str
    series_key: str
    instance_key: str
    study_uid: str
    reason: Reason
    where: str
    sop_class: str
    received_digest: str
    rules_digest: str
    peer: str
    received_at: float
    length: int


class Fate(StrEnum):
    """What a person made of a withheld original."""

    RELEASED = "released"
    DISCARDED = "discarded"
    DISCARDED_ALONE = "discarded-alone"
    """The others of its series or study, which it kept back, go."""
    DISCARDED_WITH_OTHERS = "discarded-with-others"
    """They are deleted too."""


class StudyState(StrEnum):
    """The life of a study."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    FORWARDING = "forwarding"
    FORWARDED = "forwarded"
    CONFIRMED = "confirmed"
    HELD = "held"
    ON_HOLD = "on-hold"
    INCOMPLETE = "incomplete"
    WITHHELD = "withheld"
    FAILED = "failed"
    CLOSED = "closed"
    PRACTICE = "practice"


class DeliveryState(StrEnum):
    """The life of one study on its way to one destination."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    HELD = "held"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, for people and other programs; pseudonymous only. `at` is seconds since the epoch."""

    name: str
    at: float
    project: str = ""
    study_key: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Study:
    """A study as the journal has it; times are seconds since the epoch, UTC.

    `missing` instances are listed by the source and were not here when the study was last judged.
    """

    project: str
    study_key: str
    study_uid: str
    patient: str
    state: StudyState
    stored: int
    withheld: int
    expected: int | None
    evidence: str
    amended: bool
    first_at: float
    last_at: float
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One study's way to one destination; `next_at` is when to try again (seconds since the epoch)."""

    project: str
    study_key: str
    destination: str
    state: DeliveryState
    attempts: int
    next_at: float
    error: str
    sent: int
    failed: int


@dataclass(frozen=True, slots=True)
class PeerTls:
    """How a peer proves who it is over TLS, and what we show it (PEM files).

    Its certificate has this hex SHA-256 `fingerprint`; where that is empty, `ca` signed it and it has this `name`.
    """

    ca: Path | None
    certificate: Path | None
    key: Path | None
    fingerprint: str
    name: str


@dataclass(frozen=True, slots=True)
class Peer:
    """A remote application entity; `addresses` may call us under its AE title; with `tls`, over TLS alone.

    Studies are fetched from it `max_moves` at once, within the windows `off_peak` (minutes of the week) if it has any.
    """

    name: str
    ae_title: str
    host: str
    port: int
    addresses: tuple[str, ...]
    tls: PeerTls | None = None
    max_moves: int = 1
    off_peak: tuple[tuple[int, int], ...] = ()
