"""`dicomnode rules try`: what rules would make of a folder, as one document and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dicomnode.cli.options import counted, table
from dicomnode.deidentify.plan import Plan
from dicomnode.folders.survey import Seen, Series, by_series

HEAD = ("series", "modality", "files", "go", "withheld", "kept back", "why", "first file")


def document(plan: Plan, seen: Iterable[Seen]) -> dict[str, Any]:
    """What would become of the files, by series."""
    series = list(by_series(seen))
    return {
        "rules": plan.name,
        "digest": plan.digest,
        "files": sum(each.files for each in series),
        "go": sum(each.go for each in series),
        "series": [_series(each) for each in series],
        "remarks": list(plan.remarks),
    }


def _series(each: Series) -> dict[str, Any]:
    return {
        "first_file": each.first,
        "modality": each.modality,
        "files": each.files,
        "go": each.go,
        "withheld": each.withheld,
        "kept_back": each.kept_back,
        "why": dict(sorted(each.why.items())),
    }


def text(told: dict[str, Any]) -> str:
    """The document for people."""
    rows = [_row(number, each) for number, each in enumerate(told["series"], 1)]
    lines = [table(HEAD, rows, right={0, 2, 3, 4, 5})] if rows else []
    lines.append(f"{counted(told['go'], 'file')} of {told['files']} would go; nothing was written")
    return "\n".join([*lines, *(f"but {remark}" for remark in told["remarks"])])


def _row(number: int, each: dict[str, Any]) -> tuple[str, ...]:
    why = ", ".join(f"{count} {reason}" if count > 1 else reason for reason, count in each["why"].items())
    if each["kept_back"]:
        why = ", ".join(filter(None, [why, f"{each['kept_back']} kept back with what fails"]))
    counts = (str(each["files"]), str(each["go"]), str(each["withheld"]), str(each["kept_back"]))
    return (str(number), each["modality"] or "-", *counts, why or "-", each["first_file"])
