"""The pages about rules: every example is a file that can be used, and every action and test is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dicomnode.cli import explain, manual
from dicomnode.deidentify import attributes, conditions, rules, schema, sections
from dicomnode.recipes import load

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "rules.md", *sorted((ROOT / "docs" / "rules").glob("*.md"))]
EXAMPLES = [
    (page.name, number, text)
    for page in PAGES
    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize(("page", "number", "text"), EXAMPLES, ids=[f"{page}-{n}" for page, n, _ in EXAMPLES])
def test_examples_can_be_used(page: str, number: int, text: str, tmp_path: Path) -> None:
    for ready_made in (ROOT / "rules").glob("*.yaml"):
        (tmp_path / ready_made.name).write_text(ready_made.read_text())
    (tmp_path / "example.yaml").write_text(text)
    rules.load(tmp_path / "example.yaml")


def test_there_are_examples_for_everybody() -> None:
    assert {page for page, _, _ in EXAMPLES} == {page.name for page in PAGES} - {"reference.md"}
    assert {page.name for page in PAGES} >= {
        f"from-{tool}.md" for tool in ("ctp", "deid", "mmiv", "encord", "dicom-pipeline")
    }


def test_every_key_of_explain_is_in_the_page() -> None:
    told = explain.document(load(ROOT / "rules" / "basic.yaml"))
    table = PAGES[0].read_text().split("`--format json` prints one object:")[1].split("Each of `attributes` has")[0]
    keys = [key for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)]
    assert sorted(keys) == sorted(told)


def test_the_reference_tells_everything() -> None:
    page = manual.page()
    for word in (*attributes.NAMES, *conditions.OPERATORS, *sections.KEYS):
        assert re.search(rf"^\| {word}\b", page, re.MULTILINE), word
    assert set(manual.TESTS) == set(conditions.OPERATORS)
    assert set(schema.SAID) == set(sections.KEYS)
    assert set(schema.ARGUMENTS) == set(attributes.ARGUMENTS)


def test_examples_of_selectors_and_placeholders_are_right(tmp_path: Path) -> None:
    lines = "".join(f'  "{selector}": remove\n' for selector in manual.SELECTORS)
    template = "".join(each for each in manual.PLACEHOLDERS if each != "{hash:N}")
    text = f"profile: basic\nattributes:\n{lines}  InstitutionName: {{replace: '{template}{{hash:8}}'}}\n"
    (tmp_path / "x.yaml").write_text(text)
    rules.load(tmp_path / "x.yaml")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
