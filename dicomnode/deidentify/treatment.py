"""A plan applied to the elements of one instance: what is kept, what is written instead, what the gate must know."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from dicomnode.deidentify import content, dates, descriptors, rewrite, values
from dicomnode.deidentify.concepts import concepts
from dicomnode.deidentify.declaration import LONGITUDINAL, REMOVED, declared, digests_before, longitudinal
from dicomnode.deidentify.encoded import PIXEL_TAGS, UN, Element, is_undefined, place, vr_code
from dicomnode.deidentify.gate import Gate
from dicomnode.deidentify.level import NO_STEPS, Level
from dicomnode.deidentify.pixels import find, text_of, value_of
from dicomnode.deidentify.plan import Action, Needle, Plan, Step
from dicomnode.deidentify.pseudonyms import Pseudonyms
from dicomnode.deidentify.remaining import walk
from dicomnode.deidentify.standard import dictionary
from dicomnode.deidentify.taken import note, note_item
from dicomnode.deidentify.terms import MODALITIES
from dicomnode.model import Buffer, Doubt, IdentityEntry, Originals, Reason, Received

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
CHARACTER_SET, MODALITY, PATIENT_ID = 0x00080005, 0x00080060, 0x00100020
DATES = {vr_code(vr): vr for vr in ("DA", "TM", "DT")}
LO = vr_code("LO")
PADDING = b" \0"
FIRST_PRIVATE_DATA = 0x1000
NO_NEEDLE = Needle.NONE
KEEP, REMOVE, EMPTY, DUMMY, UID, PSEUDONYM, RECURSE, CHECK = (
    Action.KEEP,
    Action.REMOVE,
    Action.EMPTY,
    Action.DUMMY,
    Action.UID,
    Action.PSEUDONYM,
    Action.RECURSE,
    Action.CHECK,
)
FORM, WITHHOLD = Action.FORM, Action.WITHHOLD
FORMED = values.FORMED
IMAGE_GROUP = 0x0028
SHIFT, AGE, PRIVATE, CONTENT, OVERLAY = Action.SHIFT, Action.AGE, Action.PRIVATE, Action.CONTENT, Action.OVERLAY
CLEAN = Action.CLEAN


class Treatment:
    """Treats one instance; `head` first, then `tail`. Raises Doubt; `originals` are there once they could be read."""

    def __init__(self, plan: Plan, pseudonyms: Pseudonyms, received: Received, implicit: bool) -> None:
        self.originals: Originals | None = None
        self.identity: dict[IdentityEntry, None] = {}
        self.sop_class = self.sop_uid = self.series_uid = self.study_uid = self.patient = self.modality = ""
        self.gate = Gate(self._kept)
        self._plan = plan
        self._pseudonyms = pseudonyms
        self._received = received
        self._implicit = implicit
        self._steps = NO_STEPS
        self._character_set = b""
        self._character_sets: set[bytes] = set()
        self._patient_hash = ""
        self._days = 0
        self._known = descriptors.NOTHING
        self._treated: list[tuple[bytes, Sequence[Element]]] = []

    def head(self, data: bytes, elements: list[Element]) -> list[bytes]:
        """The clean elements before the pixel data, the declaration of what was done among them."""
        self._identify(data, elements)
        self._character_set = self._checked(value_of(data, elements, CHARACTER_SET) or b"", ())
        if self._plan.cleaner is not None:
            self._known = descriptors.known_in(data, elements, self._steps, self._character_set)
        first, second = bisect_left(elements, (REMOVED,)), bisect_left(elements, (LONGITUDINAL,))
        out: list[bytes] = []
        for digest in digests_before(data, elements):
            self.gate.keep[LO](digest)
        written = declared(self._plan, data, elements, self._implicit), longitudinal(self._plan, self._implicit)
        for begin, end, own in ((0, first, written[0]), (first, second, written[1])):
            self._top_level(data, elements[begin:end], out)
            out.append(own)
        self._top_level(data, elements[second:], out)
        self.modality = self._sent_modality(data, elements)
        return out

    def tail(self, data: bytes, elements: list[Element]) -> list[bytes]:
        """The clean elements behind the pixel data."""
        out: list[bytes] = []
        self._top_level(data, elements, out)
        return out

    def judge_pixels(self, tag: int, vr: int, data: bytes, elements: list[Element]) -> None:
        """Raises Doubt unless the plan keeps the pixel element as it is and does not suspect what it shows."""
        if self._steps[tag << 16 | vr].action is not KEEP:
            raise Doubt(Reason.NOT_ACCEPTED, place((tag,)))
        self._plan.pixels.judge(self.sop_class, data, elements)

    # what the instance is

    def _identify(self, data: bytes, elements: list[Element]) -> None:
        study, series, instance = (rewrite.key_uid(data, elements, tag) for tag in (STUDY, SERIES, SOP_INSTANCE))
        self.originals = Originals(study, series, instance)
        self.sop_class = rewrite.key_uid(data, elements, SOP_CLASS)
        for tag, found, said in (
            (SOP_CLASS, self.sop_class, self._received.sop_class),
            (SOP_INSTANCE, instance, self._received.sop_uid),
        ):
            if found != said.strip(" \0"):
                raise Doubt(Reason.COMMAND_MISMATCH, place((tag,)))
        if self._plan.refuses(self.sop_class):
            raise Doubt(Reason.SOP_CLASS, place((SOP_CLASS,)))
        self._steps = self._plan.for_class(self.sop_class)
        self.study_uid, self.series_uid, self.sop_uid = (
            self._sent_uid(elements, tag, uid)
            for tag, uid in ((STUDY, study), (SERIES, series), (SOP_INSTANCE, instance))
        )
        self._identify_patient(data, elements, study)

    def _identify_patient(self, data: bytes, elements: list[Element], study: str) -> None:
        """Pseudonyms of the patient hang on the Patient ID; an empty or missing one is keyed by the study."""
        character_set = value_of(data, elements, CHARACTER_SET) or b""
        patient_id = rewrite.text(value_of(data, elements, PATIENT_ID) or b"", "LO", character_set, (PATIENT_ID,))
        self._patient_hash = self._pseudonyms.patient(patient_id, study)
        if self._plan.shift is not None:
            unit, most = self._plan.shift.unit, self._plan.shift.most
            self._days = self._pseudonyms.shift(patient_id, study, unit, most)
        element = find(elements, PATIENT_ID)
        kept = element is not None and self._steps[PATIENT_ID << 16 | element[1]].action is KEEP
        self.patient = patient_id if kept else self._pseudonyms.render("patient_id", patient_id, self._patient_hash)

    def _sent_uid(self, elements: list[Element], tag: int, original: str) -> str:
        element = find(elements, tag)
        action = self._steps[tag << 16 | element[1]].action if element else REMOVE
        if action not in (KEEP, FORM, UID):
            raise Doubt(Reason.NOT_ACCEPTED, place((tag,)))
        return self._pseudonyms.uid(original) if action is UID else original

    def _checked(self, character_set: bytes, path: tuple[int, ...]) -> bytes:
        """A Specific Character Set of which every term is defined; Doubt(CHARACTER_SET) otherwise."""
        if character_set not in self._character_sets:
            try:
                values.encodings_of(character_set.decode("latin-1"))
            except Doubt:
                raise Doubt(Reason.CHARACTER_SET, place((*path, CHARACTER_SET))) from None
            self._character_sets.add(character_set)
            self.gate.character_set(character_set)
        return character_set

    def _sent_modality(self, data: bytes, elements: list[Element]) -> str:
        element = find(elements, MODALITY)
        kept = element is not None and self._steps[MODALITY << 16 | element[1]].action in (KEEP, FORM)
        modality = text_of(data, elements, MODALITY) if kept else ""
        return modality if modality in MODALITIES else ""

    # the elements

    def _top_level(self, data: bytes, elements: list[Element], out: list[bytes]) -> None:
        self._treated.append((data, elements))
        if elements:
            level = Level(data, self._steps, self._character_set, self._implicit, ())
            self._level(level, elements[0][2], elements[-1][4], elements, out)

    def _level(self, level: Level, begin: int, end: int, elements: Sequence[Element], out: list[bytes]) -> bool:
        """Append what the bytes from `begin` to `end` become to `out`; whether anything changed."""
        data, steps, keep = level.data, level.steps, self.gate.keep
        run = begin
        for element in elements:
            tag, vr, start, value, stop, items = element
            step = steps[tag << 16 | vr]
            if step.action is KEEP and items is None:
                if stop - start & 1:
                    raise Doubt(Reason.UNREADABLE, place((*level.path, tag)))
                keep[vr](data[value:stop])
                continue
            if step.action is FORM and items is None and not (stop - start & 1):
                raw = data[value:stop]
                if raw in FORMED[step.form] or values.is_formed(raw, step.form):
                    keep[vr](raw)
                    continue
            written: list[bytes] | None
            if step.action is REMOVE:
                if items is not None or step.needle is not NO_NEEDLE:
                    note(self.gate, data, element, step, steps, level.character_set)
                written = []
            elif step.action is PRIVATE:
                written = self._private(level, element, elements, step)
            elif step.action is OVERLAY:
                written = self._overlay(level, element, elements)
            else:
                written = self._changed(level, element, step)
            if written is None:
                continue
            if start > run:
                out.append(data[run:start])
            out += written
            run = stop
        if run < end:
            out.append(data[run:end])
        return run != begin

    def _changed(self, level: Level, element: Element, step: Step) -> list[bytes] | None:
        """What is written instead of an element; None when it stays as it is."""
        _, _, _, value, stop, items = element
        action = step.action
        if action is CONTENT and items:
            return self._content(level, element)
        if action is RECURSE or action is KEEP or action is CONTENT or (action is DUMMY and step.dummy is None):
            if items is None and value == stop:
                return None
            return self._sequence(level, element)
        if action is CHECK:
            self._check(level, element)
            return None
        if action is UID:
            return self._uids(level, element, step)
        if action is SHIFT or action is AGE:
            return self._reduced(level, element, action)
        if action is CLEAN:
            return self._described(level, element, step)
        if action is FORM or action is WITHHOLD:
            return self._formed(level, element, step)
        note(self.gate, level.data, element, step, level.steps, level.character_set)
        if action is EMPTY:
            return None if value == stop else [rewrite.header(level.data, element, level.implicit, 0)]
        if action is PSEUDONYM:
            return self._pseudonym(level, element, step)
        dummy = step.implicit if level.implicit else step.dummy
        if dummy is None:
            raise Doubt(Reason.INTERNAL, place((*level.path, element[0])))
        return [rewrite.header(level.data, element, level.implicit, len(dummy)), dummy]

    def _content(self, level: Level, element: Element) -> list[bytes] | None:
        """Content items, of which some go; when none stays, the sequence goes too, where the IOD allows that."""
        tag, _, _, _, _, items = element
        tree = level.tree.within(level.data, element, concepts(self._plan.options))
        inside = level.steps.inside(tag)
        for item in items or ():
            if tree.goes(item[0]):
                note_item(self.gate, level.data, item[0], item[3], inside, level.character_set, tree)
        if not all(tree.goes(item[0]) for item in items or ()):
            return self._sequence(level, element, tree)
        return [rewrite.header(level.data, element, level.implicit, 0)] if tag in content.MAY_BE_EMPTY else []

    def _overlay(self, level: Level, element: Element, elements: Sequence[Element]) -> list[bytes] | None:
        """An element of an overlay plane, kept when the plane marks a region."""
        tag, vr, start, value, stop, _ = element
        if not content.marks_region(level.data, elements, tag):
            return []
        if stop - start & 1:
            raise Doubt(Reason.UNREADABLE, place((*level.path, tag)))
        self.gate.keep[vr](level.data[value:stop])
        return None

    def _sequence(self, level: Level, element: Element, tree: content.Tree = content.NO_TREE) -> list[bytes] | None:
        """A sequence with its items treated; defined lengths are computed anew, undefined ones stay so."""
        tag, vr, start, value, _, items = element
        data, path = level.data, (*level.path, tag)
        inner = Level(data, level.steps.inside(tag), level.character_set, level.implicit or vr == UN, path, tree)
        parts: list[bytes] = []
        changed = False
        for begin, first, end, elements in items if items is not None else rewrite.hidden_items(data, element, path):
            out: list[bytes] = []
            if tree.goes(begin):
                changed = True
                continue
            own = inner if tree is content.NO_TREE else inner.ruled(tree.steps(begin, inner.steps))
            if elements and elements[0][0] <= CHARACTER_SET:
                own = own.under(self._checked(value_of(data, elements, CHARACTER_SET) or b"", path))
            different = self._level(own, first, end, elements, out)
            changed = changed or different
            parts += rewrite.item(data, begin, first, end, out, different)
        if not changed:
            return None
        if is_undefined(data, value):
            return [data[start:value], *parts, rewrite.SEQUENCE_END]
        return [data[start : value - 4], rewrite.LONG_LENGTH(sum(map(len, parts))), *parts]

    def _check(self, level: Level, element: Element) -> None:
        """A date or time that is kept must be one."""
        tag, vr, start, value, stop, _ = element
        date_vr = DATES.get(vr) or dictionary.vr_of(tag)
        if not values.is_readable_date(level.data[value:stop], date_vr) or stop - start & 1:
            raise Doubt(Reason.BAD_DATE, place((*level.path, tag)))
        self.gate.keep[vr](level.data[value:stop])

    def _reduced(self, level: Level, element: Element, action: Action) -> list[bytes] | None:
        """A date moved by the days of the patient, an age above 89 years capped."""
        tag, vr, start, value, stop, _ = element
        raw = level.data[value:stop]
        if action is AGE:
            sent: bytes | None = values.capped_ages(raw)
        else:
            sent = dates.moved(raw, DATES.get(vr) or dictionary.vr_of(tag), self._days)
        if sent is None or stop - start & 1:
            raise Doubt(Reason.BAD_DATE if sent is None else Reason.UNREADABLE, place((*level.path, tag)))
        if sent == raw.rstrip(PADDING):
            self.gate.keep[vr](raw)
            return None
        return rewrite.value(level.data, element, level.implicit, sent)

    def _formed(self, level: Level, element: Element, step: Step) -> list[bytes]:
        """Values that are not what their VR says are emptied, unless the image hangs on them."""
        tag, _, _, value, stop, items = element
        if tag in PIXEL_TAGS:
            raise Doubt(Reason.PIXEL_STREAM, place((*level.path, tag)))
        if step.action is WITHHOLD or items is not None or step.form == "TEXT" or tag >> 16 == IMAGE_GROUP:
            raise Doubt(Reason.WRONG_VR, place((*level.path, tag)))
        kept = values.well_formed(level.data[value:stop], step.form)
        self.gate.keep[element[1]](kept)
        return rewrite.value(level.data, element, level.implicit, kept.rstrip(PADDING))

    def _described(self, level: Level, element: Element, step: Step) -> list[bytes] | None:
        """A description of which the words stay that cannot tell who it is about."""
        tag, vr, start, value, stop, _ = element
        assert self._plan.cleaner is not None
        raw = level.data[value:stop]
        kind = dictionary.vr_of(tag) if vr == UN else chr(vr >> 8) + chr(vr & 0xFF)
        kept = descriptors.cleaned(raw, kind, level.character_set, self._plan.cleaner, self._known)
        if stop - start & 1:
            raise Doubt(Reason.UNREADABLE, place((*level.path, tag)))
        if not kept and raw:
            dummy = (step.implicit if level.implicit else step.dummy) or b""
            return [rewrite.header(level.data, element, level.implicit, len(dummy)), dummy]
        self.gate.keep[vr](kept)
        return None if kept == raw else rewrite.value(level.data, element, level.implicit, kept)

    def _private(self, level: Level, element: Element, elements: Sequence[Element], step: Step) -> list[bytes] | None:
        """A private element: it stays where the plan knows it as safe, with the creator of its block."""
        assert self._plan.safe is not None
        found = self._plan.safe.step(level.data, elements, element)
        if found is None:
            note(self.gate, level.data, element, step, level.steps, level.character_set)
            return []
        safe, vr = found
        if safe.action is not KEEP:
            return self._changed(level, element, safe)
        if element[0] & 0xFFFF >= FIRST_PRIVATE_DATA:
            self.gate.keep[vr](level.data[element[3] : element[4]])
        return None

    def _uids(self, level: Level, element: Element, step: Step) -> list[bytes] | None:
        """UIDs replaced, several of them one by one; those that the standard registers stay."""
        tag, vr, start, value, stop, _ = element
        received = [uid.strip(PADDING).decode("latin-1") for uid in level.data[value:stop].split(b"\\")]
        sent = [self._pseudonyms.uid(uid) for uid in received]
        if sent == received:
            if stop - start & 1:
                raise Doubt(Reason.UNREADABLE, place((*level.path, tag)))
            self.gate.keep[vr](level.data[value:stop])
            return None
        for one, other in zip(received, sent, strict=True):
            if one != other:
                if step.needle is not Needle.NONE:
                    self.gate.original(step.needle, tag, one.encode("latin-1"), b"")
                self._enter(step, one, other)
        written = "\\".join(sent).encode("ascii")
        return rewrite.value(level.data, element, level.implicit, written + b"\0" * (len(written) % 2))

    def _pseudonym(self, level: Level, element: Element, step: Step) -> list[bytes]:
        """A pseudonym by the template. A name may be undecodable: its pseudonym does not depend on it."""
        tag, vr, _, value, stop, _ = element
        assert self.originals is not None and step.attribute is not None
        raw = level.data[value:stop]
        letters = chr(vr >> 8) + chr(vr & 0xFF) if vr != UN else dictionary.vr_of(tag)
        try:
            original = rewrite.text(raw, letters, level.character_set, (*level.path, tag))
        except Doubt:
            if step.attribute != "patient_name":
                raise
            original = raw.strip(PADDING).decode("latin-1")
        digest = self._patient_hash
        if step.attribute == "patient_id":
            digest = self._pseudonyms.patient(original, self.originals.study_uid)
        sent = self._pseudonyms.render(step.attribute, original, digest)
        self._enter(step, original, sent)
        return rewrite.value(level.data, element, level.implicit, sent.encode("ascii"))

    def _enter(self, step: Step, original: str, sent: str) -> None:
        if step.book:
            self.identity[IdentityEntry(step.keyword, original, sent)] = None

    def _kept(self) -> Iterator[tuple[int, int, bytes]]:
        """Tag, VR and value of all that stays as it came."""
        for data, elements in self._treated:
            yield from walk(data, elements, self._steps, self._plan)


def read_originals(data: Buffer, elements: list[Element]) -> Originals | None:
    """The instance's UIDs from what could be read of a data set, None when one is missing or no UID."""
    try:
        head = bytes(memoryview(data)[: elements[-1][4]]) if elements else b""
        return Originals(*(rewrite.key_uid(head, elements, tag) for tag in (STUDY, SERIES, SOP_INSTANCE)))
    except Doubt:
        return None
