"""What statuses mean, and what is a storage class."""

from __future__ import annotations

import pytest
from pynetdicom import sop_class
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from dicomnode.dimse.status import Outcome, describe, outcome
from dicomnode.dimse.syntaxes import EXPLICIT_LITTLE, TRANSFER_SYNTAXES, answer, is_storage
from dicomnode.upper_layer import ProposedContext


@pytest.mark.parametrize(
    ("expected", "statuses"),
    [
        (Outcome.SENT, [0x0000, 0xB000, 0xB006, 0xB007]),
        (Outcome.VERIFY, [0x0111, 0x0107, 0x0116, 0xB001]),
        (Outcome.RETRY, [0xA700, 0xA701, 0xA7FF, 0x0110, 0x0213]),
        (Outcome.FAILED, [0xA900, 0xA9FF, 0xC000, 0xC211, 0xCFFF, 0x0117, 0x0122, 0x0124, 0x0211, 0xFE00, 0x1234]),
    ],
)
def test_outcomes(expected: Outcome, statuses: list[int]) -> None:
    assert {status: outcome(status) for status in statuses} == dict.fromkeys(statuses, expected)


def test_success_and_nothing_else_that_the_standard_calls_failure_counts_as_sent() -> None:
    for status, (category, _) in STORAGE_SERVICE_CLASS_STATUS.items():
        stored = outcome(status) in (Outcome.SENT, Outcome.VERIFY)
        assert stored == (category in ("Success", "Warning")) or status == 0x0111, hex(status)


def test_every_status_has_words() -> None:
    assert describe(0xA700) == "out of resources (0xA700)"
    assert describe(0xB000) == "stored, with elements coerced (0xB000)"
    assert all(describe(status)[0].isalpha() for status in range(0x10000))


def test_every_storage_class_of_pynetdicom_and_no_other_is_one() -> None:
    storage = {*sop_class._STORAGE_CLASSES.values(), *sop_class._NON_PATIENT_OBJECT_CLASSES.values()}
    others: set[str] = set()
    for name in dir(sop_class):
        if name.endswith("_CLASSES") and name != "_SERVICE_CLASSES":
            others |= set(getattr(sop_class, name).values())
    assert len(storage) > 170
    assert all(map(is_storage, storage))
    assert not [uid for uid in others - storage if is_storage(uid)]
    assert is_storage("1.2.840.10008.5.1.4.1.1.5"), "retired classes are stored too"
    assert is_storage("1.3.46.670589.5.0.1"), "and private ones"


def test_no_reference_to_pixels_elsewhere_is_chosen() -> None:
    assert "1.2.840.10008.1.2.4.94" not in TRANSFER_SYNTAXES
    (context,) = answer([ProposedContext(1, "1.2.3", ("1.2.840.10008.1.2.4.95", "", EXPLICIT_LITTLE))])
    assert (context.result, context.transfer_syntax) == (0, EXPLICIT_LITTLE)
