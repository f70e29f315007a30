"""Fixtures of the tests of segments."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["whole", "in pieces"])
def way_of_reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are read whole, or in pieces of some hundred bytes."""
    if request.param == "in pieces":
        monkeypatch.setattr("dicomnode.records.READ_WHOLE", 0)
        monkeypatch.setattr("dicomnode.records.READ_BYTES", 333)
