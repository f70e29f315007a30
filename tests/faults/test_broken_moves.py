"""A source that ends the association in C-MOVE: for one study that is the study's fault, for all it is the source's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import images
import pytest
import synthetic
from machine import Machine, asked
from peers.archive import Archive
from peers.dcmtk import Storescp

from dicomnode import jobs, retrieve
from dicomnode.control import Own

STUDIES = {study: [images.written(synthetic.small(study, 1, number)) for number in (1, 2)] for study in (1, 2, 3)}


class Breaking(Archive):
    """Aborts the association in the C-MOVE of the studies in `breaks`, before it sends anything."""

    breaks: tuple[str, ...] = ()

    def _move(self, event: Any) -> Iterator[Any]:
        if event.identifier.StudyInstanceUID not in self.breaks:
            yield from super()._move(event)
            return
        self.moved.append(("broken", 0))
        event.assoc.abort()
        yield None, None


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Breaking]:
    monkeypatch.setattr(jobs, "FIRST", 0.05)
    monkeypatch.setattr(jobs, "MOST", 0.4)
    monkeypatch.setattr(retrieve, "SETTLE", 0.1)
    with Breaking(each for files in STUDIES.values() for each in files) as made:
        yield made


async def _working(
    machine: Callable[..., Awaitable[Machine]], storescp: Callable[..., Storescp], archive: Breaking
) -> Machine:
    made = await machine(research=storescp().port, staging=archive.port)
    archive.destinations = {"DICOMNODE": made.node.port}
    return made


def _jobs(made: Machine, retrieval: int = 1) -> dict[str, tuple[str, int]]:
    """State and attempts of each study's job."""
    return {job.value: (job.state, job.attempts) for job in made.node._book.jobs.jobs(retrieval)}


async def test_one_study_keeps_neither_the_others_nor_the_command(
    machine: Callable[..., Awaitable[Machine]], storescp: Callable[..., Storescp], archive: Breaking
) -> None:
    made = await _working(machine, storescp, archive)
    assert await asked(made.node, [synthetic.uid(2)], lambda _: None) == 0
    archive.breaks = (synthetic.uid(1),)
    told: list[dict[str, object]] = []
    assert await asked(made.node, [synthetic.uid(study) for study in (1, 3)], told.append) == 1
    assert _jobs(made, 2) == {synthetic.uid(1): ("failed", jobs.ATTEMPTS), synthetic.uid(3): ("arrived", 0)}
    assert "source-waits" not in {document["event"] for document in told}
    assert "ended the association" in str([job.error for job in made.node._book.jobs.jobs(2)])
    assert made.states() == {"confirmed": 2}


async def test_where_no_study_comes_the_source_is_left_alone_and_none_is_given_up(
    machine: Callable[..., Awaitable[Machine]], storescp: Callable[..., Storescp], archive: Breaking
) -> None:
    made = await _working(machine, storescp, archive)
    assert await asked(made.node, [synthetic.uid(2)], lambda _: None) == 0
    archive.breaks = tuple(map(synthetic.uid, STUDIES))
    wanted = [synthetic.uid(study) for study in (1, 3)]
    source = made.node._worker.sources["staging"]
    request = {"command": "retrieve", "do": "enter", "last": True, "priority": 0, "modalities": "", "most": 0}
    lines = [["study", uid, "", "", ""] for uid in wanted]

    assert await made.node.command({**request, "any_time": False, "lines": lines}, Own(lambda _: None)) == 0
    await made.until(lambda: source.failures >= 3, 30, "the source left alone")
    assert "ended the association" in source.why
    archive.breaks = ()
    await made.until(lambda: {state for state, _ in _jobs(made, 2).values()} == {"arrived"}, 30, "all of them")
