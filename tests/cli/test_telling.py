"""What a retrieval says at a terminal, where one line is written again and again."""

from __future__ import annotations

import pytest

from dicomnode.cli import telling


def test_the_verdict_stands_on_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    told = telling.Telling(30, as_json=False)
    told.report({"event": "study", "number": 0, "state": "confirmed", "study": "abc", "stored": 3})
    told.report({"event": "progress", "states": {"arrived": 1, "resolved": 1, "cancelled": 28}, "here": 3})
    told.end(0)
    *_, verdict = capsys.readouterr().out.split("\r\033[K")
    assert verdict == "1 of 1 study delivered, 28 left out\n"
