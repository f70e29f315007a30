"""`dicomnode demo`: a staging PACS, a research PACS, and the real node between them, on this machine."""

from __future__ import annotations

import socket
import tempfile
import time
import warnings
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import dcmread

from dicomnode.demo import check, report
from dicomnode.demo.process import NodeProcess
from dicomnode.demo.research import ResearchPACS
from dicomnode.demo.staging import HOST, StagingPACS
from dicomnode.demo.studies import SHOWN, Offer, fetched, pushed
from dicomnode.demo.terminal import BOLD, heading, say, styled
from dicomnode.errors import TransientError
from dicomnode.keys import ProjectKeys, create_key

QUIET = "2s"
PATIENCE = 120.0  # seconds for the pushed study to be forwarded
ENDED = ("confirmed", "failed", "withheld", "incomplete")


def run() -> int:
    """Show the way of an instance end to end; 0 only if research holds, byte for byte, what the node says it sent."""
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="dicomnode-demo-"))
    with warnings.catch_warnings(), ExitStack() as closing:
        warnings.simplefilter("ignore")
        return _demonstrate(folder, closing, started)


def _demonstrate(folder: Path, closing: ExitStack, started: float) -> int:
    offers, extra = fetched(), pushed()
    everything = [*offers, extra]
    node = NodeProcess(folder)
    keys = create_key(node.key_file)
    research = ResearchPACS("RESEARCH", folder / "research")
    closing.callback(research.close)
    port = _free_port()
    staging = StagingPACS("STAGING", [each for offer in offers for each in offer.data_sets], {"DICOMNODE": port})
    closing.callback(staging.close)
    node.configure(port, staging.port, research.port, QUIET)
    closing.callback(node.stop)
    node.start()
    _introduce(port, staging, research, offers)
    node.retrieve([offer.uid for offer in offers])
    _push(node, staging, extra, keys)
    node.stop()
    found = check.findings(node.storage / "journal.db", keys, everything, research.received)
    _tell(found, keys, research)
    report.places(node, str(folder / "research"))
    report.verdict(found, research.copies, time.monotonic() - started)
    return 0 if found.good else 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _introduce(port: int, staging: StagingPACS, research: ResearchPACS, offers: list[Offer]) -> None:
    count = sum(len(offer.data_sets) for offer in offers)
    say(styled("dicomnode between two PACS on this machine", BOLD))
    say(f"\n  STAGING {HOST}:{staging.port}  -->  DICOMNODE {HOST}:{port}  -->  RESEARCH {HOST}:{research.port}")
    heading(f"dicomnode retrieve: {len(offers)} studies, {count} instances, by C-FIND and C-MOVE")


def _push(node: NodeProcess, staging: StagingPACS, extra: Offer, keys: ProjectKeys) -> None:
    heading(f"C-STORE: staging pushes one more study of {len(extra.data_sets)} instances")
    statuses = staging.push("DICOMNODE", list(extra.data_sets))
    say(f"  answered: {', '.join(f'0x{status:04X}' for status in statuses)}")
    key = keys.journal_key("study", extra.uid)
    told = ""
    end = time.monotonic() + PATIENCE
    while told not in ENDED:
        state = node.states().get(key, "arriving")
        if state != told:
            say(f"  study {key}: {state}")
            told = state
        if time.monotonic() > end:
            raise TransientError("the pushed study was not forwarded in time", f"read {node.log}")
        time.sleep(0.2)


def _tell(found: check.Findings, keys: ProjectKeys, research: ResearchPACS) -> None:
    report.studies(found.outcomes)
    for outcome in found.outcomes:
        if outcome.offer.title == SHOWN:
            _show_header(outcome, keys, research)
    report.withheld(found.outcomes)


def _show_header(outcome: check.Outcome, keys: ProjectKeys, research: ResearchPACS) -> None:
    before = outcome.offer.data_sets[0]
    key = keys.journal_key("instance", str(before.SOPInstanceUID))
    for instance in outcome.instances:
        if instance.instance_key == key and instance.sop_uid in research.received:
            report.header(before, _parsed(*research.received[instance.sop_uid]))


def _parsed(syntax: str, data: bytes) -> Dataset:
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
    return dcmread(BytesIO(b"\0" * 128 + b"DICM" + meta + data), force=True)
