"""Hooks that take their time or meet trouble: nothing else waits for them, and no study is forgotten with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import images
import pytest
import synthetic
from machine import Machine
from peers.dcmtk import Storescp

from dicomnode import consent, following
from dicomnode.errors import CannotKeep
from dicomnode.model import Delivery, Study, StudyState
from dicomnode.store.journal import Journal
from dicomnode.studies import Fact

Making = Callable[..., Awaitable[Machine]]
HOOK = """#!/bin/sh
echo called >> "$0.calls"
for turn in $(seq 400); do
    [ -e "$0.go" ] && exit 0
    sleep 0.05
done
exit 1
"""


class Hook:
    """A hook that ends when it is let go."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hook.sh"
        self.path.write_text(HOOK)
        self.path.chmod(0o755)

    @property
    def calls(self) -> int:
        """How often it was called."""
        told = self.path.with_name("hook.sh.calls")
        return len(told.read_text().splitlines()) if told.exists() else 0

    def let_go(self) -> None:
        """Those that run end now, later ones at once."""
        self.path.with_name("hook.sh.go").touch()


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Hook]:
    """A hook that hangs until the test ends."""
    made = Hook(tmp_path)
    yield made
    made.let_go()


async def test_what_comes_while_the_hook_runs_goes_too(
    machine: Making, storescp: Callable[..., Storescp], hook: Hook
) -> None:
    node = await machine(research=storescp().port, hooks=f"study: {hook.path}")
    first, late = synthetic.series(2)
    await node.send([first])
    await node.until(lambda: node.states() == {"held": 1} and hook.calls)
    await node.send([late])
    await node.until(lambda: [(study.state, study.stored) for study in node.journal.studies()] == [("held", 2)])
    hook.let_go()
    await node.settled(1)
    assert hook.calls == 2


async def test_hooks_that_hang_keep_no_study_and_not_the_end(
    machine: Making, storescp: Callable[..., Storescp], hook: Hook
) -> None:
    """As many as there are threads anywhere."""
    node = await machine(research=storescp().port, hooks=f"study: {hook.path}")
    await node.send(images.written(synthetic.small(study)) for study in range(1, 41))
    await node.until(lambda: node.states() == {"held": 40} and hook.calls)
    assert hook.calls <= consent.MOST_HOOKS
    async with asyncio.timeout(10):
        await node.stop()


async def test_a_hook_may_end_before_the_study_is_entered_as_held(
    machine: Making, storescp: Callable[..., Storescp], hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start too, when what a hook kept is taken up again."""
    node = await machine(research=storescp().port, hooks=f"study: {hook.path}")
    await node.send(synthetic.series(1))
    await node.until(lambda: node.states() == {"held": 1} and hook.calls)
    await node.stop()
    hook.let_go()
    passing = following.Following._pass

    async def slowly(self: following.Following, study: Study, fact: Fact, **told: Any) -> StudyState:
        await asyncio.sleep(1 if fact is Fact.HELD else 0)
        return await passing(self, study, fact, **told)

    monkeypatch.setattr(following.Following, "_pass", slowly)
    await node.start()
    await node.settled(1)


async def test_trouble_around_a_hook_passes(
    machine: Making, storescp: Callable[..., Storescp], hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "TROUBLED", 0.2)
    document_of, failed = consent.document_of, list[str]()

    def fails_once(journal: Journal, study: Study) -> Mapping[str, object]:
        if not failed:
            failed.append(study.study_key)
            raise CannotKeep("the journal cannot be read", "look at its disk")
        return document_of(journal, study)

    monkeypatch.setattr(consent, "document_of", fails_once)
    hook.let_go()
    node = await machine(research=storescp().port, hooks=f"study: {hook.path}")
    await node.send(synthetic.series(1))
    await node.settled(1)
    assert (len(failed), hook.calls) == (1, 1)


async def test_no_delivery_is_forgotten_for_an_unexpected_error(
    machine: Making, storescp: Callable[..., Storescp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "TROUBLED", 0.2)
    node = await machine(research=storescp().port)
    completion, failed = node.node._completion, list[str]()
    end = completion._end

    async def fails_once(study: Study, deliveries: list[Delivery]) -> None:
        if not failed:
            failed.append(study.study_key)
            raise RuntimeError("can't start new thread")
        await end(study, deliveries)

    monkeypatch.setattr(completion, "_end", fails_once)
    await node.send(synthetic.series(1))
    await node.settled(1)
    assert len(failed) == 1
