"""A source that has our AE title at another address sends identified data to a stranger: that is found out first."""

from __future__ import annotations

import json

import images
import pytest
import synthetic
from chain import cleaned
from peers import dcmtk
from peers.dcmtk import Dcmqrscp
from peers.process import until


@pytest.fixture
def misled(dcmqrscp, node, storescp, free_port, write_files):
    """A node, its research PACS, a stranger, and an archive that moves what is for the node to the stranger."""
    research, stranger, port = storescp(), storescp("stranger", ae_title="DICOMNODE"), free_port()
    made = node(
        {"staging": ("STAGING", port), "research": ("RESEARCH", research.port)},
        settings={"timeouts": {"arrive": "2s"}},
        key=bytes(range(32)),
    )
    archive = dcmqrscp({"DICOMNODE": stranger.port}, port=port)
    files = [images.written(synthetic.small(study, 1, number)) for study in (1, 2) for number in (1, 2, 3)]
    assert dcmtk.dcmsend(port, write_files(files), called="STAGING").statuses == [0] * 6
    return made, research, stranger, archive, files


def _retrieve(node, *more):
    return node.command("retrieve", "--study", synthetic.uid(1), "--study", synthetic.uid(2), *more)


def test_one_instance_at_most_goes_to_the_wrong_machine(misled, programs):
    node, research, stranger, archive, files = misled
    node.start()
    for _ in range(2):
        result = _retrieve(node)
        assert result.returncode == 1
        assert "staging moved an instance to DICOMNODE, but it did not come here: it may be elsewhere" in result.stdout
        assert "dicomnode check --source staging" in result.stdout
    node.terminate()
    node.restart()
    check = node.command("check", "--source", "staging")
    assert check.returncode == 1
    assert "did not come here" in check.stdout and "route-wrong" not in check.stdout
    assert len(stranger.files()) == 1
    assert research.files() == []
    archive.stop()
    programs.enter_context(Dcmqrscp(archive.folder, {"DICOMNODE": node.port}, port=archive.port))
    check = node.command("check", "--source", "staging")
    assert (check.returncode, check.stdout) == (0, "what staging moves to DICOMNODE comes here\n")
    node.wait_settled(2)
    assert research.data_sets() == dict(cleaned(node, part10) for part10 in files)
    assert len(stranger.files()) == 1
    assert [line["level"] for line in node.events("route-wrong")] == ["error", "error"]


def test_nothing_more_goes_to_a_machine_that_is_known_to_be_wrong(misled, programs, tmp_path, write_files):
    node, research, stranger, archive, files = misled
    node.start()
    assert _retrieve(node, "--no-wait").returncode == 0
    until(lambda: node.events("source-waits"), 30, "the instance that did not come")
    node.terminate()
    node.restart()
    alone = node.command("retrieve", "--study", synthetic.uid(2))
    assert alone.returncode == 1
    assert "did not come here: it may be elsewhere" in alone.stdout
    assert dcmtk.dcmsend(node.port, write_files(files[:1], "pushed"), calling="STAGING").statuses == [0]
    until(lambda: [each["state"] for each in node.studies()] == ["incomplete"], 30, "the pushed study is judged")
    (pushed,) = node.studies()
    assert "what it moves does not come here: dicomnode check --source staging" in pushed["evidence"]
    assert len(stranger.files()) == 1
    node.terminate()
    archive.stop()
    programs.enter_context(Dcmqrscp(archive.folder, {"DICOMNODE": node.port}, port=archive.port))
    node.restart()
    assert node.command("check", "--source", "staging").returncode == 0
    until(lambda: json.loads(node.command("jobs", "--json").stdout) == [], 60, "what was put off is fetched at once")
    node.wait_settled(2)
    assert research.data_sets() == dict(cleaned(node, part10) for part10 in files)
    assert len(stranger.files()) == 1


def test_a_check_keeps_nothing_and_is_good_for_a_day(misled, programs):
    node, research, _, archive, _ = misled
    archive.stop()
    programs.enter_context(Dcmqrscp(archive.folder, {"DICOMNODE": node.port}, port=archive.port))
    check = node.command("check", "--source", "staging", "--study", synthetic.uid(2))
    assert (check.returncode, check.stdout) == (0, "what staging moves to DICOMNODE comes here\n")
    assert node.studies() == []
    assert research.files() == []
    moves = (archive.folder / "dcmqrscp.log").read_text().count("Releasing Sub-Association")
    result = _retrieve(node, "--json")
    assert result.returncode == 0, result.stdout
    assert (archive.folder / "dcmqrscp.log").read_text().count("Releasing Sub-Association") == moves + 2
    assert json.loads(result.stdout.splitlines()[0])["event"] == "entered"
    for wrong in (("--source", "research"), ("--source", "nobody")):
        assert node.command("check", *wrong).returncode == 2
    assert node.command("check", "--source", "staging", "--study", "1.2.3").returncode == 1


def test_an_unknown_destination_is_said_and_is_no_wrong_machine(dcmqrscp, node, storescp, free_port, write_files):
    research, port = storescp(), free_port()
    made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)})
    dcmqrscp({"OTHER": port}, port=port)
    files = [images.written(synthetic.small(1, 1, 1))]
    assert dcmtk.dcmsend(port, write_files(files), called="STAGING").statuses == [0]
    result = _retrieve(made)
    assert result.returncode == 1
    assert "the source does not know the AE title to move to" in result.stdout
    assert "enter DICOMNODE on staging with this machine's address and port" in result.stdout
