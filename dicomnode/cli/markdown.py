"""What rules do, as Markdown: the document of `explain` under headings, with tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dicomnode.cli import explain
from dicomnode.cli.explain import Document


def escaped(text: str) -> str:
    """Text that means nothing else in a Markdown table."""
    for character in "\\|*<>`":
        text = text.replace(character, f"\\{character}")
    return text


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *([escaped(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def rules(told: Document, level: int = 1, stable: bool = False) -> str:
    """The whole document; `level` is that of its heading. `stable` leaves the digest out, which libraries change."""
    head, below = "#" * level, "#" * (level + 1)
    about = told["sop_class"]
    where = f" in {about['name']}" if about else ""
    facts = [(name, _stable(told, value) if stable else value) for name, value in explain.facts(told)]
    lines = [
        f"{head} The rules {told['rules']}",
        "",
        *table(("", ""), ((name, value) for name, value in facts if value)),
        "",
        f"{below} Actions",
        "",
        *table(("action", "what it does"), told["actions"].items()),
        "",
        f"{below} Codes of Table E.1-1",
        "",
        "What each code becomes under the Type (PS3.5 section 7.4) that the instance's IOD gives the attribute at its",
        "place. The codes of the chosen options stand in brackets below.",
        "",
        *table(*explain.codes(told)),
        "",
        f"{below} Attributes{where}",
        "",
        *_withheld(told),
        *table(*explain.attributes(told)),
        "",
        f"{below} Attributes that neither the table nor the rules name",
        "",
        "By VR, with how many the dictionary (PS3.6) has, and one of them. PN, DA, TM, DT and free text are treated",
        "like the code X/Z/D: a dummy or an empty value where the IOD asks for one.",
        "",
        *table(*explain.by_vr(told)),
        *_section(below, explain.PIXELS, explain.pixels(told)),
        *_section(below, explain.CONCEPTS, explain.concepts(told)),
    ]
    return "\n".join(lines)


def _section(heading: str, title: str, content: explain.Table) -> list[str]:
    """A table under a heading of its own; nothing where it has no rows."""
    return ["", f"{heading} {title[0].upper()}{title[1:]}", "", *table(*content)] if content[1] else []


def _withheld(told: Document) -> list[str]:
    about = told["sop_class"]
    return [f"Instances of {about['name']} are withheld whole.", ""] if about and about["withheld"] else []


def _stable(told: Document, value: str) -> str:
    digest = told["digest"]
    if value == digest:
        return ""
    return value.replace(digest[:16], "and 16 digits of the digest of rules, data and dictionaries")
