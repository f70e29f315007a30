"""Comments and application segments of frames: only what encoders write of themselves passes."""

from __future__ import annotations

import pytest
from building import BASELINE, EXPLICIT, data_set, element, fragments, image, received
from compare import BASIC, KEYS, plan_of

from dicomnode.deidentify import Deidentifier, suspicious
from dicomnode.deidentify.frame_texts import is_known
from dicomnode.model import Doubt, Reason

OTHERS = [rule.name for rule in suspicious.default().rules if rule != suspicious.FRAME_TEXT]


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def frame(*segments: bytes) -> bytes:
    made = b"\xff\xd8" + b"".join(segments) + segment(0xDA, b"\1\1\0\0\x3f\0") + b"\x12\x34\xff\xd9"
    return made + b"\0" * (len(made) % 2)


def doubt(rules: str, *segments: bytes) -> Doubt | None:
    data = data_set(*image(), fragments(frame(*segments)))
    try:
        Deidentifier(plan_of(rules), KEYS).clean(received(BASELINE), data)
    except Doubt as caught:
        return caught
    return None


RULES = f"profile: basic\nsuspicious_pixels: {{off: [{', '.join(OTHERS)}]}}\n"


@pytest.mark.parametrize(
    "content",
    [
        b"JFIF\0\1\1\0\0\1\0\1\0\0",
        b"Adobe\0d\0\0\0\0\0",
        b"LEAD Technologies Inc. V1.01\0",
        b"AppleMark\n",
        b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n",
        b"\0\1Kakadu-v7.3.3",
        b"\0\1Created by OpenJPEG version 2.5.0",
        b"\0\1Creator: JasPer Version 1.701.0",
        b"",
        b"\1\2\3\4ab\5\6",
        b"\0\1\2",
        b"7",
        b"AVI1\0\0\0\0\0\0\0\0\0\0\0\0",
    ],
)
def test_what_encoders_write_passes(content: bytes) -> None:
    assert is_known(content)
    assert doubt(RULES, segment(0xFE, content), segment(0xE1, content)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"Anders, Jemand",
        b"4711",
        "Jörg".encode(),
        "Li 7".encode("utf-16-le"),
        "李四".encode(),
        b"Exif\0\0MM\0*\0\0\0\x08",
        b"JFIF\0\1\1\0\0\1\0\1\1\1abcd",
        b"LEAD Technologies Inc. V1.01 for Anders",
        b"Li Wu ",
        b"Hu-Li",
        b"ID123",
        b"\0\1ID123\0",
        b"5.1.50",
        b"M\xfcl J\xf6r",
        b"H A N S M U S T E R",
        b"AVI1Hans Muster",
        b"AdobeHansLi\0",
        b"JFIF\0HansLi1\0\0",
        b"ICC_PROFILE\0\1\1Anders, Jemand",
        b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>",
        b"\0\1Kakadu-v7.3.3 Anders",
    ],
)
def test_what_may_be_about_anybody_does_not(content: bytes) -> None:
    for marker in (0xFE, 0xE1):
        caught = doubt(RULES, segment(marker, content))
        assert caught is not None and caught.reason is Reason.SUSPICIOUS_PIXELS
        assert caught.where == "(7FE0,0010) frame-text"


def chunks(*data: bytes, sign: bytes = b"ICC_PROFILE\0") -> list[bytes]:
    return [sign + bytes([at, len(data)]) + each for at, each in enumerate(data, 1)]


