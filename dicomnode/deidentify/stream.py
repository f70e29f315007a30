"""De-identifies an instance chunk by chunk: the header is held, pixels pass through, what follows is held again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from blake3 import blake3

from dicomnode.deidentify import digest, syntaxes
from dicomnode.deidentify.cleaned import (
    Cleaned,
    Split,
    check_pixels,
    clean_tail,
    clean_whole,
    describe,
    readable,
    split_at,
)
from dicomnode.deidentify.convert import MOST_INFLATED, Inflater
from dicomnode.deidentify.encoded import Element, Reader, Short, place
from dicomnode.deidentify.fragments import Fragments
from dicomnode.deidentify.plan import Plan
from dicomnode.deidentify.pseudonyms import Pseudonyms
from dicomnode.deidentify.subject import read_originals
from dicomnode.deidentify.syntaxes import Form
from dicomnode.deidentify.treatment import Treatment
from dicomnode.keys import ProjectKeys
from dicomnode.model import Buffer, Doubt, Originals, Reason, Received


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes held at most: of everything beside the pixel value (of all, when it is big endian), and inflated."""

    header: int = 64 << 20
    inflated: int = MOST_INFLATED


class Stage(Enum):
    """Where in the data set the stream is."""

    HEAD = "head"
    NATIVE = "native"
    FRAGMENTS = "fragments"
    TAIL = "tail"


