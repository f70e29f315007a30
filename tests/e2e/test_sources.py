"""Sources as they are: silent, aborting, lying, unable to reach us. What arrived counts, and all waits end."""

from __future__ import annotations

import images
import pytest
import synthetic
from peers.archive import Archive
from peers.process import until

UID = synthetic.uid(1)
SENT = list(synthetic.series(4))


@pytest.fixture
def chain(node, storescp, free_port, programs):
    """Starts (archive, node, research): chain(files at the source, how it moves)."""

    def start(files: list[bytes], move: str = "send", silence: str = "3s"):
        research, port = storescp(), free_port()
        peers = {"staging": ("STAGING", port), "research": ("RESEARCH", research.port)}
        made = node(peers, quiet="500ms", settings={"timeouts": {"silence": silence}})
        archive = programs.enter_context(Archive(files, {"DICOMNODE": made.port}, port=port))
        archive.move = move
        return archive, made.start(), research

    return start


def retrieve(node, uid: str = UID) -> tuple[int, str]:
    result = node.command("retrieve", "--study", uid)
    assert uid not in result.stdout
    return result.returncode, result.stdout


def test_pending_responses_are_optional_and_a_recall_may_be_silent_for_longer_than_the_limit(chain) -> None:
    archive, node, research = chain(SENT, "silent", silence="3s")
    archive.pause = 1.5  # 6 s without a response, but never 3 s without an instance
    code, text = retrieve(node)
    assert code == 0, text
    (study,) = node.wait_settled()
    assert (study["evidence"], len(research.files())) == ("source lists 4, 4 here", 4)


def test_a_recall_with_neither_response_nor_instance_is_given_up_and_comes_all_the_same_later(chain) -> None:
    archive, node, research = chain(SENT[:1], "silent", silence="1s")
    archive.pause = 4
    code, text = retrieve(node)
    assert code == 0, text  # the job tries again by itself, and then it came
    assert "staging said nothing for 1 s" in text
    node.wait_settled()
    assert len(research.files()) == 1


def test_an_abort_in_mid_move_is_followed_by_a_fetch_of_the_rest(chain) -> None:
    archive, node, research = chain(SENT, "abort")
    until_fetched = archive._sent

    def once(keys):
        if archive.moved:
            archive.move = "send"
        return until_fetched(keys)

    archive._sent = once  # type: ignore[method-assign]
    code, text = retrieve(node)
    assert code == 0, text
    assert "3 instances did not come, asked for again" in text
    (study,) = node.wait_settled()
    assert (study["evidence"], len(research.files())) == ("source lists 4, 4 here", 4)
    assert [level for level, _ in archive.moved] == ["STUDY", "SERIES"]


def test_a_success_without_instances_is_no_success(chain) -> None:
    archive, node, _ = chain(SENT)
    archive.hides = {0, 1, 2, 3}
    code, text = retrieve(node)
    assert code == 1
    assert "0 of 4 here" in text or "0 instances of 4 here" in text
    assert [level for level, _ in archive.moved] == ["STUDY", "SERIES", "IMAGE"]
    assert node.studies() == [] or node.studies()[0]["stored"] == 0


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("0xA702", "out of resources and could not send (0xA702)"),
        ("0xA701", "could not count the matches (0xA701)"),
        ("0xA900", "could not match the identifier to the SOP class (0xA900)"),
        ("0xC001", "cannot process the retrieve (0xC001)"),
    ],
)
def test_a_failed_move_is_told_with_its_status(chain, status: str, words: str) -> None:
    _, node, _ = chain(SENT, status)
    code, text = retrieve(node)
    assert code == 1
    assert words in text
    assert "0 of 1 study delivered" in text


def test_a_source_that_does_not_know_where_we_are_says_so(chain) -> None:
    archive, node, _ = chain(SENT)
    archive.destinations = {}
    code, text = retrieve(node)
    assert code == 1
    assert "does not know the AE title to move to" in text
    assert "staging did not call us; correct the host and port that it has for DICOMNODE" in text


def test_a_source_that_has_another_port_for_us_is_told_apart(chain, free_port) -> None:
    archive, node, _ = chain(SENT)
    archive.destinations = {"DICOMNODE": free_port()}
    code, text = retrieve(node)
    assert code == 1
    assert "staging did not call us; correct the host and port that it has for DICOMNODE" in text


def test_a_source_that_calls_under_another_title_is_named(chain) -> None:
    archive, node, _ = chain(SENT, "silent")
    archive.calls_itself = "PACSSEND"
    code, text = retrieve(node)
    assert code == 1
    assert "PACSSEND at 127.0.0.1 called DICOMNODE meanwhile and was rejected: calling AE title not recognised" in text


def test_a_source_that_pushes_more_than_was_asked_for(chain) -> None:
    archive, node, research = chain(SENT[:2], "silent")
    other = list(synthetic.series(1, study=2))
    archive.extra = [images.parse(part10) for part10 in (SENT[2], *other)]
    code, text = retrieve(node)
    assert code == 0, text
    node.wait_settled(2)
    evidence = sorted(study["evidence"] for study in node.studies())
    assert evidence[1] in ("source lists 2, 2 here, 1 more than listed", "source lists 2, 2 here")
    assert evidence[0] == "quiet for 0.5 s, the source does not list the study"
    assert len(research.files()) == 4


def test_orthanc_with_the_wrong_port_for_us(orthanc, node, free_port) -> None:
    research, port = orthanc("research", ae_title="RESEARCH"), free_port()
    made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)})
    staging = orthanc("staging", {"node": ("DICOMNODE", free_port())}, port=port)
    staging.upload(SENT)
    made.start()
    code, text = retrieve(made)
    assert code == 1
    assert "staging did not call us; correct the host and port that it has for DICOMNODE" in text


def test_orthanc_that_calls_us_by_another_title(orthanc, node, free_port) -> None:
    research, port = orthanc("research", ae_title="RESEARCH"), free_port()
    made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)})
    staging = orthanc("staging", {"node": ("DICOMNODE", made.port)}, ae_title="OTHER", port=port)
    staging.upload(SENT)
    made.start()
    code, text = retrieve(made)
    assert code == 1
    assert "OTHER at 127.0.0.1 called DICOMNODE meanwhile and was rejected: calling AE title not recognised" in text


def test_dcmqrscp_that_does_not_know_us(dcmqrscp, node, storescp, free_port, write_files) -> None:
    from peers import dcmtk

    research, port = storescp(), free_port()
    made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)})
    archive = dcmqrscp({"SOMEBODY": free_port()}, port=port)
    assert dcmtk.dcmsend(archive.port, write_files(SENT), called="STAGING").statuses == [0] * 4
    made.start()
    code, text = retrieve(made)
    assert code == 1
    assert "does not know the AE title to move to" in text
    until(lambda: made.events("move-ended"), what="the end of the move")
