"""What the benchmarks compute of what they saw: rates, tables, plots, and studies made anew in place."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import images
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import fill
import kinds
import page
import plot
from growth import _by_part
from measure import Case, Measured, steady
from results import case_table, keep, read


def run(rate: float, **changed: float) -> Measured:
    told = {"megabytes": 1.0, "answers": rate, "cpu": 1.0, "startup": 1.0, "peak": 90.0, "tail": 1.0}
    numbers = {"instances": 100, "lost": 0, "refused": 0, "broken": 0, "seconds": 5.0}
    return Measured(**{"rate": rate, **told, **numbers, **changed})  # type: ignore[arg-type]


def test_the_rate_is_that_between_the_10th_and_the_90th_percentile() -> None:
    even = [n / 10 for n in range(101)]
    assert steady(even) == pytest.approx(10)
    assert steady([-100.0, *even, 200.0]) == pytest.approx(10)
    assert steady([1.0, 2.0]) == 0


def test_parts_of_a_study_have_rates_of_their_own() -> None:
    times = [n / 10 for n in range(50)] + [5 + n / 20 for n in range(50)]
    rates = [rate for _, rate in _by_part(times)]
    assert rates[0] == pytest.approx(10)
    assert rates[-1] == pytest.approx(20)


def test_a_program_that_lost_instances_is_shown_as_such(tmp_path: Path) -> None:
    case = Case("ct", 4)
    programs = {"dicomnode": [run(900), run(1000), run(800)], "Orthanc": [run(100, lost=7, answers=50)]}
    text = case_table(case, programs)
    assert "| dicomnode | 900 (800–1000) |" in text
    assert "**7 not delivered in time**" in text
    assert "dicomnode is 18.00 × Orthanc." in text, "what is answered less often than it is delivered counts so often"
    keep(tmp_path / "kept.json", {"processor": "any"}, {case: programs})
    assert read(tmp_path / "kept.json") == ({"processor": "any"}, {case: programs})


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    before = "by hand\n<!-- a: written by benchmarks -->\nold\n<!-- a: end -->\nby hand, too\n"
    after = page.put(before, "a", "new")
    assert after == before.replace("old", "new")
    assert page.put(after, "a", "new") == after
    with pytest.raises(ValueError, match="the page has no lines"):
        page.put(before, "b", "new")


def test_every_marker_is_on_the_page() -> None:
    text = page.PAGE.read_text()
    for name in (
        "throughput",
        "stages",
        "growth-rows",
        "growth-studies",
        "growth-associations",
        "growth-large",
        "soak",
    ):
        assert page.put(text, name, "new") != text


def test_plots_are_xml_and_know_dark_ground() -> None:
    drawn = (
        plot.bars("Rates & more", {"one": {"<a>": (3.0, 2.0, 4.0), "b": (0.0, 0.0, 0.0)}}),
        plot.lines("Rates", {"a": [(0, 5.0), (1_000_000, 4.0)]}, across="rows", up="per second", logarithmic=True),
        plot.lines("Nothing", {"a": []}, across="x", up="y"),
    )
    for svg in drawn:
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert "prefers-color-scheme: dark" in svg


def test_the_files_of_a_sender_become_another_study_in_place(tmp_path: Path) -> None:
    kinds.prepare(tmp_path, "small")
    own = tmp_path / "own"
    own.mkdir()
    places = kinds.own_set(tmp_path / "small", own, 60)
    seen: set[str] = set()
    for study in (7, 8):
        kinds.renumber(places, study)
        headers = [images.header(path.read_bytes()) for path in sorted(own.iterdir())]
        assert len({header.StudyInstanceUID for header in headers}) == 1
        assert len({header.SeriesInstanceUID for header in headers}) == 2
        assert {header.PatientID for header in headers} == {f"PID-{study:08}"}
        assert all(header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID for header in headers)
        seen |= {header.SOPInstanceUID for header in headers}
    assert len(seen) == 120


def test_a_past_is_as_long_as_asked_for(tmp_path: Path) -> None:
    from kept import instance, location

    from dicomnode.store.identity import IdentityBook
    from dicomnode.store.journal import Journal

    book = IdentityBook.open(tmp_path / "identity.db")
    journal = Journal.open(tmp_path / "journal.db", book)
    for number in range(4):
        journal.stored(instance(number), location(number))
    journal.forget_locations("trial", "studya", ["trial/studya/aa.seg"])
    journal.close()
    book.close()
    assert fill.multiply(tmp_path, 1000) == 1000
    journal = Journal.open(tmp_path / "journal.db", create=False)
    studies = journal.studies()
    assert len(studies) == 250
    assert {study.stored for study in studies} == {4}
    journal.close()