class CleanStream:
    """One large instance.

    At any moment, and after feed or finish raised Doubt, what was received is `original_head`, then `pixels_written`
    bytes of the output from `pixels_at`, then `original_rest`. Digests are there after finish.
    """

    def __init__(
        self, plan: Plan, pseudonyms: Pseudonyms, keys: ProjectKeys, received: Received, limits: Limits
    ) -> None:
        self.originals: Originals | None = None
        self.received_digest = self.data_digest = ""
        self.pixels_at = self.pixels_length = 0
        self._passed = 0
        self._keys = keys
        self._limits = limits
        self._plan, self._pseudonyms, self._request = plan, pseudonyms, received
        self._stage = Stage.HEAD
        self._held = bytearray()
        self._compressed = bytearray()
        self._pending = b""
        self._tail = bytearray()
        self._refused = b""
        self._position = self._next_try = self._left = 0
        self._elements: list[Element] = []
        self._fragments: Fragments | None = None
        self._form: Form | None = None
        self._treatment: Treatment | None = None
        self._inflater: Inflater | None = None
        self._pixel_hash = blake3()
        self._before_hash = b""
        self._cleaned: Cleaned | None = None

    @property
    def _converted(self) -> bool:
        return self._form is not None and (self._form.deflated or self._form.big_endian)

    @property
    def pixels_written(self) -> int:
        """How many bytes of the received pixel value were given out unchanged."""
        return 0 if self._converted else self._passed

    @property
    def held(self) -> int:
        """How many received bytes are held in memory."""
        return len(self._held) + len(self._compressed) + len(self._pending) + len(self._tail)

    @property
    def original_head(self) -> Buffer:
        """The received bytes before those that were given out."""
        return bytes(self._compressed if self._inflater else self._held)

    @property
    def original_rest(self) -> list[Buffer]:
        """The received bytes behind those that were given out."""
        return [] if self._inflater else [self._pending, bytes(self._tail), self._refused]

    def feed(self, chunk: Buffer) -> list[Buffer]:
        """Output that passed the gate, to be used before the chunk changes. Raises Doubt: then nothing may follow."""
        stage, held, pending, tail, passed = self._stage, len(self._held), self._pending, len(self._tail), self._passed
        try:
            self._begin()
            return self._take(chunk)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong withholds the instance
            doubt = self._doubt(error)
            self._stage, self._pending, self._passed = stage, pending, passed
            del self._held[held:], self._tail[tail:]
            if not self._inflater:
                self._refused = bytes(chunk)
            raise doubt from None

    def finish(self) -> tuple[list[Buffer], Cleaned]:
        """The last output, and the instance without its bytes. Raises Doubt."""
        try:
            self._begin()
            return self._finish()
        except Exception as error:  # noqa: BLE001 - the same
            raise self._doubt(error) from None

    def _begin(self) -> None:
        if self._form is None:
            self._form = syntaxes.form(self._request.transfer_syntax)
            self._treatment = Treatment(self._plan, self._pseudonyms, self._request, self._form.implicit)
            self._inflater = Inflater(self._limits.inflated) if self._form.deflated else None

    def _doubt(self, error: Exception) -> Doubt:
        if not isinstance(error, Doubt):
            error = Doubt(Reason.INTERNAL, type(error).__name__)
        self.originals = self.originals or read_originals(self._held, self._elements)
        error.originals = error.originals or self.originals
        error.judged = error.judged or (self._treatment.entry if self._treatment else None)
        return error

    def _take(self, chunk: Buffer) -> list[Buffer]:
        """One chunk through the stages."""
        if self._inflater:
            self._compressed += chunk
            if len(self._compressed) > self._limits.header:
                raise Doubt(Reason.HEADER_TOO_LARGE)
            chunk = self._inflater.feed(chunk)
        out: list[Buffer] = []
        view = memoryview(chunk)
        header = 0
        if self._stage is Stage.HEAD:
            view, header = self._head(view, out)
        if self._stage is Stage.NATIVE:
            view = self._native(view, out)
        elif self._stage is Stage.FRAGMENTS:
            view = self._encapsulated(view, out)
        if self._stage is Stage.TAIL:
            self._tail += view
            self._cap(len(self._tail))
        if header:
            del self._held[header:]
        return out

    def _cap(self, size: int) -> None:
        if size > self._limits.header:
            raise Doubt(Reason.HEADER_TOO_LARGE)

    def _head(self, view: memoryview, out: list[Buffer]) -> tuple[memoryview, int]:
        """Hold until the pixel element's header is there; then what is behind it, and where it ends."""
        self._held += view
        split = self._find_pixels() if len(self._held) >= self._next_try else None
        if split is None:
            self._cap(len(self._held))
            return view[:0], 0
        self._cap(split.value)
        self._clean_head(split, out)
        return memoryview(bytes(memoryview(self._held)[split.value :])), split.value

    def _find_pixels(self) -> Split | None:
        assert self._form is not None
        if self._form.big_endian:
            return None
        reader = Reader(self._held, self._form.implicit)
        try:
            position = reader.top_level(self._position, self._elements)
            split = split_at(reader, position)
        except Short:
            split = None
        self._position = self._elements[-1][4] if self._elements else 0
        if split is not None and split.tag:
            return split
        self._next_try = len(self._held) + (len(self._held) - self._position) // 4 + 1
        return None

    def _clean_head(self, split: Split, out: list[Buffer]) -> None:
        assert self._form is not None and self._treatment is not None
        head = bytes(memoryview(self._held)[: split.value])
        parts = self._treatment.head(head, self._elements)
        parts.append(head[self._position :])
        self.originals = self._treatment.subject.originals
        self._fragments = check_pixels(head, self._elements, split, self._treatment, self._form)
        self._treatment.gate.check()
        self._cleaned = describe(self._treatment, self._form)
        before = b"".join(parts)
        self._before_hash = digest.content_digest(before)
        out += [*self._cleaned.head, before]
        self.pixels_at = self._cleaned.data_set_offset + len(before)
        self._left = split.length
        self._stage = Stage.FRAGMENTS if self._fragments else Stage.NATIVE

    def _native(self, view: memoryview, out: list[Buffer]) -> memoryview:
        step = min(self._left, len(view))
        self._left -= step
        self._pass(view[:step], out)
        if not self._left:
            self._stage = Stage.TAIL
        return view[step:]

    def _encapsulated(self, view: memoryview, out: list[Buffer]) -> memoryview:
        assert self._fragments is not None and self._treatment is not None
        if self._pending:
            view = memoryview(self._pending + bytes(view))
        judged = self._fragments.advance(view)
        self._treatment.judge_frames(self._fragments)
        self._pass(view[:judged], out)
        self._pending = b"" if self._fragments.done else bytes(view[judged:])
        if self._fragments.done:
            self._stage = Stage.TAIL
        return view[judged:]

    def _pass(self, view: memoryview, out: list[Buffer]) -> None:
        if view:
            self._pixel_hash.update(view)
            self._passed += len(view)
            out.append(view)

    def _finish(self) -> tuple[list[Buffer], Cleaned]:
        if self._inflater:
            self._inflater.finish()
        if self._stage is Stage.HEAD:
            return self._finish_whole()
        if self._stage is not Stage.TAIL:
            raise Short(Reason.TRUNCATED, place((0x7FE00010,)))
        assert self._form is not None and self._treatment is not None and self._cleaned is not None
        tail = self._clean_tail(self._treatment, self._form)
        if tail or self._tail:
            self._treatment.gate.check()
        self.pixels_length = self._passed
        pixels = self._pixel_hash.digest()
        rest = b"" if self._inflater else self._tail
        self.received_digest = digest.received_of(
            self._keys.journal, digest.content_digest(self.original_head), pixels, digest.content_digest(rest)
        )
        self.data_digest = digest.data_of(self._before_hash, pixels, digest.content_digest(tail))
        self._cleaned.identity = tuple(self._treatment.identity)
        self._cleaned.head = []
        return list(tail), self._cleaned

    def _clean_tail(self, treatment: Treatment, form: Form) -> list[bytes]:
        """The elements behind the pixels. Frames are gone: who is named here first was not looked for in them."""
        before = len(treatment.gate.originals)
        tail = clean_tail(treatment, bytes(self._tail), form.implicit)
        new = treatment.gate.new_since(before) if self._fragments else None
        if new is not None:
            raise Doubt(Reason.RESIDUE, place((new,)))
        return tail

    def _finish_whole(self) -> tuple[list[Buffer], Cleaned]:
        """No pixel value passed: all is here, as for an instance that is held whole."""
        assert self._form is not None and self._treatment is not None
        self._elements.clear()
        data = bytes(self._compressed if self._inflater else self._held)
        source = readable(data, self._form)
        cleaned = clean_whole(self._treatment, data, source, self._form, self._elements)
        self.originals = cleaned.originals
        pixels = digest.content_digest(cleaned.pixels or b"")
        self.pixels_at = sum(map(len, cleaned.head))
        self.pixels_length = len(cleaned.pixels or b"")
        self.received_digest = digest.received_digest(
            self._keys.journal, cleaned.original_head, pixels, cleaned.original_tail
        )
        self.data_digest = digest.data_digest(cleaned.before_pixels, pixels, cleaned.tail)
        out = [*cleaned.head, *([] if cleaned.pixels is None else [cleaned.pixels]), *cleaned.tail]
        cleaned.head, cleaned.tail, cleaned.pixels = [], [], None
        cleaned.original_head = cleaned.original_tail = b""
        return out, cleaned