def profile(length: int = 200, declared: int | None = None) -> bytes:
    head = (length if declared is None else declared).to_bytes(4, "big") + bytes(32) + b"acsp" + bytes(88)
    return head + b"sRGB" * ((length - len(head)) // 4)


WHOLE = profile()


@pytest.mark.parametrize("data", [[WHOLE], [WHOLE[:150], WHOLE[150:]], [WHOLE[:128], WHOLE[128:160], WHOLE[160:]]])
def test_a_colour_profile_is_no_text(data: list[bytes]) -> None:
    segments = [segment(0xE2, each) for each in chunks(*data)]
    assert doubt(RULES, segment(0xEE, b"Adobe\0d\0\0\0\0\0"), *segments) is None
    assert all(doubt(RULES, *([one] * 2)) is not None for one in segments)
    assert doubt(RULES, *(segment(0xFE, each) for each in chunks(*data))) is not None
    assert doubt(RULES, *(segment(0xE1, each) for each in chunks(*data))) is not None


@pytest.mark.parametrize(
    "parts",
    [
        [b"ICC_PROFILE\0", b"for Anders"],
        [b"ICC_PROFILE\0\1\1Anders" + bytes(200)],
        chunks(WHOLE[:100]),
        chunks(WHOLE.replace(b"acsp", b"ascp")),
        chunks(WHOLE, b"Anders, Jemand"),
        chunks(WHOLE + b"Anders, Jemand"),
        chunks(profile(200, 204)),
        [*chunks(WHOLE), b"ICC_PROFILE\0\2\1for Anders"],
        chunks(b"Anders, Jemand", WHOLE),
        chunks(*([WHOLE[:150], WHOLE[150:]]))[::-1],
        [each.replace(b"\2\2", b"\2\3", 1) for each in chunks(WHOLE[:150], WHOLE[150:])],
    ],
)
def test_what_only_begins_like_a_colour_profile_is_a_text(parts: list[bytes]) -> None:
    caught = doubt(RULES, *(segment(0xE2, each) for each in parts))
    assert caught is not None and caught.where == "(7FE0,0010) frame-text"


def test_each_image_has_a_colour_profile_of_its_own_and_the_gate_searches_it() -> None:
    whole = frame(segment(0xE2, chunks(WHOLE)[0]))
    two = data_set(*image(2), fragments(whole, whole))
    Deidentifier(plan_of(RULES), KEYS).clean(received(BASELINE), two)
    named = WHOLE[:150] + b" Quittenbaum " + WHOLE[163:]
    caught = doubt(RULES, segment(0xE2, chunks(named)[0]))
    assert caught is not None and caught.reason is Reason.RESIDUE


def test_the_gate_speaks_first_and_rules_may_let_texts_pass() -> None:
    named, other = segment(0xFE, b"for Quittenbaum"), segment(0xFE, b"Anders, Jemand")
    assert doubt(RULES, named).reason is Reason.RESIDUE  # type: ignore[union-attr]
    assert doubt(RULES.replace("film", "film, frame-text", 1), other) is None
    assert doubt(BASIC, other) is None
    accepted = "profile: basic\nsuspicious_pixels: {accept: [SecondaryCaptureImageStorage]}\n"
    assert doubt(accepted, other) is None


def test_streams_ask_before_a_byte_of_the_frame_is_given_out() -> None:
    data = data_set(*image(), fragments(frame(segment(0xFE, b"Anders, Jemand"))))
    cleaner = Deidentifier(plan_of(RULES), KEYS).stream(received(BASELINE))
    given = []
    with pytest.raises(Doubt) as caught:
        for at in range(0, len(data), 7):
            given += [bytes(part) for part in cleaner.feed(data[at : at + 7])]
    assert caught.value.reason is Reason.SUSPICIOUS_PIXELS
    assert b"Anders" not in b"".join(given)


def streamed(data: bytes, syntax: str) -> Doubt | None:
    cleaner = Deidentifier(plan_of(BASIC), KEYS).stream(received(syntax))
    try:
        for at in range(0, len(data), 64):
            cleaner.feed(data[at : at + 64])
        cleaner.finish()
    except Doubt as caught:
        return caught
    return None


def test_who_is_named_behind_the_frames_was_not_looked_for_in_them() -> None:
    """(FFFA,FFFA) is taken out: a certificate's owner may stand in the frames that are written already."""
    signature = element(0xFFFAFFFA, "SQ", b"")
    foreign = element(0x7FE10010, "LO", "ACME") + element(0x7FE11001, "PN", "Anders^Jemand")
    known = element(0x7FE10010, "LO", "ACME") + element(0x7FE11001, "LO", "PID-4711")
    pixels = fragments(frame())
    caught = streamed(data_set(*image(), pixels, foreign), BASELINE)
    assert caught is not None and (caught.reason, caught.where) == (Reason.RESIDUE, "(unknown)")
    assert streamed(data_set(*image(), pixels, signature), BASELINE) is None
    assert streamed(data_set(*image(), element(0x7FE00010, "OB", bytes(16)), foreign), EXPLICIT) is None
    assert streamed(data_set(*image(), pixels, known), BASELINE) is None
