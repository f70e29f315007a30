"""Sources that list what is not asked for, list it twice, never end, or promise and do not send."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from keeper import peer
from odd_source import archive, match
from peers.scripted import Acceptor, Step
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicomnode.dimse import query
from dicomnode.dimse.syntaxes import IMPLICIT_LITTLE, MOVE
from dicomnode.errors import PeerUnreachable, PermanentError
from dicomnode.upper_layer import AnsweredContext, AssociateAccept
from dicomnode.upper_layer.commands import NO_DATA_SET, RESPONSE, Element, encode_command
from dicomnode.upper_layer.messages import p_data
from dicomnode.upper_layer.pdus import RELEASE_RP, RELEASE_RQ, encode_accept

CALLING = "DICOMNODE"
STUDY = "1.2.826.0.1.3680043.10.1337.78"
Answers = Iterator[tuple[int, Dataset | None]]


def series(uid: str = "1.2", count: int = 2, study: str = STUDY) -> tuple[int, Dataset]:
    told = match(StudyInstanceUID=study, SeriesInstanceUID=uid, NumberOfSeriesRelatedInstances=count)
    return 0xFF00, told


def image(uid: str, of: str = "1.2", study: str = STUDY) -> tuple[int, Dataset]:
    return 0xFF00, match(StudyInstanceUID=study, SeriesInstanceUID=of, SOPInstanceUID=uid)


def listing(*of_study: Any, images: Callable[[str], Any]) -> Callable[[evt.Event], Answers]:
    def find(event: evt.Event) -> Answers:
        asked = event.identifier
        yield from of_study if asked.QueryRetrieveLevel == "SERIES" else images(str(asked.SeriesInstanceUID))

    return find


def test_what_belongs_to_other_studies_and_series_is_not_listed(free_port: Callable[[], int]) -> None:
    def images(of: str) -> Any:
        return [image("9.1", of), image("9.2", of), image("9.3", "1.9"), image("9.4", of, study="1.9.9")]

    find = listing(series(), series("1.8", study="1.9.9"), images=images)
    with archive(free_port(), find=find) as source:
        found = query.find_instances(source, CALLING, STUDY)
    assert found is not None
    assert [(each.series_uid, each.sop_uid) for each in found] == [("1.2", "9.1"), ("1.2", "9.2")]


def test_one_that_does_not_repeat_the_uids_asked_for_is_believed(free_port: Callable[[], int]) -> None:
    find = listing((0xFF00, match(SeriesInstanceUID="1.2")), images=lambda of: [(0xFF00, match(SOPInstanceUID="9.1"))])
    with archive(free_port(), find=find) as source:
        found = query.find_instances(source, CALLING, STUDY)
    assert found is not None
    assert [each.sop_uid for each in found] == ["9.1"]


def test_what_is_listed_twice_counts_once_and_is_asked_for_once(free_port: Callable[[], int]) -> None:
    asked: list[str] = []

    def images(of: str) -> Any:
        asked.append(of)
        return [image("9.1", of), image("9.1", of), image("9.2", of)]

    with archive(free_port(), find=listing(series(), series(), images=images)) as source:
        found = query.find_instances(source, CALLING, STUDY)
    assert found is not None
    assert ([each.sop_uid for each in found], asked) == (["9.1", "9.2"], ["1.2"])


@pytest.mark.parametrize("identifier", [True, False])
def test_an_answer_without_end_ends(
    identifier: bool, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "_MOST_MATCHES", 50)

    def find(event: evt.Event) -> Answers:
        for number in itertools.count():
            yield 0xFF00, match(StudyInstanceUID=STUDY if identifier else f"1.{number}", SeriesInstanceUID="")

    with archive(free_port(), find=find) as source, pytest.raises(PermanentError, match="never ends its answer"):
        query.find_study(source, CALLING, STUDY)


def test_an_answer_that_trickles_ends(free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "_LONGEST_LIST", 0.5)

    def find(event: evt.Event) -> Answers:
        while not event.is_cancelled and event.assoc.is_established:
            time.sleep(0.1)
            yield image("9.1")

    began = time.monotonic()
    with archive(free_port(), find=find) as source, pytest.raises(PermanentError, match="never ends its answer"):
        query.find_instances(source, CALLING, STUDY)
    assert time.monotonic() - began < 10


def test_thousands_of_instances_are_listed_in_little_memory(free_port: Callable[[], int]) -> None:
    find = listing(series(count=500), images=lambda of: (image(f"9.{number}", of) for number in range(500)))
    with archive(free_port(), find=find) as source:
        tracemalloc.start()
        try:
            found = query.find_instances(source, CALLING, STUDY)
            kept = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert found is not None
    assert len(found) == 500
    assert kept < 500 * 1000, "the matches themselves are not kept"


def test_a_move_that_is_pending_for_ever_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "_STALLED", 1)
    accept = encode_accept(AssociateAccept("STAGING", CALLING, (AnsweredContext(1, 0, IMPLICIT_LITTLE),), 16384))
    pending = encode_command(
        {
            Element.AFFECTED_SOP_CLASS: MOVE.encode(),
            Element.COMMAND_FIELD: 0x0021 | RESPONSE,
            Element.MESSAGE_ID_RESPONDED_TO: 1,
            Element.DATA_SET_TYPE: NO_DATA_SET,
            Element.STATUS: 0xFF00,
        }
    )
    response = b"".join(*p_data(1, pending, None, 16384))
    script: list[Step] = ["pdu", accept, "pdu", "pdu", *(step for _ in range(100) for step in (response, 0.1)), "end"]
    with Acceptor(script) as source, pytest.raises(PeerUnreachable, match="again and again"):
        silence = {"alive": lambda: 0.0, "silence": 0.6}
        query.move_study(peer(source.port), CALLING, "STAGING", STUDY, progress=lambda moved: None, **silence)  # type: ignore[arg-type]


def accepting(syntax: str = IMPLICIT_LITTLE, max_pdu: int = 16384) -> bytes:
    """An A-ASSOCIATE-AC for C-FIND, C-MOVE or C-ECHO alone."""
    return encode_accept(AssociateAccept("STAGING", CALLING, (AnsweredContext(1, 0, syntax),), max_pdu))


def without_user_information(accept: bytes) -> bytes:
    cut = accept[6 : accept.index(b"\x50\x00", 74)]
    return accept[:2] + len(cut).to_bytes(4, "big") + cut


def item(kind: int, value: bytes) -> bytes:
    return bytes((kind, 0)) + len(value).to_bytes(2, "big") + value


def with_more(accept: bytes, behind: bytes = b"", in_user: bytes = b"") -> bytes:
    at = accept.index(b"\x50\x00", 74)
    body = accept[6:at] + item(0x50, accept[at + 4 :] + in_user) + behind
    return accept[:2] + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    "accept",
    [
        with_more(accepting(), behind=item(0x77, b"abc")),
        with_more(accepting(), in_user=item(0x99, b"x")),
        with_more(accepting(), in_user=item(0x55, b"A VERSION NAME THAT IS TOO LONG")),
        with_more(accepting(), behind=item(0x21, bytes((2, 0, 0, 0)) + item(0x40, IMPLICIT_LITTLE.encode()))),
        without_user_information(accepting()),
    ],
    ids=["an unknown item", "an unknown item of the user", "a long version", "an even context", "no user information"],
)
def test_an_acceptance_that_pynetdicom_cannot_read_is_read(accept: bytes) -> None:
    with Acceptor(["pdu", accept, "pdu", "pdu", final(0x0020, 1), "pdu", RELEASE_RP, "end"]) as source:
        assert query.find_study(peer(source.port), CALLING, STUDY, silence=5) is None


def final(field: int, number: int) -> bytes:
    """A final response without a match to C-FIND (0x0020) or C-MOVE (0x0021) of that Message ID."""
    told: dict[int, int | bytes] = {
        Element.COMMAND_FIELD: field | RESPONSE,
        Element.MESSAGE_ID_RESPONDED_TO: number,
        Element.DATA_SET_TYPE: NO_DATA_SET,
        Element.STATUS: 0x0000,
    }
    return b"".join(*p_data(1, encode_command(told), None, 16384))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # pynetdicom's, when it is left
def test_an_answer_to_another_message_is_none() -> None:
    """A late one would pass for the answer that a source has no such study."""
    last = "pdu", "end"
    with Acceptor(["pdu", accepting(), "pdu", "pdu", final(0x0020, 1), *last]) as source:
        assert query.find_study(peer(source.port), CALLING, STUDY, silence=5) is None
    late = Acceptor(["pdu", accepting(), "pdu", "pdu", final(0x0020, 7), *last])
    with late as source, pytest.raises(PeerUnreachable, match="answered something else"):
        query.find_study(peer(source.port), CALLING, STUDY, silence=5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_source_that_releases_with_its_answer_is_left_at_once() -> None:
    """Asked for a release meanwhile, pynetdicom's thread died, and it waited for the answer as long as for a move."""
    script: list[Step] = ["pdu", accepting(), "pdu", "pdu", final(0x0020, 1) + RELEASE_RQ, "end"]
    for _ in range(5):
        with Acceptor(script) as source:
            began = time.monotonic()
            assert query.find_study(peer(source.port), CALLING, STUDY, silence=600) is None
            assert time.monotonic() - began < 30


