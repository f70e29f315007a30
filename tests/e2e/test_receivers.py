"""Destinations of every kind behind one node: what they cannot take, how it is seen, and that the others go on."""

from __future__ import annotations

import images
import numpy
import pytest
import synthetic
from chain import Way, cleaned
from peers import dcmtk
from peers.process import until
from peers.scripted import Acceptor
from pydicom.pixels import pixel_array

SOON = {"forward": {"first": "100ms", "most": "300ms", "attempts": 3}, "timeouts": {"stall": "1s", "answer": "2s"}}


def jpeg(number: int = 1) -> bytes:
    return images.written(synthetic.jpeg(number=number))


def undecodable(number: int = 2) -> bytes:
    """A frame whose markers are in order, and which says that it has twelve bits where the attributes say eight."""
    part10 = bytearray(jpeg(number))
    at = part10.index(b"\xff\xc0")
    part10[at + 1] = 0xC1
    part10[at + 4] = 12
    return bytes(part10)


@pytest.mark.parametrize(("option", "syntax"), [("+x=", images.PLAIN_SYNTAXES[1]), ("+xi", images.PLAIN_SYNTAXES[0])])
def test_one_that_takes_uncompressed_alone_gets_it_and_another_gets_it_as_it_is(
    node, storescp, free_port, write_files, option, syntax
):
    research, archive = storescp("research", options=[option]), storescp("archive", ae_title="ARCHIVE")
    peers = {"research": ("RESEARCH", research.port), "archive": ("ARCHIVE", archive.port)}
    peers["staging"] = ("STAGING", free_port())
    made = node(peers, destinations=["research", "archive"], settings=SOON, quiet="300ms").start()
    sent = [jpeg(), images.written(synthetic.ct(number=7, rows=32, columns=32))]
    assert dcmtk.dcmsend(made.port, write_files(sent)).statuses == [0, 0]
    made.wait_settled()
    assert archive.data_sets() == Way(made, archive).expect(sent)
    arrived = research.instances()
    for part10 in sent:
        uid, (before_syntax, data) = cleaned(made, part10)
        before = images.parse(images.part10(data, before_syntax, "1.2", uid))
        after = images.parse(arrived[uid])
        assert after.file_meta.TransferSyntaxUID == syntax
        assert after.SOPInstanceUID == uid
        assert after.PatientID == before.PatientID
        assert numpy.array_equal(pixel_array(before), pixel_array(after))
    (lossy,) = [images.parse(arrived[cleaned(made, part10)[0]]) for part10 in sent[:1]]
    assert lossy.LossyImageCompression == "01"
    for data in arrived.values():
        for needle in synthetic.PERSON.needles():
            assert needle.encode() not in data


def test_what_cannot_be_transcoded_holds_the_study_and_the_other_destination_goes_on(
    node, storescp, free_port, write_files
):
    research, archive = storescp("research", options=["+x="]), storescp("archive", ae_title="ARCHIVE")
    peers = {"research": ("RESEARCH", research.port), "archive": ("ARCHIVE", archive.port)}
    peers["staging"] = ("STAGING", free_port())
    made = node(peers, destinations=["research", "archive"], settings=SOON, quiet="300ms").start()
    sent = [jpeg(1), undecodable(2), jpeg(3)]
    assert dcmtk.dcmsend(made.port, write_files(sent)).statuses == [0] * 3
    until(lambda: [study["state"] for study in made.studies()] == ["held"], 30, "a held study")
    assert len(research.files()) == 2
    assert archive.data_sets() == Way(made, archive).expect(sent)
    (held,) = made.events("delivery-held")
    assert "cannot be decoded" in held["error"]
    assert len(made.events("instance-held")) == 1
    made.kill()
    research.stop()
    again = storescp("again", port=research.port)
    made.restart()
    made.wait_settled()
    assert len(again.files()) == 1, "after a restart only what was held is tried again"


SCRIPTS = {
    "never answers": (["pdu", 10.0], "does not answer"),
    "speaks something else": (["pdu", b"HTTP/1.1 400 Bad Request\r\n\r\n", "end"], "broke the protocol"),
    "rejects for good": (["pdu", b"\3\0\0\0\0\4\0\1\1\3", "end"], "does not know the calling AE title"),
}


@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_broken_destination_is_seen_and_the_other_goes_on(node, storescp, free_port, write_files, kind):
    steps, words = SCRIPTS[kind]
    archive = storescp("archive", ae_title="ARCHIVE")
    with Acceptor(steps) as broken:
        peers = {"research": ("RESEARCH", broken.port), "archive": ("ARCHIVE", archive.port)}
        peers["staging"] = ("STAGING", free_port())
        settings = {**SOON, "timeouts": {**SOON["timeouts"], "handshake": "1s", "connect": "1s"}}
        made = node(peers, destinations=["research", "archive"], settings=settings, quiet="200ms").start()
        sent = list(synthetic.series(2))
        assert dcmtk.dcmsend(made.port, write_files(sent)).statuses == [0, 0]
        until(lambda: len(archive.files()) == 2, 20, "the other destination")
        until(lambda: made.events("delivery-postponed"), 20, "an attempt")
        assert archive.data_sets() == Way(made, archive).expect(sent)
        assert words in made.events("delivery-postponed")[0]["error"]
        event = "destination-paused" if kind == "rejects for good" else "destination-down"
        assert len(made.events(event)) == 1
        assert [study["state"] for study in made.studies()] == ["forwarding"]
        assert made.terminate(20) == 0
