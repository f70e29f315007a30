"""A plan applied to the elements of one instance: what is kept, what is written instead, what the gate must know."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from dicomnode.deidentify import actions, content, dates, descriptors, rewrite, values
from dicomnode.deidentify.acceptance import Acceptance, Evaluation
from dicomnode.deidentify.concepts import concepts
from dicomnode.deidentify.declaration import declared, digests_before
from dicomnode.deidentify.encoded import PIXEL_TAGS, UN, Element, is_undefined, place, vr_code
from dicomnode.deidentify.fragments import Fragments
from dicomnode.deidentify.gate import Gate, Settled, nothing
from dicomnode.deidentify.level import Level
from dicomnode.deidentify.pixels import value_of
from dicomnode.deidentify.plan import Action, Needle, Plan, Step
from dicomnode.deidentify.pseudonyms import Pseudonyms
from dicomnode.deidentify.remaining import walk
from dicomnode.deidentify.standard import dictionary
from dicomnode.deidentify.subject import NOBODY, identify, sibling
from dicomnode.deidentify.taken import CHARACTER_SET, note, note_item
from dicomnode.model import JUDGED, Doubt, IdentityEntry, Originals, Reason, Received

DATES = {vr_code(vr): vr for vr in ("DA", "TM", "DT")}
LO = vr_code("LO")
PADDING = b" \0"
NO_DAY = dates.NO_DAY.encode("ascii")
BEHIND_ALL = 1 << 32
FIRST_PRIVATE_DATA = 0x1000
NO_NEEDLE = Needle.NONE
KEEP, REMOVE, EMPTY, DUMMY = Action.KEEP, Action.REMOVE, Action.EMPTY, Action.DUMMY
UID, PSEUDONYM, RECURSE, CHECK = Action.UID, Action.PSEUDONYM, Action.RECURSE, Action.CHECK
FORM, WITHHOLD = Action.FORM, Action.WITHHOLD
FORMED = values.FORMED
IMAGE_GROUP = 0x0028
SHIFT, AGE, PRIVATE, CONTENT, OVERLAY = Action.SHIFT, Action.AGE, Action.PRIVATE, Action.CONTENT, Action.OVERLAY
CLEAN = Action.CLEAN


class Treatment:
    """Treats one instance; `head` first, then `tail`. Raises Doubt."""

    def __init__(self, plan: Plan, pseudonyms: Pseudonyms, received: Received, implicit: bool) -> None:
        self.subject = NOBODY
        self.identity: dict[IdentityEntry, None] = {}
        self.gate = Gate(self._kept)
        self.plan = plan
        self._pseudonyms = pseudonyms
        self.received = received
        self._implicit = implicit
        self._own: tuple[tuple[int, bytes], ...] = ()
        self._character_sets: set[bytes] = set()
        self._treated: list[tuple[bytes, Sequence[Element]]] = []
        self._facts: actions.Facts | None = None
        self._judged: list[Evaluation] = []

    def head(self, data: bytes, elements: list[Element]) -> list[bytes]:
        """The clean elements before the pixel data, the declaration of what was done among them."""
        self.subject = identify(self.plan, self._pseudonyms, self.received, data, elements)
        character_set = self._checked(self.subject.character_set, ())
        if self.plan.cleaner is not None:
            known = descriptors.known_in(data, elements, self.subject.steps, character_set)
            self.subject = self.subject._replace(known=known)
        if self.plan.acceptance is not None:
            self._judged = self.plan.acceptance.judge(data, elements)
            self._accept(self.plan.acceptance)
        self.declare(data, elements)
        return self.portion(data, elements)

    @property
    def entry(self) -> IdentityEntry | None:
        """What the conditions of the rules said, where they were asked."""
        return next((entry for entry in self.identity if entry.attribute == JUDGED), None)

    def _accept(self, acceptance: Acceptance) -> None:
        """Enter what the conditions of the rules said. Raises Doubt where one does not hold."""
        subject = self.subject
        sent = Originals(subject.study_uid, subject.series_uid, subject.sop_uid)
        self.identity[acceptance.told(self._judged, subject.originals, sent)] = None

    def declare(self, data: bytes, elements: list[Element]) -> None:
        """Make what this de-identification adds, behind what was declared before."""
        for digest in digests_before(data, elements):
            self.gate.keep[LO](digest)
        written = declared(self.plan, data, elements, self._implicit)
        if self.plan.makes:
            project, given = self.received.origin.project, self.plan.given
            facts = actions.Facts(project, self.subject, self._pseudonyms, data, elements, given)
            written += actions.added(facts, self.gate, self.plan.adds, self._implicit)
            self._facts = facts
        self._own = tuple(sorted(written))

    def portion(self, data: bytes, elements: Sequence[Element], low: int = 0, high: int = BEHIND_ALL) -> list[bytes]:
        """The clean elements of the tags from `low` to below `high`, among them what is declared."""
        out: list[bytes] = []
        begin = 0
        for tag, own in self._own:
            if low <= tag < high:
                end = bisect_left(elements, (tag,))
                self._top_level(data, elements[begin:end], out)
                out.append(own)
                begin = end
        self._top_level(data, elements[begin:] if begin else elements, out)
        return out

    def tail(self, data: bytes, elements: list[Element]) -> list[bytes]:
        """The clean elements behind the pixel data."""
        out: list[bytes] = []
        self._top_level(data, elements, out)
        return out

    def beside(self, received: Received, settled: Settled | None) -> Treatment:
        """A treatment of parts of an instance of the same series; whatever its gate finds is a doubt."""
        other = Treatment(self.plan, self._pseudonyms, received, self._implicit)
        other.gate = Gate(nothing, settled)
        other.subject, other._own, other._facts, other._judged = self.subject, self._own, self._facts, self._judged
        if settled is None:
            other._checked(self.subject.character_set, ())
        else:
            other._character_sets.update(settled.character_sets)
        return other

    def identify_sibling(self, data: bytes, elements: Sequence[Element]) -> None:
        """Take the SOP Instance UID among these elements for that of the instance. Raises Doubt."""
        self.subject = sibling(self.subject, self._pseudonyms, self.received, data, elements)
        if self.plan.acceptance is not None:
            self._accept(self.plan.acceptance)

    def judge_pixels(self, tag: int, vr: int, data: bytes, elements: list[Element]) -> None:
        """Raises Doubt unless the plan keeps the pixel element as it is and does not suspect what it shows."""
        if self.subject.steps[tag << 16 | vr].action is not KEEP:
            raise Doubt(Reason.NOT_ACCEPTED, place((tag,)))
        self.plan.pixels.judge(self.subject.sop_class, data, elements)

    def judge_frames(self, fragments: Fragments) -> None:
        """Show the gate and the plan what was read of frames since the last time. Raises Doubt."""
        texts = list(fragments.texts)
        self.gate.check_segments(fragments.texts)
        self.gate.check_coding(fragments.coding)
        self.gate.check_raw(fragments.raw)
        self.plan.pixels.judge_texts(self.subject.sop_class, texts)

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

    # the elements

    def _top_level(self, data: bytes, elements: Sequence[Element], out: list[bytes]) -> None:
        self._treated.append((data, elements))
        if elements:
            level = Level(data, self.subject.steps, self.subject.character_set, self._implicit, ())
            self._level(level, elements[0][2], elements[-1][4], elements, out)

    def _level(self, level: Level, begin: int, end: int, elements: Sequence[Element], out: list[bytes]) -> bool:
        """Append what the bytes from `begin` to `end` become to `out`; whether anything changed."""
        data, steps, keep = level.data, level.steps, self.gate.keep
        run = begin
        for element in elements:
            tag, vr, start, value, stop, items = element
            step = steps[tag << 16 | vr]
            if step.action is KEEP and items is None:
                if stop - value & step.partial:
                    raise level.doubt_of(element, self._around(level, elements))
                keep[vr](data[value:stop])
                continue
            if step.action is FORM and items is None and not (stop - start & 1):
                raw = data[value:stop]
                if raw in FORMED[step.form] or values.is_formed(raw, step.form):
                    keep[step.searched](raw)
                    continue
            written: list[bytes] | None
            if step.action is REMOVE:
                if items is not None or step.needle is not NO_NEEDLE:
                    note(self.gate, data, element, step, steps, level.character_set)
                written = []
            elif step.action is PRIVATE:
                written = self._private(level, element, elements, step)
            elif step.action is OVERLAY:
                written = self._overlay(level, element, elements, step)
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
            return self._reduced(level, element, step)
        if action is CLEAN:
            return self._described(level, element, step)
        if action is FORM or action is WITHHOLD:
            return self._formed(level, element, step)
        if step.made is not None and self._facts is not None:
            written = actions.made(self._facts, self.gate, level, element, step)
            self._enter_made(step, level, element, written)
            return written
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
        tree = level.tree.within(level.data, element, concepts(self.plan.options))
        inside = level.steps.inside(tag)
        for item in items or ():
            if tree.goes(item[0]):
                note_item(self.gate, level.data, item[0], item[3], inside, level.character_set, tree)
        if not all(tree.goes(item[0]) for item in items or ()):
            return self._sequence(level, element, tree)
        return [rewrite.header(level.data, element, level.implicit, 0)] if tag in content.MAY_BE_EMPTY else []

    def _overlay(self, level: Level, element: Element, elements: Sequence[Element], step: Step) -> list[bytes] | None:
        """An element of an overlay plane, kept when the plane marks a region."""
        tag, vr, _, value, stop, _ = element
        if not content.marks_region(level.data, elements, tag):
            return []
        if stop - value & step.partial:
            raise level.doubt_of(element, self._around(level, elements))
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

    def _reduced(self, level: Level, element: Element, step: Step) -> list[bytes] | None:
        """A date moved by the days of the patient or of the rules, an age above 89 years capped."""
        tag, vr, start, value, stop, _ = element
        raw = level.data[value:stop]
        if step.action is AGE:
            sent: bytes | None = values.capped_ages(raw)
        else:
            days = actions.shifted_by(step, self.subject.days)
            sent = dates.moved(raw, DATES.get(vr) or dictionary.vr_of(tag), days)
        if sent is None or stop - start & 1:
            raise Doubt(Reason.BAD_DATE if sent is None else Reason.UNREADABLE, place((*level.path, tag)))
        if sent == raw.rstrip(PADDING):
            if step.action is AGE or NO_DAY not in sent:
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
        self.gate.keep[step.searched](kept)
        return rewrite.value(level.data, element, level.implicit, kept.rstrip(PADDING))

    def _described(self, level: Level, element: Element, step: Step) -> list[bytes] | None:
        """A description of which the words stay that cannot tell who it is about."""
        tag, vr, start, value, stop, _ = element
        assert self.plan.cleaner is not None
        raw = level.data[value:stop]
        kind = dictionary.vr_of(tag) if vr == UN else chr(vr >> 8) + chr(vr & 0xFF)
        kept = descriptors.cleaned(raw, kind, level.character_set, self.plan.cleaner, self.subject.known)
        if stop - start & 1:
            raise Doubt(Reason.UNREADABLE, place((*level.path, tag)))
        if not kept and raw:
            dummy = (step.implicit if level.implicit else step.dummy) or b""
            return [rewrite.header(level.data, element, level.implicit, len(dummy)), dummy]
        self.gate.keep[vr](kept)
        return None if kept == raw else rewrite.value(level.data, element, level.implicit, kept)

    def _private(self, level: Level, element: Element, elements: Sequence[Element], step: Step) -> list[bytes] | None:
        """A private element: it stays where the plan knows it as safe, with the creator of its block."""
        assert self.plan.safe is not None
        found = self.plan.safe.step(level.data, elements, element)
        if found is None:
            note(self.gate, level.data, element, step, level.steps, level.character_set)
            return []
        safe, vr = found
        if safe.action is not KEEP:
            return self._changed(level, element, safe)
        if element[4] - element[3] & 1:
            raise level.doubt_of(element, self._around(level, elements))
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
        assert step.attribute is not None
        original = actions.original(level, element)
        digest = self.subject.patient_hash
        if step.attribute == "patient_id":
            digest = self._pseudonyms.patient(original, self.subject.originals.study_uid)
        sent = self._pseudonyms.render(step.attribute, original, digest, self.subject.originals.study_uid)
        if self.plan.given:
            self.gate.keep[element[1]](sent.encode("ascii"))
        self._enter(step, original, sent)
        return rewrite.value(level.data, element, level.implicit, sent.encode("ascii"))

    def _enter_made(self, step: Step, level: Level, element: Element, written: list[bytes] | None) -> None:
        """What the rules made of a value that the identity book knows."""
        if step.book and written is not None and level.data[element[3] : element[4]].strip(PADDING):
            original = actions.original(level, element)
            self._enter(step, original, written[-1].decode("ascii", "replace").strip(" \0"))

    def _enter(self, step: Step, original: str, sent: str) -> None:
        if step.book:
            self.identity[IdentityEntry(step.keyword, original, sent)] = None

    def _around(self, level: Level, elements: Sequence[Element]) -> Sequence[Element]:
        """The elements of a level; at the top level all that came so far."""
        return elements if level.path else [element for _, some in self._treated for element in some]

    def _kept(self) -> Iterator[tuple[int, int, bytes, bool]]:
        """Tag, VR and value of all that stays as it came, and whether it stands in a sequence."""
        for data, elements in self._treated:
            yield from walk(data, elements, self.subject.steps, self.plan)