BREAKING: dict[str, tuple[list[Step], str]] = {
    "a second A-ASSOCIATE-AC": ([accepting(), "pdu", "pdu", accepting(), "end"], "ended the association"),
    "no PDU": ([accepting(), "pdu", "pdu", b"\x99\0\0\0\0\4abcd", "end"], "ended the association"),
    "a release before the answer": ([accepting() + RELEASE_RQ, "pdu", "pdu", accepting(), "end"], "ended the"),
    "a maximum length of 1": ([accepting(max_pdu=1), "end"], "broke the protocol"),
}


@pytest.mark.parametrize("case", BREAKING)
def test_a_source_that_breaks_the_protocol_is_left_at_once(case: str) -> None:
    """pynetdicom wakes nobody who waits for a response when it ends an association itself."""
    steps, words = BREAKING[case]
    with Acceptor(["pdu", *steps]) as source:
        for ask in (
            lambda: query.find_study(peer(source.port), CALLING, STUDY, silence=20),
            lambda: query.move_study(
                *(peer(source.port), CALLING, CALLING, STUDY), progress=lambda _: None, alive=lambda: 0.0, silence=20
            ),
        ):
            began = time.monotonic()
            with pytest.raises(PeerUnreachable, match=words):
                ask()
            assert time.monotonic() - began < 10
