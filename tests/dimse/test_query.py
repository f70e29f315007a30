"""C-FIND, C-MOVE and C-ECHO against DCMTK's archive, and against sources that are slow, odd or hostile."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import images
import pytest
import synthetic
from keeper import Keeper, peer, serving
from odd_source import archive, match
from peers.dcmtk import Dcmqrscp, dcmsend
from peers.scripted import Acceptor, Step
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicomnode.dimse import query
from dicomnode.dimse.query import Found, Moved
from dicomnode.errors import PeerRejected, PeerUnreachable, PermanentError, TransientError
from dicomnode.model import Peer
from dicomnode.upper_layer import Abort, AnsweredContext, AssociateAccept, AssociateReject
from dicomnode.upper_layer.pdus import encode_abort, encode_accept, encode_reject

CALLING = "DICOMNODE"
STUDY = "1.2.826.0.1.3680043.10.1337.77"


def never() -> float:
    return 0.0


def move(source: Peer, study: str = STUDY, **arguments: object) -> tuple[Moved, list[Moved]]:
    seen: list[Moved] = []
    arguments.setdefault("alive", never)
    final = query.move_study(source, CALLING, "DICOMNODE", study, progress=seen.append, **arguments)  # type: ignore[arg-type]
    return final, seen


async def test_an_archive_finds_and_moves(
    dcmqrscp: Callable[..., Dcmqrscp], write_files: Callable[..., list[Path]]
) -> None:
    files = [*synthetic.series(3, 1, 1), *synthetic.series(2, 1, 2)]
    data_sets = [images.parse(file) for file in files]
    study = str(data_sets[0].StudyInstanceUID)
    series = [str(data_set.SeriesInstanceUID) for data_set in data_sets]
    uids = {str(data_set.SOPInstanceUID) for data_set in data_sets}
    keeper = Keeper()
    async with serving(keeper) as (_, port):
        archive = await asyncio.to_thread(dcmqrscp, {"DICOMNODE": port})
        await asyncio.to_thread(dcmsend, archive.port, write_files(files), called="STAGING")
        source = peer(archive.port, "STAGING")
        await asyncio.to_thread(query.echo, source, CALLING)
        found = await asyncio.to_thread(query.find_study, source, CALLING, study)
        assert found is not None
        assert found.study_uid == study
        assert await asyncio.to_thread(query.find_study, source, CALLING, "1.2.3.4") is None
        listed = await asyncio.to_thread(query.find_instances, source, CALLING, study)
        assert listed is not None
        assert {each.sop_uid for each in listed} == uids
        assert {each.series_uid for each in listed} == set(series)
        assert await asyncio.to_thread(query.find_instances, source, CALLING, "1.2.3.4") == []
        final, seen = await asyncio.to_thread(move, source, study)
        assert (final.status, final.completed, final.failed) == (0, 5, 0)
        assert seen[-1] == final
        assert set(keeper.data_sets) == uids
        keeper.stored.clear()
        final, _ = await asyncio.to_thread(move, source, study, series_uid=series[-1])
        assert (final.status, len(keeper.stored)) == (0, 2)
        keeper.stored.clear()
        wanted = [str(data_set.SOPInstanceUID) for data_set in data_sets[:2]]
        final, _ = await asyncio.to_thread(move, source, study, series_uid=series[0], sop_uids=wanted)
        assert set(keeper.data_sets) == set(wanted)


def test_matches_of_other_studies_are_not_believed_and_counts_are_told(free_port: Callable[[], int]) -> None:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, match(StudyInstanceUID="1.2.3", NumberOfStudyRelatedInstances="7")
        yield (
            0xFF01,
            match(StudyInstanceUID=STUDY, NumberOfStudyRelatedInstances="3", ModalitiesInStudy=["CT", "SR"]),
        )

    with archive(free_port(), find=find) as source:
        assert query.find_study(source, CALLING, STUDY) == Found(STUDY, modality="CT\\SR", count=3)


@pytest.mark.parametrize(
    ("told", "count"),
    [("1000000000", 10**9), ("1000000001", None), ("9" * 20, None), ("9" * 5000, None), ("-1", None), ("x", None)],
)
def test_a_count_that_no_study_has_is_none(told: str, count: int | None) -> None:
    found: Any = {"NumberOfStudyRelatedInstances": told}
    assert query._count(found, "NumberOfStudyRelatedInstances") == count


@pytest.mark.parametrize(("status", "expected"), [(0xA900, None), (0xC001, None)])
def test_a_source_that_does_not_do_image_level(status: int, expected: None, free_port: Callable[[], int]) -> None:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        if event.identifier.QueryRetrieveLevel == "SERIES":
            yield 0xFF00, match(StudyInstanceUID=STUDY, SeriesInstanceUID="1.2", NumberOfSeriesRelatedInstances=4)
        else:
            yield status, None

    with archive(free_port(), find=find) as source:
        assert query.find_instances(source, CALLING, STUDY) is expected


def test_a_series_without_images_that_should_have_some_is_no_answer(free_port: Callable[[], int]) -> None:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        if event.identifier.QueryRetrieveLevel == "SERIES":
            yield 0xFF00, match(StudyInstanceUID=STUDY, SeriesInstanceUID="1.2", NumberOfSeriesRelatedInstances=4)

    with archive(free_port(), find=find) as source:
        assert query.find_instances(source, CALLING, STUDY) is None


@pytest.mark.parametrize(
    ("status", "error"), [(0xA700, TransientError), (0x0124, PermanentError), (0xA900, PermanentError)]
)
def test_failures_of_find_are_told_apart(status: int, error: type[Exception], free_port: Callable[[], int]) -> None:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield status, None

    with archive(free_port(), find=find) as source, pytest.raises(error, match=f"0x{status:04X}"):
        query.find_study(source, CALLING, STUDY)


def test_every_c_move_status_comes_back_with_words(free_port: Callable[[], int]) -> None:
    def refuse(event: evt.Event) -> Iterator[object]:
        yield None, None

    with archive(free_port(), move=refuse) as source:
        final, seen = move(source)
    assert (final.status, len(seen)) == (0xA801, 1)
    assert "AE title to move to" in final.text


def test_a_silent_move_is_given_up_unless_instances_arrive(free_port: Callable[[], int]) -> None:
    over = threading.Event()

    def silent(event: evt.Event) -> Iterator[object]:
        over.wait(6)
        yield None, None

    with archive(free_port(), move=silent) as source:
        begin = time.monotonic()
        with pytest.raises(PeerUnreachable, match=r"said nothing for 0\.6 s"):
            move(source, silence=0.6)
        assert time.monotonic() - begin < 5.5
        begin = time.monotonic()
        with pytest.raises(PeerUnreachable):
            move(source, silence=0.6, alive=lambda: min(time.monotonic(), begin + 1.5))
        assert 2 < time.monotonic() - begin < 5.9
        over.set()


ACCEPTED = encode_accept(AssociateAccept("STAGING", CALLING, (AnsweredContext(1, 0, "1.2.840.10008.1.2.1"),), 16384))
REFUSED = encode_accept(AssociateAccept("STAGING", CALLING, (AnsweredContext(1, 3, "1.2.840.10008.1.2.1"),), 16384))
BROKEN: dict[str, tuple[tuple[Step, ...], type[Exception]]] = {
    "silence": (("end",), PeerUnreachable),
    "half an answer": (("pdu", ACCEPTED[:30], "end"), PeerUnreachable),
    "two bytes": (("pdu", b"\2\0", "end"), PeerUnreachable),
    "an abort": (("pdu", encode_abort(Abort(2, 0)), "end"), PeerUnreachable),
    "a closed connection": (("pdu", "close"), PeerUnreachable),
    "nothing after the association": (("pdu", ACCEPTED, "end"), PeerUnreachable),
    "a response cut off": (("pdu", ACCEPTED, "pdu", b"\4\0\0\0\1\0\0\0", "end"), PeerUnreachable),
    "an abort instead of a response": (("pdu", ACCEPTED, "pdu", encode_abort(Abort(0, 0)), "end"), PeerUnreachable),
    "a connection closed instead": (("pdu", ACCEPTED, "pdu", "close"), PeerUnreachable),
    "a rejection": (("pdu", encode_reject(AssociateReject(1, 1, 3)), "end"), PeerRejected),
    "no context": (("pdu", REFUSED, "end"), PermanentError),
}


AFTER_ASSOCIATION = [case for case, (steps, _) in BROKEN.items() if ACCEPTED in steps]
CASES = [(case, "echo") for case in BROKEN] + [(case, name) for case in AFTER_ASSOCIATION for name in ("find", "move")]


@pytest.mark.parametrize(("case", "operation"), CASES)
def test_broken_sources_end_in_time(case: str, operation: str, programs: ExitStack) -> None:
    steps, error = BROKEN[case]
    source = peer(programs.enter_context(Acceptor(steps)).port, "STAGING")
    calls: dict[str, Callable[[], object]] = {
        "echo": lambda: query.echo(source, CALLING, silence=0.5),
        "find": lambda: query.find_instances(source, CALLING, STUDY, silence=0.5),
        "move": lambda: move(source, silence=0.5),
    }
    begin = time.monotonic()
    with pytest.raises(error):
        calls[operation]()
    assert time.monotonic() - begin < 15


def test_nobody_listens(free_port: Callable[[], int]) -> None:
    with pytest.raises(PeerUnreachable):
        query.echo(peer(free_port()), CALLING)


def test_nothing_identified_is_logged_or_warned_of(
    free_port: Callable[[], int], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    planted = "Zwetschgenbaum^Ottokar"

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        odd = match(StudyInstanceUID=STUDY, PatientName=planted)
        odd.add_new(0x00080020, "LO", planted)
        yield 0xFF00, odd
        yield 0xC000, match(PatientName=planted)

    with archive(free_port(), find=find) as source, warnings.catch_warnings(record=True) as warned:
        caplog.set_level(logging.DEBUG)
        with pytest.raises(PermanentError):
            query.find_study(source, CALLING, STUDY)
        with pytest.raises(PeerUnreachable):
            query.find_study(peer(free_port()), CALLING, STUDY)
    out, err = capfd.readouterr()
    text = out + err + caplog.text + "".join(str(warning.message) for warning in warned)
    assert planted not in text
    assert STUDY not in text


def test_no_thread_is_left_behind(free_port: Callable[[], int]) -> None:
    with archive(free_port()) as source:
        before = threading.active_count()
        for _ in range(3):
            query.echo(source, CALLING)
        end = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < end:
            time.sleep(0.02)
        assert threading.active_count() <= before
