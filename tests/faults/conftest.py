"""Fixtures of the fault tests: a node in this process, so that its disk and its clock can be spoilt."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "e2e"))  # chain.py and planting.py

from chain import Way
from machine import Machine
from peers.dcmtk import Storescp
from peers.node import Node


@pytest.fixture
async def machine(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Callable[..., Machine]]:
    """Makes nodes: `await machine(research=port, **settings of a section)`; they run until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(name: str = "node", *, research: int | None = None, **settings: Any) -> Machine:
            made = Machine(tmp_path / name, research or free_port(), **settings)
            stack.push_async_callback(made.stop)
            return await made.start()

        yield start


@pytest.fixture
def way(node: Callable[..., Node], storescp: Callable[..., Storescp], free_port: Callable[[], int]):
    """Starts storescp and a node (a process of its own) before it: way(**arguments of Node)."""

    def start(**arguments: Any) -> Way:
        research = storescp("research")
        peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", research.port)}
        return Way(node(peers, **arguments).start(), research)

    return start
