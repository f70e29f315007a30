"""The peers themselves: what the other tests rely on when they compare contents."""

from __future__ import annotations

import images
import pytest
import synthetic

from peers import dcmtk
from peers.scripted import Acceptor, request


def test_dcmsend_to_storescp_keeps_the_bytes_and_reports_each_status(storescp, write_files):
    sent = {synthetic.uid(1, 1, n): data for n, data in enumerate(synthetic.series(3), start=1)}
    receiver = storescp()
    result = dcmtk.dcmsend(receiver.port, write_files(sent.values()), called="RESEARCH")
    assert result.statuses == [0, 0, 0]
    assert sorted(result.acknowledged) == sorted(sent)
    assert {uid: images.split(data) for uid, data in sent.items()} == receiver.data_sets()


@pytest.mark.parametrize("syntax", images.PLAIN_SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_file_in_each_uncompressed_syntax_says_the_same(syntax):
    source = images.parse(images.real("MR_small.dcm").read_bytes())
    again = images.parse(images.written(source, syntax))
    assert again.file_meta.TransferSyntaxUID == syntax
    assert (again.pixel_array == source.pixel_array).all()
    assert again.PatientName == source.PatientName


def test_storescu_says_how_it_was_rejected(storescp, write_files):
    files = write_files(synthetic.series(1))
    assert dcmtk.storescu(storescp().port, files, called="RESEARCH").rejection is None
    rejected = bytes.fromhex("0300 00000004 00 01 01 03".replace(" ", ""))
    with Acceptor(["pdu", rejected, "end"]) as acceptor:
        result = dcmtk.storescu(acceptor.port, files)
    assert result.rejection == ("Rejected Permanent", "Service User", "Calling AE Title Not Recognized")


def test_dcmqrscp_moves_what_it_was_given(dcmqrscp, storescp, write_files):
    receiver = storescp()
    archive = dcmqrscp({"RESEARCH": receiver.port})
    files = write_files(synthetic.series(3))
    assert dcmtk.dcmsend(archive.port, files, called="STAGING").statuses == [0, 0, 0]
    study = f"StudyInstanceUID={synthetic.uid(1)}"
    found = dcmtk.findscu(archive.port, ["QueryRetrieveLevel=STUDY", study], called="STAGING")
    assert found.code == 0 and synthetic.uid(1) in found.output
    moved = dcmtk.movescu(archive.port, "RESEARCH", ["QueryRetrieveLevel=STUDY", study], called="STAGING")
    assert moved.code == 0, moved.output
    assert len(receiver.files()) == 3


def test_orthanc_stores_what_it_was_given_elsewhere(orthanc, storescp):
    receiver = storescp()
    staging = orthanc("staging", {"research": ("RESEARCH", receiver.port)})
    sent = list(synthetic.series(2))
    ids = staging.upload(sent)
    assert sorted(staging.instances()) == sorted(ids)
    assert [images.split(staging.file(each)) for each in ids] == [images.split(data) for data in sent]
    staging.store("research", ids)
    assert sorted(receiver.data_sets().values()) == sorted(images.split(data) for data in sent)


def test_scripted_peers_exchange_exact_bytes():
    pdu = b"\x07\0\0\0\0\4\0\0\0\0"
    with Acceptor(["pdu", pdu, "close"], ["reset"]) as acceptor:
        assert request(acceptor.port, [pdu[:3], 0.05, pdu[3:], "pdu", "end"]) == [pdu, b""]
        assert acceptor.read == [[pdu]]
        with pytest.raises(ConnectionError):
            request(acceptor.port, [0.05, "pdu"])


def test_mosquitto_listens(mosquitto):
    assert mosquitto.running
