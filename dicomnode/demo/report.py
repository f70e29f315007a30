"""The end of the demonstration: what was asked, received, withheld and stored, and where everything lies."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicomnode.demo.check import Findings, Outcome
from dicomnode.demo.process import NodeProcess
from dicomnode.demo.terminal import DIM, GREEN, RED, heading, say, shorten, styled, table
from dicomnode.model import EXPLANATIONS

HEADER = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
    "InstitutionName",
    "StationName",
    "StudyInstanceUID",
    "SOPInstanceUID",
    "Modality",
    "Manufacturer",
    "KVP",
    "Rows",
    "PixelSpacing",
    "PixelData",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
)


def studies(outcomes: list[Outcome]) -> None:
    """The table of studies."""
    heading("Studies")
    rows = []
    for outcome in outcomes:
        study = outcome.study
        rows.append(
            (
                study.patient if study else "-",
                outcome.offer.title,
                str(len(outcome.offer.data_sets)),
                str(len(outcome.instances) + len(outcome.withheld)),
                str(len(outcome.withheld)),
                str(outcome.at_research),
                str(study.state) if study else "never arrived",
                study.evidence if study else "",
            )
        )
    head = ("patient", "study", "asked", "received", "withheld", "at research", "state", "complete because")
    table(head, rows, right=(2, 3, 4, 5))


def header(before: Dataset, after: Dataset) -> None:
    """One header as staging has it and as research got it."""
    heading("One header, before and after")
    rows = [(keyword, _shown(before, keyword), _shown(after, keyword)) for keyword in HEADER]
    kept = sum(1 for element in before if element.tag in after and after[element.tag] == element)
    table(("attribute", "at the staging PACS", "at the research PACS"), rows)
    say(f"\n  {len(before)} elements came, {len(after)} went on; {kept} of them unchanged")


def _shown(data_set: Dataset, keyword: str) -> str:
    if keyword not in data_set:
        return "(not there)"
    value = data_set[keyword].value
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = "\\".join(str(part) for part in value) if isinstance(value, MultiValue) else str(value)
    return shorten(text, 46) or "(empty)"


def withheld(outcomes: list[Outcome]) -> None:
    """What was withheld and why."""
    heading("Withheld: accepted, sealed, not forwarded")
    for outcome in outcomes:
        for each in outcome.withheld:
            say(f"  {outcome.offer.title}: {EXPLANATIONS[each.reason]}")
            say(styled(f"      {each.reason}{f' at {each.where}' if each.where else ''}, id {each.quarantine}", DIM))


def places(node: NodeProcess, received: str) -> None:
    """Where things lie."""
    heading("Where things lie")
    storage = node.storage
    rows = [
        ("configuration", str(node.config)),
        ("rules", str(node.rules)),
        ("project key", str(node.key_file)),
        ("clean instances", str(storage / "outbox")),
        ("sealed originals", str(storage / "quarantine")),
        ("journal", str(storage / "journal.db")),
        ("identity book", f"{storage / 'identity.db'} (the only file in the clear that knows who is who)"),
        ("log of the node", str(node.log)),
        ("research PACS", received),
    ]
    size = max(len(name) for name, _ in rows)
    for name, place in rows:
        say(f"  {name.ljust(size)}  {place}")
    say(f"\n  All of it is in {node.config.parent}; delete that folder when you have looked.")


def verdict(found: Findings, copies: int, seconds: float) -> None:
    """The last lines: whether research holds, byte for byte, what the node says it sent."""
    sent = sum(len(outcome.instances) for outcome in found.outcomes)
    same = sum(outcome.at_research for outcome in found.outcomes)
    say()
    _line(same == sent and sent > 0, f"{same} of {sent} instances lie at research byte for byte as the journal says")
    _line(not found.strangers, f"{len(found.strangers)} instances at research that the journal does not know")
    _line(not found.leaks, f"{len(found.leaks)} of {found.searched} names, IDs and UIDs of the originals found there")
    for leak in found.leaks[:5]:
        say(f"       {leak}")
    bad = [outcome.offer.title for outcome in found.outcomes if not outcome.good]
    _line(not bad, "every study ended as it should" if not bad else f"not as it should: {'; '.join(bad)}")
    say(f"\n  {copies} instances delivered, {seconds:.1f} s in all")


def _line(good: bool, text: str) -> None:
    say(f"  {styled('ok  ', GREEN) if good else styled('FAIL', RED)}  {text}")
