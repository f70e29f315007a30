"""What an instance is, and what holds for all of it: its class and UIDs, its patient, its character set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dicomnode.deidentify import descriptors, rewrite
from dicomnode.deidentify.encoded import Element, place
from dicomnode.deidentify.level import NO_STEPS
from dicomnode.deidentify.pixels import find, text_of, value_of
from dicomnode.deidentify.plan import Action, Plan, Steps
from dicomnode.deidentify.protocol_series import SERIES_DESCRIPTION
from dicomnode.deidentify.pseudonyms import Pseudonyms
from dicomnode.deidentify.terms import MODALITIES
from dicomnode.model import Buffer, Doubt, Originals, Reason, Received

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
CHARACTER_SET, MODALITY, PATIENT_ID = 0x00080005, 0x00080060, 0x00100020
DECIDING = frozenset([SOP_CLASS, STUDY, SERIES, CHARACTER_SET, MODALITY, PATIENT_ID, SERIES_DESCRIPTION])
"""The attributes on which, beside the SOP Instance UID, a subject hangs."""


class Subject(NamedTuple):
    """One instance under one plan; `days` is how far its dates move, `known` what descriptors may not repeat."""

    originals: Originals
    sop_class: str
    study_uid: str
    series_uid: str
    sop_uid: str
    patient: str
    patient_hash: str
    days: int
    modality: str
    character_set: bytes
    steps: Steps
    known: descriptors.Known = descriptors.NOTHING


def identify(
    plan: Plan, pseudonyms: Pseudonyms, received: Received, data: bytes, elements: Sequence[Element]
) -> Subject:
    """Judge whose these elements are and what they may become. Raises Doubt."""
    study, series, instance = (rewrite.key_uid(data, elements, tag) for tag in (STUDY, SERIES, SOP_INSTANCE))
    sop_class = rewrite.key_uid(data, elements, SOP_CLASS)
    _compare(SOP_CLASS, sop_class, received.sop_class)
    _compare(SOP_INSTANCE, instance, received.sop_uid)
    if plan.refuses(sop_class):
        raise Doubt(Reason.SOP_CLASS, place((SOP_CLASS,)))
    plan.protocol_series.judge(data, elements)
    steps = plan.for_class(sop_class)
    sent = [
        _sent_uid(steps, pseudonyms, elements, tag, uid)
        for tag, uid in ((STUDY, study), (SERIES, series), (SOP_INSTANCE, instance))
    ]
    character_set = value_of(data, elements, CHARACTER_SET) or b""
    patient_id = rewrite.text(value_of(data, elements, PATIENT_ID) or b"", "LO", character_set, (PATIENT_ID,))
    pseudonyms.check_patient(patient_id, study)
    patient_hash = pseudonyms.patient(patient_id, study)
    days = 0
    if plan.shift is not None:
        days = pseudonyms.days(patient_id, study, plan.shift)
    element = find(elements, PATIENT_ID)
    kept = element is not None and steps[PATIENT_ID << 16 | element[1]].action is Action.KEEP
    return Subject(
        originals=Originals(study, series, instance),
        sop_class=sop_class,
        study_uid=sent[0],
        series_uid=sent[1],
        sop_uid=sent[2],
        patient=patient_id if kept else pseudonyms.render("patient_id", patient_id, patient_hash, study),
        patient_hash=patient_hash,
        days=days,
        modality=_sent_modality(steps, data, elements),
        character_set=character_set,
        steps=steps,
    )


def sibling(
    subject: Subject, pseudonyms: Pseudonyms, received: Received, data: bytes, elements: Sequence[Element]
) -> Subject:
    """Another instance of the same series: `elements` have its SOP Instance UID, all that decides else is the same."""
    instance = rewrite.key_uid(data, elements, SOP_INSTANCE)
    _compare(SOP_CLASS, subject.sop_class, received.sop_class)
    _compare(SOP_INSTANCE, instance, received.sop_uid)
    sop_uid = _sent_uid(subject.steps, pseudonyms, elements, SOP_INSTANCE, instance)
    originals = Originals(subject.originals.study_uid, subject.originals.series_uid, instance)
    return subject._replace(originals=originals, sop_uid=sop_uid)


def read_originals(data: Buffer, elements: list[Element]) -> Originals | None:
    """The instance's UIDs from what could be read of a data set, None when one is missing or no UID."""
    try:
        head = bytes(memoryview(data)[: elements[-1][4]]) if elements else b""
        return Originals(*(rewrite.key_uid(head, elements, tag) for tag in (STUDY, SERIES, SOP_INSTANCE)))
    except Doubt:
        return None


def _compare(tag: int, found: str, said: str) -> None:
    """The data set is what the command says (PS3.4 B.2.3); raises Doubt(COMMAND_MISMATCH)."""
    if found != said.strip(" \0"):
        raise Doubt(Reason.COMMAND_MISMATCH, place((tag,)))


def _sent_uid(steps: Steps, pseudonyms: Pseudonyms, elements: Sequence[Element], tag: int, original: str) -> str:
    element = find(elements, tag)
    action = steps[tag << 16 | element[1]].action if element else Action.REMOVE
    if action not in (Action.KEEP, Action.FORM, Action.UID):
        raise Doubt(Reason.NOT_ACCEPTED, place((tag,)))
    return pseudonyms.uid(original) if action is Action.UID else original


def _sent_modality(steps: Steps, data: bytes, elements: Sequence[Element]) -> str:
    element = find(elements, MODALITY)
    kept = element is not None and steps[MODALITY << 16 | element[1]].action in (Action.KEEP, Action.FORM)
    modality = text_of(data, elements, MODALITY) if kept else ""
    return modality if modality in MODALITIES else ""


NOBODY = Subject(Originals("", "", ""), "", "", "", "", "", "", 0, "", b"", NO_STEPS)
"""Before an instance is identified."""
