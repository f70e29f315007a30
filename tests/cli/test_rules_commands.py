"""`dicomnode rules explain`, `diff` and `conformance`: what they tell is what the engine does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import images
import pydicom
import pynetdicom
import pytest

from dicomnode.cli import main, markdown
from dicomnode.deidentify import explanation
from dicomnode.deidentify.plan import Action, key_of
from dicomnode.deidentify.rules import load
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.deidentify.standard.types import Node, iod_of
from dicomnode.keys import create_key

ROOT = Path(__file__).parents[2]
RULES = ROOT / "rules" / "basic.yaml"
PRESENTATION = "GrayscaleSoftcopyPresentationStateStorage"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["rules", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def told(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code, out, _ = run(capsys, *words, "--format", "json")
    assert code == 0
    return dict(json.loads(out))


def by_keyword(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["attribute"]: each for each in document["attributes"]}


@pytest.fixture
def special(tmp_path: Path) -> Path:
    """Rules with an option, exceptions in and outside the table, and classes withheld and let through."""
    path = tmp_path / "special.yaml"
    path.write_text(
        "profile: basic\noptions: [retain_device_identity, retain_longitudinal_full_dates]\n"
        "templates: {patient_name: 'P-{hash:8}'}\n"
        "attributes: {StudyDescription: keep, BodyPartExamined: remove, '(0018,9989)': keep}\n"
        "withhold: [SecondaryCaptureImageStorage]\naccept: [EncapsulatedPDFStorage]\n"
    )
    return path


# explain


def test_every_row_of_the_table_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    document = told(capsys, "explain", RULES)
    rows = [each for each in document["attributes"] if each["source"] == "table"]
    assert len(rows) == len(tables.rows()) == 657
    assert {each["action"] for each in document["attributes"]} <= document["actions"].keys()
    assert all(document["actions"].values())
    assert {each["code"] for each in rows} == document["codes"].keys()
    assert all(each["reason"] for each in rows)


def test_what_is_said_of_types_is_what_every_iod_gets() -> None:
    """The explanation asks one IOD for each Type; the others must do the same."""
    plan = load(RULES)
    said = {each.tag: each for each in explanation.table_rows(plan)}
    checked = 0

    def look(node: Node, steps: Any) -> None:
        nonlocal checked
        for tag, type_ in node.types.items():
            each = said.get(f"({tag >> 16:04X},{tag & 0xFFFF:04X})")
            if each is not None:
                assert steps[key_of(tag, dictionary.vr_of(tag))].action is each.by_type[type_].action, each.keyword
                checked += 1
        for tag, below in node.sequences.items():
            look(below, steps.inside(tag))

    for sop_class in dictionary.storage_classes():
        look(iod_of(sop_class) or Node(), plan.for_class(sop_class))
    assert checked > 5000


def test_types_and_classes(capsys: pytest.CaptureFixture[str]) -> None:
    date = by_keyword(told(capsys, "explain", RULES))["AcquisitionDate"]
    assert (date["code"], date["action"], date["by_type"]) == ("X/Z", "remove", {"2": "empty"})
    ct = by_keyword(told(capsys, "explain", RULES, "--class", "CTImageStorage"))["AcquisitionDate"]
    pet = by_keyword(told(capsys, "explain", RULES, "--class", "1.2.840.10008.5.1.4.1.1.128"))["AcquisitionDate"]
    assert (ct["type"], ct["action"], pet["type"], pet["action"]) == ("3", "remove", "2", "empty")
    images_ = by_keyword(told(capsys, "explain", RULES, "--class", PRESENTATION))["ReferencedImageSequence"]
    assert (images_["type"], images_["action"]) == ("3", "remove")
    places = {"path": "ReferencedSeriesSequence", "type": "1", "action": "recurse"}
    assert places in images_["places"]
    _, out, _ = run(capsys, "explain", RULES, "--class", PRESENTATION)
    assert re.search(r"in ReferencedSeriesSequence +recurse +1$", out, re.MULTILINE)


def test_options_and_exceptions(special: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = told(capsys, "explain", special)
    found = by_keyword(document)
    assert document["options"] == ["retain_device_identity", "retain_longitudinal_full_dates"]
    assert document["dates"]["method"] == "full"
    assert found["StationName"]["action"] == "keep"
    assert found["StationName"]["options"] == {"retain_device_identity": "K"}
    assert found["StudyDate"]["action"] == "check"
    assert found["PatientBirthDate"]["action"] == "empty"
    assert found["StudyDescription"] | {"name": ""} == found["StudyDescription"] | {
        "name": "",
        "action": "keep",
        "reason": "the rules say so",
    }
    assert (found["BodyPartExamined"]["source"], found["BodyPartExamined"]["action"]) == ("rules", "remove")
    assert (found["(0018,9989)"]["source"], found["(0018,9989)"]["action"]) == ("rules", "keep")
    assert found["PatientIdentityRemoved"]["reason"].startswith("written anew")
    withheld = {each["name"]: each["reason"] for each in document["withheld"]}
    assert withheld["SecondaryCaptureImageStorage"] == "the rules withhold it"
    assert "EncapsulatedPDFStorage" not in withheld and "RawDataStorage" in withheld
    assert {"attribute": "PatientName", "template": "P-{hash:8}"} in document["pseudonyms"]
    assert document["claims"]["LongitudinalTemporalInformationModified"] == "UNMODIFIED"
    assert document["claims"]["DeidentificationMethodCodeSequence"] == [], "an exception weakens the profile"


def test_concepts_are_explained_where_structured_content_is_cleaned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "reports.yaml"
    path.write_text("profile: basic\noptions: [clean_structured_content]\n")
    found = {each["value"]: each for each in told(capsys, "explain", path)["concepts"]}
    assert len(told(capsys, "explain", path)["concepts"]) == 214
    assert (found["121022"]["meaning"], found["121022"]["done"]) == ("Accession Number", "the item goes")
    assert told(capsys, "explain", RULES)["concepts"] == []
    for form, count in (("text", 1), ("markdown", 1)):
        _, out, _ = run(capsys, "explain", path, "--format", form)
        assert len(re.findall(r"^\S*.*121022 DCM", out, re.MULTILINE)) == count


def test_suspicious_pictures_are_explained(any_picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {each["name"]: each for each in told(capsys, "explain", RULES)["suspicious_pixels"]["rules"]}
    assert "ultrasound" in found
    assert all(each["reason"] and each["when"] for each in found.values())
    assert told(capsys, "explain", any_picture)["suspicious_pixels"]["rules"] == []
    _, out, _ = run(capsys, "explain", RULES)
    assert re.search(r"^ultrasound +Modality in ", out, re.MULTILINE)


def test_by_vr(capsys: pytest.CaptureFixture[str]) -> None:
    found = {each["vr"]: each for each in told(capsys, "explain", RULES)["by_vr"]}
    assert found["UI"]["known"].keys() == {"uid"}
    assert found["PN"]["known"].keys() == {"remove"}
    assert found["UL"]["known"].keys() == {"keep"}
    assert found["US"]["known"]["remove"]["attributes"] == 1, "of one retired attribute nothing is known"
    assert {found[vr]["unknown"] for vr in ("LO", "PN", "UN", "OB", "UI", "DA", "US")} == {"remove"}


def test_text_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", RULES)
    assert code == 0
    head = next(line for line in out.splitlines() if line.startswith("tag "))
    column = head.index("action")
    lines = [line for line in out.splitlines() if line.startswith("(")]
    assert len(lines) > 650
    assert all(line[column - 2 : column] == "  " and line[column].isalpha() for line in lines)


def test_json_has_the_same_short_form(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "explain", RULES, "--json")
    assert json.loads(out) == told(capsys, "explain", RULES)


def test_a_withheld_class_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("text", "markdown"):
        _, out, _ = run(capsys, "explain", RULES, "--class", "RawDataStorage", "--format", form)
        assert "withheld whole" in out


def tables_of(text: str) -> list[list[str]]:
    """The Markdown tables of a text, by lines."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [each for each in found if each]


