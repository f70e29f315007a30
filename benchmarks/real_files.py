"""What becomes of every file of pydicom, pydicom-data and deid-data under a rules file, as Markdown tables."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections import Counter
from pathlib import Path

from programs import ROOT

sys.path.insert(0, str(ROOT / "tests" / "deidentify"))

from outcomes import Outcome, outcomes

from dicomnode.deidentify import load
from dicomnode.model import EXPLANATIONS


def package(outcome: Outcome) -> str:
    """The package that carries the file."""
    parts = outcome.path.parts
    return {"pydicom": "pydicom", "data_store": "pydicom-data"}.get(
        parts[parts.index("site-packages") + 1], "deid-data"
    )


def report(found: list[Outcome]) -> str:
    """The counts by package, then every withheld file with the reason and the place."""
    taken = [each for each in found if each.output or each.doubt]
    lines = ["| package | de-identified | withheld | no DICOM file, or a DICOMDIR |", "| --- | --- | --- | --- |"]
    for name in ("pydicom", "pydicom-data", "deid-data"):
        counts = Counter(_fate(each) for each in found if package(each) == name)
        lines.append(f"| {name} | {counts['clean']} | {counts['withheld']} | {counts['not taken']} |")
    lines += ["", "| withheld, because | files | where |", "| --- | --- | --- |"]
    for reason in sorted({each.doubt.reason for each in taken if each.doubt}):
        files = [(each.path.name, each.doubt.where) for each in taken if each.doubt and each.doubt.reason is reason]
        named = ", ".join(f"`{name}`" for name, _ in files)
        places = ", ".join(dict.fromkeys(where or "-" for _, where in files))
        lines.append(f"| {reason}: {EXPLANATIONS[reason]} | {len(files)}: {named} | {places} |")
    return "\n".join(lines)


def _fate(outcome: Outcome) -> str:
    return "withheld" if outcome.doubt else "clean" if outcome.output else "not taken"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", type=Path, default=ROOT / "rules" / "basic.yaml", help="default rules/basic.yaml")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    print(report(outcomes(load(chosen.rules))))


if __name__ == "__main__":
    main()
