"""What instances of a series have in common is found out once: that must change nothing of what becomes of them."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import images
import planted
import pydicom
import pytest
from compare import BASIC, KEYS, ORIGIN, plan_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcomes import command
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from synthetic import ct, jpeg, numbered
from test_oracle_random import CLASSES, OPTIONS, data_sets

from dicomnode.deidentify import Deidentifier
from dicomnode.deidentify.likeness import Likeness
from dicomnode.deidentify.plan import Plan
from dicomnode.deidentify.series import MOST_SERIES
from dicomnode.folders.part10 import DIRECTORY, is_part10, read_meta
from dicomnode.model import Doubt, Reason, Received

BUSY = f"{BASIC}options: [clean_descriptors, retain_safe_private, retain_longitudinal_modified_dates]\n"
MAKING = f"""{BASIC}attributes:
  StationName: {{hash: 12}}
  ProtocolName: {{replace: '{{Modality}} {{FilterType}}'}}
  ClinicalTrialSiteID: {{replace: '{{project}}'}}
  ConvolutionKernel: keep
"""
USED: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count how often a likeness was good enough."""
    USED.clear()
    clean = Likeness.clean

    def counting(self: Likeness, *arguments: object) -> object:
        cleaned = clean(self, *arguments)  # type: ignore[arg-type]
        USED["alike" if cleaned else "unlike"] += 1
        return cleaned

    monkeypatch.setattr(Likeness, "clean", counting)


def outcome(engine: Deidentifier, received: Received, data: bytes) -> tuple[object, ...]:
    """All that the engine says of an instance."""
    try:
        cleaned = engine.clean(received, data)
    except Doubt as doubt:
        return doubt.reason, doubt.where, doubt.originals
    head, tail = b"".join(map(bytes, cleaned.head)), b"".join(map(bytes, cleaned.tail))
    pixels = None if cleaned.pixels is None else bytes(cleaned.pixels)
    facts = cleaned.originals, cleaned.patient, cleaned.modality, cleaned.identity, cleaned.sop_class
    sent = cleaned.study_uid, cleaned.series_uid, cleaned.sop_uid, cleaned.transfer_syntax, cleaned.data_set_offset
    return head, pixels, tail, bytes(cleaned.original_head), bytes(cleaned.original_tail), *facts, *sent


def compare(plan: Plan, instances: Iterable[tuple[Received, bytes]]) -> list[tuple[object, ...]]:
    """The outcomes of instances in this order in one engine, each the same as in an engine that saw no other."""
    warm = Deidentifier(plan, KEYS)
    found = []
    for received, data in instances:
        found.append(outcome(warm, received, data))
        assert found[-1] == outcome(Deidentifier(plan, KEYS), received, data)
    return found


def taken(part10: bytes) -> tuple[Received, bytes]:
    meta = read_meta(part10)
    return Received(ORIGIN, meta.sop_class, meta.sop_uid, meta.transfer_syntax), part10[meta.data_set :]


def slices(count: int, **changes: object) -> Iterator[Dataset]:
    """CT instances as a scanner makes them: numbers, positions, times and doses differ."""
    for number in range(1, count + 1):
        made = ct(1, 1, number, rows=4, columns=4)
        made.InstanceNumber = number * 9
        made.ImagePositionPatient = [-179.65, -179.65, -number / 3]
        made.ContentTime = f"1013{number:02}.25"
        made.Exposure = 90 + 7 * number
        made.SliceLocation = None if number == 3 else number / 3
        if number == count:
            for keyword, value in changes.items():
                setattr(made, keyword, value)
        yield made


def test_instances_of_a_series_are_put_together() -> None:
    found = compare(plan_of(BASIC), [taken(images.written(each)) for each in slices(12)])
    assert len({each[0] for each in found}) == 12
    assert USED["alike"] >= 8


