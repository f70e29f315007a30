"""Orthanc as staging PACS, C-MOVE to the node, Orthanc as research PACS."""

from __future__ import annotations

import images
import pytest
import synthetic
from chain import cleaned
from peers import dcmtk

FILES = ("CT_small.dcm", "MR_small_implicit.dcm", "examples_rgb_color.dcm", "examples_jpeg2k.dcm", "rtplan.dcm")


@pytest.fixture
def hospital(orthanc, node, free_port):
    """Starts (staging, node, research): two Orthancs and the node between them."""

    def start(**arguments):
        research = orthanc("research", ae_title="RESEARCH")
        port = free_port()
        made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)}, **arguments)
        staging = orthanc("staging", {"node": ("DICOMNODE", made.port)}, port=port)
        return staging, made.start(), research

    return start


def _arrived(research):
    return {uid: images.split(part10) for uid, part10 in research.files().items()}


def test_studies_are_fetched_whole(hospital):
    staging, node, research = hospital()
    sent = [images.real(name).read_bytes() for name in FILES] + list(synthetic.series(6))
    staging.upload(sent)
    studies = list(dict.fromkeys(str(images.parse(part10).StudyInstanceUID) for part10 in sent))
    result = node.command("retrieve", *(part for uid in studies for part in ("--study", uid)))
    assert result.returncode == 0, result.stdout
    settled = node.wait_settled(len(studies))
    assert sum(study["stored"] for study in settled) == len(sent)
    assert all(study["evidence"].startswith("source lists") for study in settled)
    assert _arrived(research) == dict(cleaned(node, part10) for part10 in sent)
    for uid in studies:
        assert uid not in result.stdout
        assert uid not in node.output()


def test_an_unknown_study_is_no_success(hospital):
    staging, node, _ = hospital()
    staging.upload(synthetic.series(1))
    result = node.command("retrieve", "--study", "1.2.826.0.1.3680043.10.1337.404")
    assert result.returncode == 1
    assert "Traceback" not in result.stdout


def test_dcmqrscp_as_the_source(dcmqrscp, node, storescp, free_port, write_files):
    research = storescp()
    port = free_port()
    made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)})
    archive = dcmqrscp({"DICOMNODE": made.port}, port=port)
    sent = list(synthetic.series(4))
    assert dcmtk.dcmsend(archive.port, write_files(sent), called="STAGING").statuses == [0] * 4
    made.start()
    result = made.command("retrieve", "--study", synthetic.uid(1))
    assert result.returncode == 0, result.stdout
    assert research.data_sets() == dict(cleaned(made, part10) for part10 in sent)
    unknown = made.command("retrieve", "--study", synthetic.uid(404))
    assert unknown.returncode == 1
