"""Identifiers planted anywhere in random data sets never leave, and nothing crashes: withholding is allowed."""

from __future__ import annotations

from building import (
    BASELINE,
    EXPLICIT,
    IMPLICIT,
    clean,
    data_set,
    doubt_of,
    element,
    fragments,
    image,
    item,
    output,
    received,
    sequence,
    stream,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_stream_doubts import jpeg, segment

from dicomnode.model import Doubt, Reason

NEEDLES = (b"Quittenbaum", b"PID-4711", b"1.2.826.0.1.77.1")
TAGS = st.sampled_from(
    [
        *(0x00080008, 0x00080080, 0x00081030, 0x0008103E, 0x00081140, 0x00082111, 0x00082218, 0x00081115, 0x0008001A),
        *(0x00091001, 0x00100040, 0x00101002, 0x00104000, 0x00181020, 0x00180015, 0x00189346, 0x00204000, 0x00281055),
        *(0x00281201, 0x00282000, 0x00331010, 0x00400275, 0x0040A730, 0x00409096, 0x00540016, 0x50000010, 0x60003000),
        *(0x00189999, 0x00420011, 0x00880140, 0x00880200, 0x54000100, 0x00282110, 0x00281350, 0x00189337),
    ]
)
VRS = st.sampled_from(
    ["AE", "CS", "DA", "DS", "DT", "LO", "LT", "OB", "OW", "PN", "SH", "SQ", "SQ", "TM", "UC", "UI", "UN", "UN", "UT"]
)
VALUES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(["19370214", "19370214101112", "12", "1.5", "TEXT", "A\\B", "1.2.840.10008.1.2"]).map(str.encode),
    st.tuples(
        st.sampled_from(["", "for ", "x\\", "1.2."]), st.sampled_from(NEEDLES), st.sampled_from(["", " 2", "^A"])
    ).map(lambda parts: parts[0].encode() + parts[1] + parts[2].encode()),
)


def elements(implicit: bool, depth: int) -> st.SearchStrategy[bytes]:
    """Some elements of one level, in order, each tag once."""

    def encode(parts: list[tuple[int, str, bytes, list[bytes], bool, bool]]) -> bytes:
        found = []
        for tag, vr, value, items, defined, defined_item in sorted(parts, key=lambda part: part[0]):
            if vr == "SQ" or (vr == "UN" and items):
                content = [item(one, defined=defined_item) for one in items]
                found.append(sequence(tag, *content, implicit=implicit, defined=defined, vr=vr))
            else:
                found.append(element(tag, vr, value, implicit=implicit))
        return b"".join(found)

    inner = st.lists(elements(implicit, depth - 1), max_size=2) if depth else st.just([])
    one = st.tuples(TAGS, VRS, VALUES, inner, st.booleans(), st.booleans())
    return st.lists(one, max_size=5, unique_by=lambda part: part[0]).map(encode)


BY_ENCODING = {implicit: elements(implicit, 2) for implicit in (True, False)}


def split(data: bytes, implicit: bool) -> list[bytes]:
    from dicomnode.deidentify.encoded import Element, Reader

    found: list[Element] = []
    try:
        Reader(data, implicit).top_level(0, found)
    except Doubt:
        return [data]
    return [data[start:stop] for _, _, start, _, stop, _ in found]


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_planted_identifiers_never_leave(data: st.DataObject) -> None:
    implicit = data.draw(st.booleans())
    more = data.draw(BY_ENCODING[implicit])
    whole = data_set(*split(more, implicit), implicit=implicit)
    syntax = IMPLICIT if implicit else EXPLICIT
    doubt = doubt_of(whole, syntax)
    if doubt is not None:
        assert doubt.reason is not Reason.INTERNAL, doubt
        return
    sent = output(clean(whole, syntax))
    assert not any(needle.lower() in sent.lower() for needle in NEEDLES)
    assert stream(received(syntax), whole, 50)[1] == sent
    assert output(clean(whole, syntax)) == sent


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_mangled_frames_are_judged_alike_in_any_chunks(data: st.DataObject) -> None:
    frame = jpeg(segment(0xE1, b"Exif\0\0"), segment(0xFE, b"scanner 3"), entropy=b"\x12\xff\x00\x34\xff\xd0\x56" * 3)
    frame = bytearray(frame)
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(
            st.sampled_from([0, 1, 0x64, 0xD8, 0xD9, 0xFE, 0xFF])
        )
    cut = data.draw(st.integers(0, len(frame)))
    parts = [bytes(frame[:cut]), bytes(frame[cut:])] if cut % 2 == 0 and cut else [bytes(frame)]
    whole = data_set(*image(), fragments(*parts))
    try:
        expected = output(clean(whole, BASELINE))
    except Doubt as doubt:
        assert doubt.reason is not Reason.INTERNAL
        expected = doubt.reason
    for size in (1, 2, 5, 64):
        try:
            assert stream(received(BASELINE), whole, size)[1] == expected
        except Doubt as doubt:
            assert doubt.reason == expected
