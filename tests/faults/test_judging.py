"""Studies are judged beside each other: neither a source that does not answer nor one bad study holds the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import synthetic
from machine import Machine
from peers.dcmtk import Storescp

from dicomnode import completion
from dicomnode.dimse import query
from dicomnode.studies import Fact

Making = Callable[..., Awaitable[Machine]]


async def test_a_source_that_answers_nonsense_holds_nothing(
    machine: Making, storescp: Callable[..., Storescp], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nonsense(*_: object, **__: object) -> None:
        raise ValueError("Zwetschgenbaum^Ottokar")

    monkeypatch.setattr(query, "find_study", nonsense)
    node = await machine(research=storescp().port, verify="find, patience: 600ms")
    await node.send(synthetic.series(2))
    await node.settled(1)
    (study,) = node.journal.studies()
    assert study.evidence == "quiet for 0.3 s, the source could not be asked: an unexpected ValueError"


async def test_one_study_that_cannot_be_judged_keeps_no_other(
    machine: Making, storescp: Callable[..., Storescp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "TROUBLED", 0.5)
    node = await machine(research=storescp().port)
    judge, failed = node.node._completion._judge, list[str]()

    async def fails_once(key: tuple[str, str], *arguments: object) -> None:
        if not failed or (key[1] == failed[0] and len(failed) < 3):
            failed.append(key[1])
            raise KeyError(key[1])
        await judge(key, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(node.node._completion, "_judge", fails_once)
    await node.send([*synthetic.series(1), *synthetic.series(1, study=2)])
    await node.settled(2)
    assert len(failed) == 3


async def test_an_instance_that_comes_while_the_source_is_asked_is_never_forgotten(
    machine: Making, storescp: Callable[..., Storescp], monkeypatch: pytest.MonkeyPatch
) -> None:
    research, asking = storescp(), asyncio.Event()
    node = await machine(research=research.port, verify="find, patience: 20s")
    loop, going_on = asyncio.get_running_loop(), asyncio.Event()

    def slow(*_: object, **__: object) -> None:
        loop.call_soon_threadsafe(asking.set)
        asyncio.run_coroutine_threadsafe(going_on.wait(), loop).result(20)

    monkeypatch.setattr(query, "find_study", slow)
    sent = list(synthetic.series(3))
    await node.send(sent[:2])
    await asking.wait()
    await node.send(sent[2:])
    assert node.states() == {"receiving": 1}
    going_on.set()
    await node.settled(1)
    (study,) = node.journal.studies()
    assert (study.stored, len(research.files())) == (3, 3)
    assert not study.amended


async def test_what_a_person_decides_ends_the_asking(
    machine: Making, storescp: Callable[..., Storescp], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await machine(research=storescp().port, verify="find, patience: 1h")
    await node.send(synthetic.series(2))
    await node.until(lambda: node.node._completion._judging, what="a question")
    (study,) = node.journal.studies()
    await node.node._completion.decide((study.project, study.study_key), Fact.FORWARD, "somebody")
    await node.settled(1)
    assert not node.node._completion._judging
    (study,) = node.journal.studies()
    assert study.evidence == "a person let it go as it is"
