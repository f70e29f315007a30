"""Studies that are pushed: the source is asked what it holds, what is missing is fetched, and the evidence is told."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import images
import pytest
import synthetic
from peers import dcmtk, raw
from peers.archive import Archive
from peers.process import until

UID = synthetic.uid(1)


def _evidence(node) -> str:
    (study,) = node.studies()
    return study["evidence"]


def _push(node, write_files: Callable, files: list[bytes], name: str = "sent", calling: str = "STAGING") -> None:
    statuses = dcmtk.dcmsend(node.port, write_files(files, name), calling=calling).statuses
    assert statuses == [0] * len(files)


@pytest.fixture
def chain(node, storescp, free_port, programs):
    """Starts (archive, node, research): chain(files at the source, **completion)."""

    def start(files: list[bytes], **completion: str):
        research, port = storescp(), free_port()
        peers = {"staging": ("STAGING", port), "research": ("RESEARCH", research.port), "ward": ("WARD", free_port())}
        told = {"projects": {"default": {"completion": completion}}, "timeouts": {"silence": "3s"}}
        made = node(peers, quiet="400ms", settings=told)
        archive = programs.enter_context(Archive(files, {"DICOMNODE": made.port}, port=port))
        return archive, made.start(), research

    return start


STRICT = {"DicomAlwaysAllowFind": False, "DicomAlwaysAllowMove": False, "DicomAlwaysAllowEcho": False}
STRICT |= {"DicomCheckModalityHost": True, "DicomCheckCalledAet": True}


@pytest.mark.parametrize("settings", [{}, STRICT])
def test_orthanc_is_asked_and_sends_what_did_not_come(orthanc, node, free_port, settings) -> None:
    research, port = orthanc("research", ae_title="RESEARCH"), free_port()
    made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)}, quiet="500ms")
    staging = orthanc("staging", {"node": ("DICOMNODE", made.port)}, port=port, settings=settings)
    sent = [*synthetic.series(4), *synthetic.series(3, series=2)]
    ids = staging.upload(sent)
    made.start()
    staging.store("node", ids[:5])
    made.wait_settled()
    assert _evidence(made) == "source lists 7, 7 here"
    assert len(research.instances()) == 7
    (fetched,) = made.events("gap-fetched")
    assert (fetched["missing"], fetched["source"]) == (2, "staging")
    for uid in (UID, synthetic.uid(1, 2)):
        assert uid not in made.output()


def test_dcmqrscp_is_asked_and_sends_what_did_not_come(dcmqrscp, node, storescp, free_port, write_files) -> None:
    research, port = storescp(), free_port()
    made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)}, quiet="500ms")
    archive = dcmqrscp({"DICOMNODE": made.port}, port=port)
    sent = [*synthetic.series(3), *synthetic.series(3, series=2)]
    assert dcmtk.dcmsend(archive.port, write_files(sent, "archive"), called="STAGING").statuses == [0] * 6
    made.start()
    _push(made, write_files, sent[:4])
    made.wait_settled()
    assert _evidence(made) == "source lists 6, 6 here"
    assert len(research.files()) == 6


def test_a_list_that_is_shorter_than_the_count_proves_nothing(chain, write_files) -> None:
    sent = [*synthetic.series(2), *synthetic.series(2, series=2)]
    archive, node, research = chain(sent)
    archive.unlisted = {2, 3}
    _push(node, write_files, sent[:2])
    node.wait_settled()
    assert _evidence(node) == "source counts 4, 4 here"
    assert archive.moved == [("STUDY", 4)]
    assert len(research.files()) == 4


def _incomplete(chain, write_files):
    """An archive that lists four instances and sends two, the node, and research, once the study is incomplete."""
    sent = list(synthetic.series(4))
    archive, node, research = chain(sent)
    archive.hides = {2, 3}
    _push(node, write_files, sent[:2])
    until(lambda: node.events("study-incomplete"), what="an incomplete study")
    return archive, node, research


def test_what_the_source_never_sends_is_asked_for_twice_then_the_study_waits_with_the_list(chain, write_files) -> None:
    archive, node, research = _incomplete(chain, write_files)
    assert archive.moved == [("SERIES", 2), ("IMAGE", 0)]
    (study,) = node.studies()
    assert (study["state"], study["missing"], study["expected"]) == ("incomplete", 2, 4)
    assert study["evidence"].startswith("source lists 4, 2 here, asked for again in vain")
    assert research.files() == []
    told = node.command("studies", "show", study["study_key"])
    assert "missing  2 instances that the source lists" in told.stdout
    document = json.loads(node.command("studies", "show", study["study_key"], "--json").stdout)
    assert len(document["missing"]) == 2
    archive.hides = set()
    assert node.command("studies", "retry", study["study_key"]).returncode == 0
    node.wait_settled()
    (study,) = node.studies()
    assert (study["evidence"], study["missing"]) == ("source lists 4, 4 here", 0)
    assert len(research.files()) == 4


def test_an_incomplete_study_stays_marked_when_a_person_asks_again_and_then_lets_it_go(chain, write_files) -> None:
    _, node, research = _incomplete(chain, write_files)
    node.settings["projects"]["default"]["completion"]["quiet"] = "5m"  # a person is faster than the source
    node.write(node.settings)
    node.process.signal(signal.SIGHUP)
    until(lambda: node.events("configuration-loaded"), what="the longer quiet time")
    key = node.studies()[0]["study_key"]
    assert node.command("studies", "retry", key).returncode == 0
    assert node.command("studies", "forward", key).returncode == 0
    (study,) = node.wait_settled()
    assert (study["stored"], study["missing"], study["evidence"]) == (2, 2, "a person let it go as it is")
    assert len(research.files()) == 2
    assert "confirmed, 2 missing" in node.command("studies").stdout


def test_an_incomplete_study_goes_marked_where_the_project_says_so_and_late_ones_amend_it(chain, write_files) -> None:
    sent = list(synthetic.series(4))
    archive, node, research = chain(sent, incomplete="forward")
    archive.hides = {3}
    _push(node, write_files, sent[:2])
    (study,) = node.wait_settled()
    assert (study["stored"], study["missing"], study["amended"]) == (3, 1, False)
    assert study["evidence"].endswith("sent as it is")
    assert [event["missing"] for event in node.events("study-confirmed")] == [1]
    assert len(research.files()) == 3
    assert "confirmed, 1 missing" in node.command("studies").stdout
    moves = len(archive.moved)
    _push(node, write_files, sent[3:], "late")
    until(lambda: len(node.events("study-confirmed")) == 2, what="the late one")
    (study,) = node.studies()
    assert (study["missing"], study["amended"], study["evidence"]) == (0, True, "source lists 4, 4 here")
    assert (len(archive.moved), len(research.files())) == (moves, 4)
    shown = node.command("studies", "show", study["study_key"]).stdout
    assert "confirmed, amended: 4 stored" in shown
    patients = {str(images.parse(path.read_bytes()).PatientID) for path in research.files()}
    studies = {str(images.parse(path.read_bytes()).StudyInstanceUID) for path in research.files()}
    assert (len(patients), len(studies)) == (1, 1)


def test_a_source_that_is_down_holds_a_study_for_the_patience_alone(node, storescp, free_port, write_files) -> None:
    research = storescp()
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", research.port)}
    made = node(peers, quiet="300ms", settings={"projects": {"default": {"completion": {"patience": "2s"}}}}).start()
    _push(made, write_files, list(synthetic.series(2)))
    made.wait_settled()
    assert _evidence(made).startswith("quiet for 0.3 s, the source could not be asked: staging (127.0.0.1:")
    first, last = made.events("association-closed")[0], made.events("study-complete")[0]
    assert first["timestamp"] < last["timestamp"]


@pytest.mark.parametrize("status", [0xA900, 0xC001, 0x0122])
def test_a_source_that_cannot_be_queried_holds_nothing(chain, write_files, status: int) -> None:
    sent = list(synthetic.series(2))
    archive, node, _ = chain(sent, patience="60s")
    archive.find = status
    _push(node, write_files, sent)
    node.wait_settled(seconds=20)
    assert _evidence(node).startswith("quiet for 0.4 s, the source could not be asked: staging cannot answer C-FIND")


def test_a_source_that_is_busy_is_asked_again(chain, write_files) -> None:
    sent = list(synthetic.series(3))
    archive, node, research = chain(sent, patience="30s")
    archive.find = 0xA700
    _push(node, write_files, sent[:2])
    until(lambda: len(archive.asked) >= 2, what="a second question")
    archive.find = 0
    node.wait_settled()
    assert (_evidence(node), len(research.files())) == ("source lists 3, 3 here", 3)


def test_a_source_without_image_level_counts_and_is_asked_twice(chain, write_files) -> None:
    sent = list(synthetic.series(3))
    archive, node, research = chain(sent, patience="30s")
    archive.levels = {"STUDY", "SERIES"}
    _push(node, write_files, sent[:2])
    node.wait_settled()
    assert (_evidence(node), len(research.files())) == ("source counts 3, 3 here", 3)
    assert archive.asked.count("STUDY") == 2
    assert archive.moved == [("STUDY", 3)]


def test_a_project_may_ask_for_counts_or_nothing(chain, write_files) -> None:
    sent = list(synthetic.series(2))
    archive, node, _ = chain(sent, verify="counts")
    _push(node, write_files, sent)
    node.wait_settled()
    assert (_evidence(node), set(archive.asked)) == ("source counts 2, 2 here", {"STUDY"})


def test_a_project_that_trusts_quiet_asks_nobody(chain, write_files) -> None:
    archive, node, _ = chain(list(synthetic.series(3)), verify="quiet")
    _push(node, write_files, list(synthetic.series(2)))
    node.wait_settled()
    assert (_evidence(node), archive.asked) == ("quiet for 0.4 s, source not asked", [])


def test_a_study_from_another_peer_than_the_source_counts_by_quiet(chain, write_files) -> None:
    archive, node, _ = chain(list(synthetic.series(3)))
    _push(node, write_files, list(synthetic.series(2)), calling="WARD")
    node.wait_settled()
    assert _evidence(node) == "quiet for 0.4 s, sent by another peer than the source"
    assert archive.asked == []


def test_a_study_that_the_source_does_not_list_counts_by_quiet(chain, write_files) -> None:
    archive, node, _ = chain([])
    _push(node, write_files, list(synthetic.series(2)))
    node.wait_settled()
    assert _evidence(node) == "quiet for 0.4 s, the source does not list the study"
    assert archive.asked == ["STUDY"]


def test_a_discarded_instance_is_neither_here_nor_fetched_again(chain, write_files) -> None:
    good, cut = synthetic.series(2)
    archive, node, _ = chain([good, cut])
    assert raw.store(node.port, [good, cut[:-1000]]) == [0, 0]
    node.wait_settled()
    assert _evidence(node) == "source lists 2, 2 here"
    (withheld,) = node.quarantine()
    assert node.command("quarantine", "discard", withheld["quarantine"], "--yes").returncode == 0
    moves = len(archive.moved)
    _push(node, write_files, list(synthetic.series(1, series=9)), "more")
    until(lambda: len(node.events("study-confirmed")) == 2, what="the study again")
    assert _evidence(node) == "source lists 2, 1 here, 1 more than listed, 1 discarded"
    assert len(archive.moved) == moves


def test_after_a_restart_the_source_is_asked_all_the_same(chain, write_files) -> None:
    sent = list(synthetic.series(3))
    archive, node, research = chain(sent, patience="60s")
    archive.stop()
    _push(node, write_files, sent[:2])
    node.kill()
    archive.start()
    node.restart()
    node.wait_settled()
    assert (_evidence(node), len(research.files())) == ("source lists 3, 3 here", 3)


@pytest.mark.parametrize("whole", ["8MiB", "64KiB"])
def test_of_a_study_of_which_nothing_clean_came_the_rest_is_fetched_too(chain, whole: str) -> None:
    sent = [images.written(synthetic.ct(1, 1, number, rows=256, columns=256)) for number in (1, 2, 3)]
    _, node, research = chain(sent)
    node.terminate()
    node.write({**node.settings, "node": {**node.settings["node"], "whole": whole}})
    node.restart()
    assert raw.store(node.port, [sent[0][:-1000]]) == [0]
    (study,) = node.wait_settled()
    assert (study["stored"], study["withheld"], study["evidence"]) == (3, 1, "source lists 3, 3 here")
    assert len(research.files()) == 3, "the series was sent again, with the damaged one whole"
