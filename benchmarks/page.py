"""What the benchmarks put into docs/performance.md: tables and plots between markers, everything else stays."""

from __future__ import annotations

from pathlib import Path

from programs import ROOT

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"


def put(page: str, name: str, text: str) -> str:
    """The page with `text` between the markers of that name; raises ValueError where they are missing."""
    begin, end = f"<!-- {name}: written by benchmarks -->", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page has no lines {begin} and {end}")
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text.strip()}\n{end}{rest.split(end)[1]}"


def write(name: str, text: str, plots: dict[str, str], page: Path = PAGE) -> None:
    """Put the text between the markers of that name, and the plots (name: SVG) beside the page."""
    page.write_text(put(page.read_text(), name, text))
    PLOTS.mkdir(exist_ok=True)
    for plot, svg in plots.items():
        (PLOTS / f"{plot}.svg").write_text(svg)


def image(plot: str, said: str) -> str:
    """The line that shows a plot."""
    return f"![{said}](performance/{plot}.svg)"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