@pytest.mark.parametrize(
    "changes",
    [
        {"PatientID": "PID-OTHER-1"},
        {"PatientName": "Anders^Jemand"},
        {"StudyInstanceUID": "1.2.826.0.1.99.1"},
        {"Modality": "MR"},
        {"SpecificCharacterSet": "ISO_IR 192"},
        {"SpecificCharacterSet": "ISO_IR 999"},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"BurnedInAnnotation": "YES"},
        {"Rows": 5},
        {"NumberOfFrames": 2},
        {"DeidentificationMethod": "PS3.15 2026d Basic Profile"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        {"ConvolutionKernel": "Zwetschgenbaum"},
        {"FilterType": "PID-73918264"},
        {"ContrastBolusAgent": "geb. 14.02.1937"},
        {"ReferringPhysicianName": "Scanner^Acme"},
        {"AccessionNumber": "MEDIASTINUM"},
        {"AccessionNumber": "CHEST\nHFS"},
        {"SOPInstanceUID": "not a uid"},
        {"FilterType": "WEDGE"},
        {"StationName": "CT7"},
        {"ClinicalTrialSiteID": "site 7"},
    ],
    ids=str,
)
@pytest.mark.parametrize("rules", [BASIC, BUSY, MAKING], ids=["basic", "busy", "making"])
def test_what_differs_decides_as_if_it_came_first(changes: dict[str, object], rules: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        instances = [taken(images.written(each)) for each in slices(8, **changes)]
    compare(plan_of(rules), [*instances, instances[2], instances[6], instances[7], instances[7]])
    assert USED["alike"] >= 2


def test_needles_of_a_differing_element_are_looked_for_in_what_is_alike() -> None:
    """The operator of the last instance bears the name that all instances keep as a convolution kernel."""
    plan = plan_of(BASIC)
    found = compare(plan, [taken(images.written(each)) for each in slices(8, OperatorsName="Br38f")])
    assert found[-1][0] is Reason.RESIDUE
    assert all(each[0] is not Reason.RESIDUE for each in found[:-1])


def test_frames_are_searched_for_what_is_alike() -> None:
    """The JPEG comment of the last instance names the patient of the whole series."""
    plan = plan_of(BASIC)
    made = [jpeg(number=number) for number in range(1, 6)] + [jpeg(number=6, comment=b"for Zwetschgenbaum")]
    found = compare(plan, [taken(images.written(each)) for each in made])
    assert [each[0] is Reason.RESIDUE for each in found] == [False] * 5 + [True]
    assert USED["alike"] >= 3


def test_utf_16_in_what_differs_is_a_reason_to_search_everything_for_it() -> None:
    """What is alike holds a name as UTF-16 that no search finds while nothing else is written so."""
    hidden, wide = "o^li".encode("utf-16-le"), "text".encode("utf-16-le")
    made = list(slices(8))
    for number, each in enumerate(made):
        each.PatientName, each.RedPaletteColorLookupTableData = "Li^O", hidden
        each.BluePaletteColorLookupTableData = wide if number == 7 else bytes([number]) * 8
    found = compare(plan_of(BASIC), [taken(images.written(each)) for each in made])
    assert [each[0] is Reason.RESIDUE for each in found] == [False] * 7 + [True]


def test_whatever_goes_wrong_with_a_likeness_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OverflowError

    monkeypatch.setattr(Likeness, "_put_together", broken)
    found = compare(plan_of(BASIC), [taken(images.written(each)) for each in slices(6)])
    assert all(isinstance(each[0], bytes) for each in found)
    monkeypatch.setattr(Likeness, "__init__", broken)
    found = compare(plan_of(BASIC), [taken(images.written(each)) for each in slices(6)])
    assert all(isinstance(each[0], bytes) for each in found)


def test_a_series_of_two_needs_no_likeness(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs as much as an instance, so it is made when a third one comes."""
    made: list[object] = []
    make = Likeness.__init__

    def counting(self: Likeness, *arguments: object) -> None:
        made.append(arguments)
        make(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Likeness, "__init__", counting)
    instances = [taken(images.written(each)) for each in slices(3)]
    engine = Deidentifier(plan_of(BASIC), KEYS)
    counts = [len(made) for each in instances if engine.clean(*each)]
    assert counts == [0, 0, 1]


def test_truncated_and_trailing_bytes_of_an_instance_like_the_others() -> None:
    instances = [taken(images.written(each)) for each in slices(6)]
    received, data = instances[-1]
    cut = [(received, data[:length]) for length in (len(data) - 1, len(data) - 40, len(data) // 2, 100, 0)]
    trailing = [(received, data + more) for more in (b"\0\0", b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0", bytes(40))]
    compare(plan_of(BASIC), [*instances, *cut, *trailing])


@pytest.mark.parametrize("rules", [BASIC, BUSY, MAKING], ids=["basic", "busy", "making"])
def test_any_byte_may_be_another_one(rules: str) -> None:
    """Bytes changed, left out and put in at random places of the header, tags and lengths too."""
    instances = [taken(images.written(each)) for each in slices(5)]
    received, data = instances[-1]
    chance = random.Random(15)
    damaged = []
    for _ in range(500):
        at = chance.randrange(len(data))
        left_out, put_in = chance.choice([(1, 1), (1, 1), (0, 1), (1, 0), (2, 2), (0, 2), (2, 0)])
        damaged.append((received, data[:at] + chance.randbytes(put_in) + data[at + left_out :]))
    mixed = [each for pair in zip(damaged, [instances[2]] * 500, strict=True) for each in pair]
    found = compare(plan_of(rules), [*instances, *mixed])
    assert len({each[0] for each in found}) > 20
    assert USED["alike"] > 300


def test_the_memory_of_series_is_bounded() -> None:
    engine = Deidentifier(plan_of(BASIC), KEYS)
    for series in range(3 * MOST_SERIES):
        for number in (1, 2, 3):
            engine.clean(*taken(images.written(ct(1, series, number, rows=2, columns=2))))
    assert len(engine._series._seen) == MOST_SERIES
    assert USED["alike"] == 3 * MOST_SERIES


def test_threads_share_what_is_remembered() -> None:
    """Large instances are cleaned beside the small ones, by the same engine."""
    plan = plan_of(BASIC)
    instances = [taken(images.written(ct(1, n % 40, n, rows=2, columns=2))) for n in range(400)]
    warm = Deidentifier(plan, KEYS)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda each: outcome(warm, *each), instances))
    assert found == [outcome(Deidentifier(plan, KEYS), *each) for each in instances]


@pytest.mark.parametrize("rules", [BASIC, BUSY], ids=["basic", "busy"])
def test_real_files_and_their_copies(rules: str) -> None:
    """Each file three times under SOP Instance UIDs of the same length, then all of them once more."""
    instances = [each for path in images.real_files() for each in copies(path.read_bytes())]
    compare(plan_of(rules), [*instances, *instances[::3]])
    assert USED["alike"] > 100


def copies(content: bytes) -> Iterator[tuple[Received, bytes]]:
    if not is_part10(content):
        return
    try:
        meta = read_meta(content)
    except Doubt:
        return
    sop_class, sop_uid = command(content, meta)
    if meta.sop_class == DIRECTORY or len(content) > 1 << 20:
        return
    for last in ("1", "2", "3"):
        other = sop_uid[:-1] + last
        data = content[meta.data_set :].replace(sop_uid.encode(), other.encode())
        yield Received(ORIGIN, sop_class, other, meta.transfer_syntax), data


SIBLINGS = st.booleans().flatmap(
    lambda implicit: st.tuples(st.just(implicit), st.lists(data_sets(implicit, 2), min_size=3, max_size=7))
)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(SIBLINGS, st.sampled_from(CLASSES), st.sampled_from([*OPTIONS, ("clean_descriptors",)]), st.data())
def same(drawn: tuple[bool, list[Dataset]], sop_class: str, options: tuple[str, ...], data: st.DataObject) -> None:
    implicit, (base, *others) = drawn
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    made = []
    for number, other in enumerate([Dataset(), *others, Dataset(), *others]):
        instance = pydicom.Dataset({**frame(), **base})
        kept = data.draw(st.booleans())
        instance.update({tag: other[tag] for tag in list(other.keys())[: None if kept else 2]})
        instance.SOPClassUID = sop_class
        for keyword, uid in planted.KEY_UIDS.items():
            setattr(instance, keyword, uid)
        instance.SOPInstanceUID = f"{planted.KEY_UIDS['SOPInstanceUID']}.{number}"
        received = Received(ORIGIN, sop_class, instance.SOPInstanceUID, syntax)
        made.append((received, images.encode(instance, syntax)))
    compare(plan_of(BASIC + f"options: [{', '.join(options)}]\n"), [*made, *made[::2]])


def frame() -> Dataset:
    made = Dataset()
    made.SamplesPerPixel, made.Rows, made.Columns, made.BitsAllocated = 1, 2, 2, 8
    made.PhotometricInterpretation = "MONOCHROME2"
    made.ImageComments = "x" * 60
    made.add_new(0x7FE00010, "OW", b"abcd")
    return made


def test_random_siblings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mode = config.settings.writing_validation_mode
        config.settings.writing_validation_mode = config.IGNORE
        try:
            same()
        finally:
            config.settings.writing_validation_mode = mode
    assert USED["alike"] > 50, USED


def test_the_benchmark_instances_are_alike() -> None:
    compare(plan_of(BASIC), map(taken, numbered(ct(rows=4, columns=4), 5)))
    assert USED["alike"] == 3
