"""DCMTK sends, the node de-identifies, DCMTK receives: contents are compared at the receiver, never only counted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import images
import pytest
import synthetic
from peers import dcmtk, raw
from peers.process import until
from peers.scripted import request


@pytest.mark.own_process
def test_a_series_arrives_whole_and_clean(way, write_files):
    chain = way()
    sent = list(synthetic.series(5))
    assert dcmtk.dcmsend(chain.port, write_files(sent)).statuses == [0] * 5
    (study,) = chain.node.wait_settled()
    assert (study["stored"], study["withheld"]) == (5, 0)
    assert chain.research.data_sets() == chain.expect(sent)
    assert chain.differences(sent) == []
    for uid, (_, data) in chain.research.data_sets().items():
        assert uid.startswith("2.25.")
        for needle in synthetic.PERSON.needles():
            assert needle.encode() not in data


PROPOSED = dict(zip(images.PLAIN_SYNTAXES, ("-xi", "-xe", "-xb", "-xd"), strict=True))


@pytest.mark.parametrize("syntax", images.PLAIN_SYNTAXES, ids=lambda syntax: syntax.name)
def test_every_uncompressed_syntax(way, write_files, syntax):
    chain = way()
    sent = [images.written(synthetic.ct(number=n, rows=64, columns=64), syntax) for n in (1, 2)]
    result = dcmtk.storescu(chain.port, write_files(sent), options=["-R", PROPOSED[syntax]])
    assert result.statuses == [0, 0]
    chain.node.wait_settled()
    arrived = chain.research.instances()
    assert chain.research.data_sets() == chain.expect(sent)
    assert chain.differences(sent) == []
    assert {_pixels(part10) for part10 in arrived.values()} == {_pixels(part10) for part10 in sent}


def _pixels(part10: bytes) -> bytes:
    return images.parse(part10).pixel_array.astype("<u2").tobytes()


COMPRESSED = (
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "MR_small_RLE.dcm",
    "693_J2KI.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "emri_small_jpeg_ls_lossless.dcm",
    "examples_ybr_color.dcm",
)


def _as_dcmtk_sends_it(part10: bytes) -> bytes:
    """Encapsulated pixel data is OB (PS3.5 A.4); DCMTK corrects files that say OW."""
    data_set = images.parse(part10)
    data_set["PixelData"].VR = "OB"
    return images.written(data_set)


def test_compressed_pixels_arrive_as_they_were(way, write_files):
    chain = way()
    sent = [_as_dcmtk_sends_it(images.real(name).read_bytes()) for name in COMPRESSED]
    result = dcmtk.dcmsend(chain.port, write_files(sent))
    assert result.statuses == [0] * len(sent), result.output[-2000:]
    until(lambda: len(chain.research.files()) == len(sent) or chain.node.quarantine(), 30, "what was sent, at research")
    assert chain.node.quarantine() == []
    assert chain.differences(sent) == []
    for part10 in sent:
        uid, (syntax, _) = chain.clean(part10)
        before, after = images.parse(part10), images.parse(chain.research.instances()[uid])
        assert syntax == before.file_meta.TransferSyntaxUID
        assert after.PixelData == before.PixelData


def test_two_associations_of_one_study_are_one_study(way, write_files):
    chain = way()
    sent = list(synthetic.series(12))
    halves = [write_files(sent[::2], "a"), write_files(sent[1::2], "b")]
    with ThreadPoolExecutor(2) as both:
        results = list(both.map(lambda files: dcmtk.dcmsend(chain.port, files), halves))
    assert [result.statuses for result in results] == [[0] * 6, [0] * 6]
    (study,) = chain.node.wait_settled()
    assert study["stored"] == 12
    assert chain.research.data_sets() == chain.expect(sent)


def test_the_same_study_again_changes_nothing(way, write_files):
    chain = way()
    sent = list(synthetic.series(3))
    files = write_files(sent)
    for _ in range(2):
        assert dcmtk.storescu(chain.port, files).statuses == [0, 0, 0]
        (study,) = chain.node.wait_settled()
        assert (study["stored"], study["withheld"]) == (3, 0)
    assert chain.research.output().count("Received Store Request") == 3
    assert chain.research.data_sets() == chain.expect(sent)


def test_a_late_instance_joins_its_study(way, write_files):
    chain = way(quiet="500ms")
    sent = list(synthetic.series(3))
    assert dcmtk.storescu(chain.port, write_files(sent[:2], "early")).statuses == [0, 0]
    chain.node.wait_settled()
    assert dcmtk.storescu(chain.port, write_files(sent[2:], "late")).statuses == [0]
    until(lambda: len(chain.research.files()) == 3, 30, "the late instance at research")
    (study,) = chain.node.wait_settled()
    assert study["stored"] == 3
    assert chain.research.output().count("Received Store Request") == 3
    assert chain.research.data_sets() == chain.expect(sent)


def test_other_content_under_the_same_uid_is_withheld(way, write_files):
    chain = way()
    first, second = synthetic.ct(rows=32, columns=32), synthetic.ct(rows=32, columns=32)
    second.WindowCenter = [50, -500]
    sent = [images.written(first), images.written(second)]
    assert dcmtk.storescu(chain.port, write_files(sent)).statuses == [0, 0]
    chain.node.wait_settled()
    assert [each["reason"] for each in chain.node.quarantine()] == ["conflict"]
    assert chain.research.data_sets() == chain.expect(sent[:1])


def _private_class(part10: bytes) -> bytes:
    data_set = images.parse(part10)
    data_set.SOPClassUID = data_set.file_meta.MediaStorageSOPClassUID = "1.2.826.0.1.3680043.10.1337.77"
    return images.written(data_set)


def test_what_is_withheld_is_accepted_sealed_and_listed(way, write_files):
    chain = way()
    good, cut, private = synthetic.series(3)
    cut = cut[:-1000]
    sent = [good, cut, _private_class(private)]
    assert dcmtk.dcmsend(chain.port, write_files([good, _private_class(private)])).statuses == [0, 0]
    assert raw.store(chain.port, [cut]) == [0]
    (study,) = chain.node.wait_settled()
    assert (study["stored"], study["withheld"]) == (1, 2)
    assert sorted(each["reason"] for each in chain.node.quarantine()) == ["sop-class", "truncated"]
    assert chain.research.data_sets() == chain.expect(sent[:1])
    sealed = {name: data for name, data in chain.node.written_bytes().items() if name.startswith("quarantine")}
    assert len(sealed) >= 2
    for data in sealed.values():
        for needle in synthetic.PERSON.needles():
            assert needle.encode() not in data


def test_every_real_file_arrives_or_is_withheld(way):
    """Byte for byte what the engine makes of it; and what it doubts is in the quarantine."""
    chain = way()
    files = [path.read_bytes() for path in images.sendable_files()]
    sent = {images.header(part10).SOPInstanceUID: part10 for part10 in files}
    assert raw.store(chain.port, list(sent.values())) == [0] * len(sent)
    expected, doubts = chain.expect_some(list(sent.values()))
    assert len(expected) > 100
    until(lambda: len(chain.research.files()) == len(expected), 60, f"{len(expected)} instances at research")
    assert chain.research.data_sets() == expected
    assert sorted(each["reason"] for each in chain.node.quarantine()) == sorted(doubts)


@pytest.mark.parametrize(
    ("calling", "called", "host", "reason"),
    [
        ("STRANGER", "DICOMNODE", "127.0.0.1", 3),
        ("STAGING", "NOBODY", "127.0.0.1", 7),
        ("STAGING", "DICOMNODE", "127.0.0.2", 1),
    ],
    ids=["unknown caller", "unknown called", "foreign address"],
)
def test_who_may_not_call_is_rejected(way, calling, called, host, reason):
    chain = way(settings={"peers": {"staging": {"host": host}}})
    application = b"\x10\0\0\x151.2.840.10008.3.1.1.1"
    context = b"\x20\0\0\x2e\1\0\0\0\x30\0\0\x111.2.840.10008.1.1\x40\0\0\x111.2.840.10008.1.2"
    user = b"\x50\0\0\x08\x51\0\0\4\0\0\x40\0"
    body = b"\0\1\0\0" + called.encode().ljust(16) + calling.encode().ljust(16) + bytes(32)
    body += application + context + user
    (answer,) = request(chain.port, [b"\1\0" + len(body).to_bytes(4, "big") + body, "pdu"])
    assert answer == bytes([3, 0, 0, 0, 0, 4, 0, 1, 1, reason])
    assert dcmtk.echo(chain.port, calling=calling, called=called).rejection is not None


def test_echo_and_a_clean_end(way):
    chain = way()
    assert dcmtk.echo(chain.port).code == 0
    assert chain.node.terminate() == 0
    assert not chain.node.running