def test_markdown_tables_are_whole(special: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((RULES,), (special,), (RULES, "--class", PRESENTATION)):
        _, out, _ = run(capsys, "explain", *words, "--format", "markdown")
        found = tables_of(out)
        assert len(found) == 6
        for lines in found:
            cells = {len(re.split(r"(?<!\\)\|", line)) for line in lines}
            assert len(cells) == 1
            assert re.fullmatch(r"(\| --- )+\|", lines[1])


def test_markdown_is_escaped() -> None:
    assert markdown.table(("a",), [("x|y <b> `c`",)])[2] == r"| x\|y \<b\> \`c\` |"


def test_every_action_has_words() -> None:
    assert {action.name for action in Action} <= explanation.WORDS.keys()


# the conformance statement


def test_the_conformance_statement_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    """Under other versions of the libraries their lists may differ, the attributes may not."""
    code, out, _ = run(capsys, "conformance", RULES)
    written = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    versions = f"pydicom {pydicom.__version__} and pynetdicom {pynetdicom.__version__}"
    assert code == 0
    if versions in written:
        assert written == out, "run make docs"
    else:
        begin, end = "### Attributes\n", "### Attributes that"
        assert written.split(begin)[1].split(end)[0] == out.split(begin)[1].split(end)[0], "run make docs"


def test_the_conformance_statement_follows_the_rules(special: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "conformance", special)
    assert re.search(r"SecondaryCaptureImageStorage \| [0-9.]+ \| withheld", out)
    assert re.search(r"retain_device_identity \| .* \| yes \| chosen", out)
    assert all(len(line) <= 120 for line in out.splitlines() if not line.startswith("|"))


# diff


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    create_key(tmp_path / "project.key")
    return tmp_path / "project.key"


@pytest.fixture
def any_picture(tmp_path: Path) -> Path:
    """The basic rules, but pictures are not judged."""
    (tmp_path / "any.yaml").write_text("profile: basic\nsuspicious_pixels: {off: all}\n")
    return tmp_path / "any.yaml"


def changes(
    capsys: pytest.CaptureFixture[str], file: Path, *words: object, rules: Path = RULES
) -> list[dict[str, Any]]:
    code, out, _ = run(capsys, "diff", file, "--rules", rules, "--json", *words)
    assert code == 0
    return list(json.loads(out)["elements"])


def flat(data_set: pydicom.Dataset, path: tuple[int | str, ...] = ()) -> set[tuple[int | str, ...]]:
    found = set()
    for element in data_set:
        here = (*path, f"({element.tag.group:04X},{element.tag.element:04X})")
        found.add(here)
        for number, item in enumerate(element.value if element.VR == "SQ" else (), 1):
            found |= flat(item, (*here, number))
    return found


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "reportsi.dcm",
        "rtdose_rle_1frame.dcm",
        "image_dfl.dcm",
        "MR_small_bigendian.dcm",
        "693_J2KI.dcm",
    ],
)
def test_diff_tells_every_element(
    name: str, any_picture: Path, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before and after, as pydicom reads the file and what `deidentify` writes of it."""
    file = images.real(name)
    assert (
        main(["deidentify", str(file), str(tmp_path / "out"), "--rules", str(any_picture), "--key-file", str(key_file)])
        == 0
    )
    capsys.readouterr()
    (clean,) = (tmp_path / "out").rglob("*.dcm")
    before, after = flat(pydicom.dcmread(file)), flat(pydicom.dcmread(clean))
    found = changes(capsys, file, "--key-file", key_file, "--all", rules=any_picture)
    kinds = {tuple(each["path"]): each["change"] for each in found}
    assert {path for path, kind in kinds.items() if kind == "removed"} == before - after
    assert {path for path, kind in kinds.items() if kind == "added"} == after - before
    assert kinds.keys() == before | after
    shown = {tuple(each["path"]): each for each in found}
    assert shown[("(0008,0018)",)]["after"] == pydicom.dcmread(clean).SOPInstanceUID
    assert shown[("(0008,0018)",)]["before"] == pydicom.dcmread(file).SOPInstanceUID
    assert shown[("(0028,0303)",)]["after"] == "REMOVED"


def test_diff_names_private_blocks_and_reasons(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {tuple(each["path"]): each for each in changes(capsys, images.real("CT_small.dcm"), "--key-file", key_file)}
    assert found[("(0009,1002)",)]["attribute"] == "private: GEMS_IDEN_01"
    assert found[("(0009,1002)",)]["change"] == "removed"
    assert found[("(0010,0010)",)]["before"] == "CompressedSamples^CT1"
    nested = found[("(0010,1002)", 2, "(0010,0020)")]
    assert (nested["before"], nested["reason"]) == ("1234ABCD", "with its sequence")
    assert all(each["change"] != "kept" for each in found.values())


def test_diff_can_hide_originals(capsys: pytest.CaptureFixture[str]) -> None:
    file = images.real("CT_small.dcm")
    for words in ((), ("--all",), ("--json",), ("--all", "--json")):
        code, out, err = run(capsys, "diff", file, "--rules", RULES, "--hide-originals", *words)
        assert code == 0
        assert "without --key-file" in err
        for value in ("CompressedSamples", "1CT1", "JFK", "GEMS_IDEN", "1.3.6.1.4.1.5962", "20040119", "ABCD1234"):
            assert value not in out


def test_diff_is_aligned_and_escapes_control_characters(
    tmp_path: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = pydicom.dcmread(images.real("CT_small.dcm"))
    source.SpecificCharacterSet = "ISO_IR 192"
    source.InstitutionName = "\x1b[2Jred"
    source.StationName = "odd\u202e"
    source.StudyDescription = "山田" * 30
    path = tmp_path / "odd.dcm"
    source.save_as(path)
    code, out, _ = run(capsys, "diff", path, "--rules", RULES, "--key-file", key_file)
    assert code == 0
    lines = out.splitlines()
    assert "\x1b" not in out and "\u202e" not in out and r"\x1b[2Jred" in out and r"odd\u202e" in out
    assert re.fullmatch(r"\d+ removed, \d+ changed, \d+ added, \d+ kept", lines[-1])
    ideographs = next(line for line in lines if "山" in line)
    column = lines[0].index("because")
    wide = len(re.findall("[山田]", ideographs))
    assert ideographs[: column - wide].endswith("  ") and ideographs[column - wide :] == "Table E.1-1: X; Type 3: X"


def test_diff_says_why_a_file_is_withheld(capsys: pytest.CaptureFixture[str]) -> None:
    file = images.real("MR_truncated.dcm")
    code, out, _ = run(capsys, "diff", file, "--rules", RULES)
    assert code == 1
    assert out.startswith("withheld, truncated at (7FE0,0010): ")
    code, out, _ = run(capsys, "diff", file, "--rules", RULES, "--json")
    assert (code, json.loads(out)["withheld"]["reason"]) == (1, "truncated")


def test_diff_of_what_is_no_dicom_file(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "diff", RULES, "--rules", RULES)
    assert (code, out) == (2, "")
    assert "not a DICOM file" in err


def test_diff_warns_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "diff", "--help")
    assert "IDENTIFIED VALUES" in out
