"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import reviewing
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


@pytest.fixture
def make_site(dcmqrscp, node, storescp, free_port, write_files, tmp_path):
    """make_site(**settings of the project): a reviewing.Site."""

    def make(**settings):
        return reviewing.make_site(dcmqrscp, node, storescp, free_port, write_files, tmp_path, settings)

    return make


@pytest.fixture
def site(make_site):
    """A reviewing.Site with its own run hook."""
    return make_site()
