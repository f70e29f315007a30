"""What the status of a C-STORE response means for the instance sent (PS3.4 B.2.3, PS3.7 Annex C)."""

from __future__ import annotations

from enum import StrEnum

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
NOT_AUTHORIZED = 0x0124
UNRECOGNIZED_OPERATION = 0x0211
SOP_CLASS_NOT_SUPPORTED = 0x0122


class Outcome(StrEnum):
    """What to do with an instance after the answer: done, done but look, try again, or give it up."""

    SENT = "sent"
    VERIFY = "verify"
    RETRY = "retry"
    FAILED = "failed"


_WARNINGS = {
    0xB000: "stored, with elements coerced",
    0xB006: "stored, with elements discarded",
    0xB007: "stored, although the data set does not match the SOP class",
}
_OTHER_WARNINGS = {
    0x0001: "stored, with a warning",
    0x0107: "stored, with a warning about attributes",
    0x0116: "stored, with an attribute value out of range",
}
_TRANSIENT = {
    0x0110: "processing failure",
    0x0213: "resource limitation",
}
_PERMANENT = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0112: "no such SOP instance",
    0x0115: "invalid argument value",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class and instance conflict",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
}


def outcome(status: int) -> Outcome:
    """What a C-STORE status means; a failure that is not known to pass is permanent for that instance.

    A warning that the storage service does not define says "stored", but not what was done: it is worth a look.
    """
    if status == SUCCESS or status in _WARNINGS:
        return Outcome.SENT
    if status == 0x0111 or status in _OTHER_WARNINGS or status >> 12 == 0xB:
        return Outcome.VERIFY
    if status in _TRANSIENT or status >> 8 == 0xA7:
        return Outcome.RETRY
    return Outcome.FAILED


def describe(status: int) -> str:
    """A few words for people, with the number."""
    return f"{_words(status)} (0x{status:04X})"


def _words(status: int) -> str:
    if status == SUCCESS:
        return "stored"
    if status == 0x0111:
        return "duplicate SOP instance"
    for table in (_WARNINGS, _OTHER_WARNINGS, _TRANSIENT, _PERMANENT):
        if status in table:
            return table[status]
    if status >> 12 == 0xB:
        return "stored, with an unknown warning"
    if status >> 8 == 0xA7:
        return "out of resources"
    if status >> 8 == 0xA9:
        return "the data set does not match the SOP class"
    if status >> 12 == 0xC:
        return "cannot understand"
    return "unknown status"
