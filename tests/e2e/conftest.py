"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chain import Way
from peers.dcmtk import Storescp
from peers.node import Node


@pytest.fixture
def way(node: Callable[..., Node], storescp: Callable[..., Storescp], free_port: Callable[[], int]):
    """Starts storescp and a node before it: way(**arguments of Node)."""

    def start(**arguments: Any) -> Way:
        research = storescp("research")
        peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", research.port)}
        return Way(node(peers, **arguments).start(), research)

    return start
