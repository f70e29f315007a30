"""What the journal and the clear header of a sealed original say of a withheld instance."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode import keep
from dicomnode.deidentify import Deidentifier, load
from dicomnode.keys import ProjectKeys
from dicomnode.model import Doubt, Origin, Originals, Reason, Received
from dicomnode.studies import Verify
from dicomnode.ways import Way

RULES = Path(__file__).parents[2] / "rules" / "basic.yaml"
ORIGIN = Origin("default", "staging", "STAGING", "DICOMNODE", "127.0.0.1", 1)
ORIGINALS = Originals("1.2.3", "1.2.3.4", "1.2.3.4.5")


@pytest.fixture(scope="module")
def way() -> Way:
    keys, plan = ProjectKeys.derive(b"k" * 32), load(RULES)
    return Way(
        "default",
        "DICOMNODE",
        keys,
        Deidentifier(plan, keys),
        plan.digest,
        None,
        (),
        1.0,
        Verify.QUIET,
        60.0,
        False,
        frozenset(),
    )


def _withheld(way: Way, sop_class: str, digest: str = "ab") -> object:
    received = Received(ORIGIN, sop_class, ORIGINALS.sop_uid, "1.2.840.10008.1.2")
    return keep.withheld(way, received, Doubt(Reason.COMMAND_MISMATCH), ORIGINALS, digest, 1.0)


def test_a_registered_sop_class_is_told(way: Way) -> None:
    assert "1.2.840.10008.5.1.4.1.1.2" in repr(_withheld(way, "1.2.840.10008.5.1.4.1.1.2"))


@pytest.mark.parametrize("told", ["1.2.826.0.99.PID-4711^Quittenbaum", "Quittenbaum", "1.2.840.10008.19500105"])
def test_anything_else_in_the_command_is_not(way: Way, told: str) -> None:
    assert told not in repr(_withheld(way, told))


def test_no_original_uid_is_told(way: Way) -> None:
    record = repr(_withheld(way, "1.2.840.10008.5.1.4.1.1.2"))
    assert all(f"'{uid}'" not in record for uid in (ORIGINALS.study_uid, ORIGINALS.series_uid, ORIGINALS.sop_uid))


def test_twins_share_a_quarantine_name_and_unknown_content_does_not(way: Way) -> None:
    assert _withheld(way, "1.2") == _withheld(way, "1.2")
    assert _withheld(way, "1.2", "") != _withheld(way, "1.2", "")
