"""Every event that the code logs is in the table, so that the operator can look it up."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import dicomnode
from dicomnode.observe.events import EVENTS
from dicomnode.observe.fields import FIELDS
from dicomnode.observe.guard import Guard

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
LOGGERS = {"log", "_log"}


def logged(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in LOGGERS
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            names.add(str(node.args[0].value))
    return names


def test_every_logged_event_is_in_the_table() -> None:
    found = {name for file in Path(dicomnode.__file__).parent.rglob("*.py") for name in logged(file)}
    assert "instance-stored" in found
    assert found <= set(EVENTS), found - set(EVENTS)


def test_every_event_has_a_meaning_on_one_line() -> None:
    assert all(meaning and "\n" not in meaning for meaning in EVENTS.values())


def test_every_field_that_the_guard_lets_through_is_in_the_table() -> None:
    assert set(Guard()._checks) - {"event", "timestamp"} == set(FIELDS)


def test_what_is_made_from_the_program_is_current() -> None:
    made = runpy.run_path(str(Path(dicomnode.__file__).parents[1] / "tools" / "reference.py"))["MADE"]
    assert len(made) == 4
    for path, content in made.items():
        assert path.read_text() == content, f"run {Path('tools') / 'reference.py'}"
