"""Jobs of sources that behave as real ones do: what becomes of the job, of the study, and what people are told."""

from __future__ import annotations

import json

import images
import pytest
import synthetic
from chain import cleaned
from peers.archive import Archive
from peers.process import until

FILES = [images.written(synthetic.small(1, 1, number)) for number in (1, 2, 3)]
UID = synthetic.uid(1)


@pytest.fixture
def pair(node, storescp):
    """pair(**settings): a node that runs, its research PACS, and a scripted archive with one study."""
    archives = []

    def start(known=True, **settings):
        archive, research = Archive(FILES), storescp()
        archives.append(archive)
        peers = {"staging": ("STAGING", archive.port), "research": ("RESEARCH", research.port)}
        made = node(peers, key=bytes(range(32)), settings=settings)
        archive.destinations = {"DICOMNODE": made.port} if known else {}
        archive.start()
        return made.start(), research, archive

    yield start
    for archive in archives:
        archive.stop()


def _job(node):
    (job,) = json.loads(node.command("jobs", "show", "1", "--json").stdout)
    return job


def _whole(node, research):
    assert research.data_sets() == dict(cleaned(node, part10) for part10 in FILES)


def test_orthanc_works_off_a_list(orthanc, node, storescp, free_port):
    research, port = storescp(), free_port()
    made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)}, key=bytes(range(32)))
    staging = orthanc("staging", {"node": ("DICOMNODE", made.port)}, port=port)
    files = [images.written(synthetic.small(study, 1, n)) for study in (1, 2, 3) for n in (1, 2)]
    staging.upload(files)
    made.start()
    listed = made.folder / "list.txt"
    listed.write_text("".join(f"{synthetic.uid(study)}\n" for study in (1, 2, 3, 404)))
    result = made.command("retrieve", "--list", str(listed))
    assert result.returncode == 1
    assert "staging does not know it" in result.stdout
    assert "3 of 4 studies delivered" in result.stdout
    assert research.data_sets() == dict(cleaned(made, part10) for part10 in files)


def test_a_destination_that_the_source_does_not_know(pair):
    node, research, archive = pair(known=False)
    result = node.command("retrieve", "--study", UID)
    assert result.returncode == 1
    assert "the source does not know the AE title to move to" in result.stdout
    assert (_job(node)["state"], research.files()) == ("incomplete", [])
    archive.destinations = {"DICOMNODE": node.port}
    assert node.command("retrieve", "--study", UID).returncode == 0
    _whole(node, research)


def test_a_source_that_cannot_reach_us(pair):
    node, research, archive = pair()
    archive.move = "A702"
    result = node.command("retrieve", "--study", UID)
    assert result.returncode == 1
    assert "0xA702" in result.stdout
    job = _job(node)
    assert (job["state"], job["expected"], job["here"]) == ("incomplete", 3, 0)
    assert research.files() == []


def test_a_silent_recall_is_waited_for(pair):
    node, research, archive = pair(timeouts={"silence": "20s"})
    archive.move, archive.pause = "silent", 2.0
    result = node.command("retrieve", "--study", UID)
    assert result.returncode == 0, result.stdout
    _whole(node, research)
    assert _job(node)["state"] == "arrived"
    assert [level for level, _ in archive.moved] == ["STUDY"]


def test_an_association_that_breaks_in_mid_move_is_followed_by_another(pair):
    node, research, archive = pair()
    archive.move = "abort"
    archive.held.reverse()
    node.command("retrieve", "--study", UID, "--no-wait")
    until(lambda: archive.moved, 30, "the first C-MOVE")
    archive.move = "send"
    node.wait_settled(1)
    _whole(node, research)
    until(lambda: _job(node)["state"] == "arrived", 30, "the end of the job")


def test_a_source_that_sends_more_than_it_lists(pair):
    node, research, archive = pair()
    archive.move = "silent"
    more = [images.written(synthetic.small(1, 1, 4)), images.written(synthetic.small(2, 1, 1))]
    archive.extra = [images.parse(part10) for part10 in more]
    result = node.command("retrieve", "--study", UID)
    assert result.returncode == 0, result.stdout
    assert "4 of 3 here" in result.stdout or "4 instances" in result.stdout
    until(lambda: len(research.files()) == 5, 30, "what nobody asked for")
    assert research.data_sets() == dict(cleaned(node, part10) for part10 in [*FILES, *more])
    job = _job(node)
    assert (job["state"], job["expected"]) == ("arrived", 3)
