"""What a start takes up again is written down together: it does not wait for a commit of each study."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import synthetic
from machine import Machine

from dicomnode.store.journal import Journal
from dicomnode.store.writer import Writer

Making = Callable[..., Awaitable[Machine]]
STUDIES = 12


async def test_the_studies_that_wait_are_taken_up_in_one_commit(
    machine: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await machine()
    for study in range(1, STUDIES + 1):
        await node.send(synthetic.series(1, study=study))
    await node.until(lambda: node.states() == {"forwarding": STUDIES}, what="studies that wait")
    await node.stop()
    taken_up, all_of_them = list[str](), threading.Event()
    delivery, commit, waited = Journal.delivery, Writer._commit, list[bool]()

    def put(journal: Journal, each: Any, *arguments: Any) -> Any:
        taken_up.append(each.study_key)
        future = delivery(journal, each, *arguments)
        if len(taken_up) == STUDIES:
            all_of_them.set()
        return future

    def hold(writer: Writer, batch: Any) -> Any:
        if taken_up and not waited:
            waited.append(all_of_them.wait(10))
        return commit(writer, batch)

    monkeypatch.setattr(Journal, "delivery", put)
    monkeypatch.setattr(Writer, "_commit", hold)
    await node.start()
    assert waited == [True], "no study waited for the commit of another"
    assert len(set(taken_up)) == STUDIES
