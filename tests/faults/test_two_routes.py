"""Two sources that hold the same study, of which one moves it to a stranger: what one moves speaks for it alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import images
import pytest
import synthetic
from machine import Machine
from peers import dcmtk
from peers.dcmtk import Dcmqrscp, Storescp

from dicomnode.dimse import query
from dicomnode.dimse.query import Moved
from dicomnode.route import WrongMachine

Making = Callable[..., Awaitable[Machine]]


async def test_two_sources_that_are_tried_with_one_study(
    machine: Making,
    storescp: Callable[..., Storescp],
    dcmqrscp: Callable[..., Dcmqrscp],
    write_files: Callable[..., list[Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stranger = storescp("stranger", ae_title="DICOMNODE")
    node = await machine(research=storescp().port)
    files = write_files([images.written(synthetic.small(1, 1, 1))])
    peers = {}
    for name, port in (("good", node.node.port), ("astray", stranger.port)):
        archive = dcmqrscp({"DICOMNODE": port}, name=name)
        assert (await asyncio.to_thread(dcmtk.dcmsend, archive.port, files, called="STAGING")).statuses == [0]
        peers[name] = replace(node.node.settings.peers["staging"], name=name, port=archive.port)
    move = query.move_study

    def late(*ends: Any, **what: Any) -> Moved:
        time.sleep(0.5)
        return move(*ends, **what)

    monkeypatch.setattr(query, "move_study", late)
    route, way = node.node._route, node.node._ways["default"]
    route.settings = replace(route.settings, timeouts=route.settings.timeouts.model_copy(update={"arrive": 1.0}))
    for first, second in (("good", "astray"), ("astray", "good")):
        tries = [route.check(way, peers[name], synthetic.uid(1)) for name in (first, second)]
        told = dict(zip((first, second), await asyncio.gather(*tries, return_exceptions=True), strict=True))
        assert told["good"] is None
        assert isinstance(told["astray"], WrongMachine)
