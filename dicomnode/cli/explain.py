"""What rules do, as one document (see docs/rules.md), and that document as text and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from dicomnode.cli.options import table
from dicomnode.deidentify import explanation
from dicomnode.deidentify.explanation import TYPES, Explained
from dicomnode.deidentify.plan import Action, Plan
from dicomnode.deidentify.resolve import TEMPLATED, letter
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.deidentify.suspicious import Rule

Document = dict[str, Any]
LETTERS = {"X": "remove", "Z": "empty", "D": "dummy", "U": "uid", "K": "keep"}
DATES = {
    "remove": "Dates and times (DA, TM, DT) go, wherever they stand: removed, emptied, or 19000101 and 000000 where "
    "the IOD needs a value.",
    "full": "Dates and times stay as they came, but the birth date is emptied. One that cannot be read withholds the "
    "instance.",
    "modified": "Dates are moved into the past by whole days, for each patient by the same number, which is made of "
    "HMAC-SHA-256 of the Patient ID under the project's key. Times of day and offsets from UTC stay; a DT of a year or "
    "a month is moved as its middle; the birth date is emptied; what stands for no date (19000101, 19700101 and the "
    "like) becomes 19000101, and dates that are the same for many patients are not moved. A date that cannot be read "
    "withholds the instance.",
}
NEW_UIDS = (
    "Each UID, unless the standard registers it or it names a code system, becomes 2.25. and a UUID of version 8 "
    "(PS3.5 B.2) made of HMAC-SHA-256 of the original under the project's key. The same UID becomes the same one in "
    "every attribute, instance and study of the project, so references still resolve."
)
PIXELS = "pictures that are withheld for what they may show"
CONCEPTS = "content items of structured reports, by concept name (Table E.3.4-1)"
KEPT_UIDS = "UIDs stay as they came."


def _dates(plan: Plan) -> str:
    """What happens to dates, and how far they are moved."""
    if plan.shift is None:
        return DATES[plan.dates]
    unit = "day" if plan.shift.unit == 1 else "week"
    return f"{DATES[plan.dates]} How far: 1 to {plan.shift.most // plan.shift.unit} {unit}s, each equally likely."


def document(plan: Plan, sop_class: str | None = None, tag: int | None = None) -> Document:
    """All that `rules explain` tells; of one attribute with `tag`, in the IOD of `sop_class` when there is one."""
    if tag is not None:
        rows = [("", explanation.attribute(plan, tag))]
    else:
        rows = [("table", each) for each in explanation.table_rows(plan)]
        rows += [("addition", each) for each in explanation.additions(plan)]
        rows += [("rules", each) for each in explanation.beyond(plan)]
    return {
        "rules": plan.name,
        "digest": plan.digest,
        "edition": tables.EDITION,
        "options": sorted(plan.options),
        "dates": {"method": plan.dates, "text": _dates(plan)},
        "uids": {
            "method": "keep" if plan.retain_uids else "replace",
            "text": KEPT_UIDS if plan.retain_uids else NEW_UIDS,
        },
        "pseudonyms": [_template(plan, tag, name) for tag, name in sorted(TEMPLATED.items())],
        "claims": _claims(plan),
        "withheld": [
            {"sop_class": uid, "name": explanation.class_name(uid), "reason": reason}
            for uid, reason in explanation.withheld(plan).items()
        ],
        "suspicious_pixels": {
            "rules": [_suspicious(rule) for rule in plan.pixels.rules],
            "accepted": [explanation.class_name(uid) for uid in sorted(plan.pixels.accepted)],
            "off": explanation.loosened(plan),
        },
        "exceptions": [asdict(each) for each in explanation.exceptions(plan)],
        "conditions": conditions(plan),
        "remarks": list(plan.remarks),
        "sop_class": sop_class and _class(plan, sop_class),
        "actions": {action.name.lower(): explanation.WORDS.get(action.name, "") for action in Action},
        "codes": {code: {type_: _outcome(code, type_) for type_ in TYPES} for code in _codes()},
        "attributes": [_attribute(plan, sop_class, source, each) for source, each in rows],
        "concepts": [asdict(each) for each in explanation.concept_rows(plan)] if tag is None else [],
        "by_vr": [_vr(each) for each in explanation.by_vr(plan)],
    }


def conditions(plan: Plan) -> Document | None:
    """What is asked of an instance, and what fails with it; None where nothing is."""
    asked = plan.acceptance
    if asked is None:
        return None
    return {
        "accept_if": [str(test) for test in asked.tests],
        "withhold_if": [" and ".join(map(str, each)) for each in asked.withheld],
        "aggregate": asked.aggregate,
    }


def _suspicious(rule: Rule) -> Document:
    when = [" and ".join(str(test) for test in condition) for condition in rule.conditions]
    return {"name": rule.name, "reason": rule.reason, "when": when or [rule.otherwise]}


def _template(plan: Plan, tag: int, name: str) -> Document:
    return {"attribute": dictionary.keyword_of(tag), "template": plan.templates.get(name, "")}


def _claims(plan: Plan) -> Document:
    return {
        "DeidentificationMethod": list(plan.methods.text),
        "DeidentificationMethodCodeSequence": [
            {"value": value, "scheme": "DCM", "meaning": meaning} for value, meaning in plan.methods.codes
        ],
        "LongitudinalTemporalInformationModified": plan.methods.longitudinal,
        "PatientIdentityRemoved": "YES",
    }


def _class(plan: Plan, sop_class: str) -> Document:
    return {"uid": sop_class, "name": explanation.class_name(sop_class), "withheld": plan.refuses(sop_class)}


def _codes() -> list[str]:
    return sorted({row.basic for row in tables.rows().values()}, key=lambda code: (code.count("/"), code))


def _outcome(code: str, type_: str) -> str:
    return LETTERS[letter(code, "" if type_ == "3" else type_)]


def _attribute(plan: Plan, sop_class: str | None, source: str, each: Explained) -> Document:
    told: Document = {
        "tag": each.tag,
        "attribute": each.keyword,
        "name": each.name,
        "vr": each.vr,
        "source": source,
        "code": each.basic,
        "options": dict(each.options),
        "action": each.action,
        "by_type": {type_: step.action.name.lower() for type_, step in each.by_type.items()},
        "reason": each.reason,
    }
    tag = _number(each.tag)
    if sop_class and tag is not None:
        top, *nested = explanation.places(plan, sop_class, tag)
        told |= {"type": top.type, "action": top.step.action.name.lower(), "reason": top.step.reason}
        told["places"] = [
            {"path": _path(place.path), "type": place.type, "action": place.step.action.name.lower()}
            for place in nested
        ]
    return told


def _number(tag: str) -> int | None:
    return int(tag[1:5] + tag[6:10], 16) if tag.startswith("(") and "x" not in tag else None


def _path(tags: Iterable[int]) -> str:
    return " > ".join(dictionary.keyword_of(tag) for tag in tags)


def _vr(each: explanation.ByVR) -> Document:
    known = {action: {"attributes": count, "example": example} for action, (count, example) in each.known.items()}
    return {"vr": each.vr, "known": known, "unknown": each.unknown}


# as tables

Table = tuple[Sequence[str], list[Sequence[str]]]


def attributes(told: Document) -> Table:
    """One line per attribute; in a SOP class also one per place where something else happens."""
    lines: list[Sequence[str]] = []
    by_class = told["sop_class"] is not None
    for each in told["attributes"]:
        first = (each["tag"], each["attribute"], each["action"])
        if not by_class:
            lines.append((*first, exceptions(each), because(each)))
            continue
        lines.append((*first, each.get("type", "3"), because(each)))
        for place in each.get("places", ()):
            if place["action"] != each["action"]:
                lines.append(("", f"  in {place['path']}", place["action"], place["type"], ""))
    return ("tag", "attribute", "action", "Type" if by_class else "but under Type", "because"), lines


def exceptions(each: Document) -> str:
    """The Types that ask for something else than `action`: "1 dummy, 2 empty"."""
    return ", ".join(f"{type_} {action}" for type_, action in each["by_type"].items() if action != each["action"])


def because(each: Document) -> str:
    """The reason, and what the chosen options say in the table."""
    said = ", ".join(f"{option} {code}" for option, code in each["options"].items())
    return f"{each['reason']} [{said}]" if said else str(each["reason"])


def by_vr(told: Document) -> Table:
    """What happens to what nothing names, VR by VR."""
    lines: list[Sequence[str]] = []
    for each in told["by_vr"]:
        known = "; ".join(
            f"{action} ({found['attributes']}, such as {found['example']})" for action, found in each["known"].items()
        )
        lines.append((each["vr"], known or "-", each["unknown"]))
    return ("VR", "in the dictionary", "not in the dictionary"), lines


def concepts(told: Document) -> Table:
    """What happens to content items of structured reports, concept by concept."""
    lines = [
        (f"{each['value']} {each['scheme']}", each["meaning"], each["value_type"], each["done"], each["basic"])
        for each in told["concepts"]
    ]
    return ("concept", "meaning", "Value Type", "what happens", "code"), list(lines)


def pixels(told: Document) -> Table:
    """Which pictures are withheld; any one of the conditions is enough."""
    rules = told["suspicious_pixels"]["rules"]
    lines = [(each["name"], condition) for each in rules for condition in each["when"]]
    return ("rule", "withheld when"), list(lines)


def codes(told: Document) -> Table:
    """What each code of the table becomes under each Type."""
    lines = [(code, *outcomes.values()) for code, outcomes in told["codes"].items()]
    return ("code", *(f"Type {type_}" for type_ in TYPES[:-1]), "Type 3 or not in the IOD"), list(lines)


def facts(told: Document) -> list[tuple[str, str]]:
    """The rules in a few lines: name and value."""
    claims = told["claims"]
    return [
        ("rules", told["rules"]),
        ("digest", told["digest"]),
        ("profile", f"{told['edition']}, Annex E, Basic Application Level Confidentiality Profile"),
        ("options", ", ".join(told["options"]) or "none"),
        ("dates", told["dates"]["text"]),
        ("UIDs", told["uids"]["text"]),
        *(("pseudonym", f"{each['attribute']} {each['template'] or '(emptied)'}") for each in told["pseudonyms"]),
        *(("method", text) for text in claims["DeidentificationMethod"]),
        *(("code", _code(each)) for each in claims["DeidentificationMethodCodeSequence"]),
        ("dates said", f"(0028,0303) {claims['LongitudinalTemporalInformationModified']}"),
        ("withheld", "private and unknown SOP classes"),
        *(("withheld", f"{each['name']}: {each['reason']}") for each in told["withheld"]),
        *(("pixels", f"withheld, {each['name']}: {each['reason']}") for each in told["suspicious_pixels"]["rules"]),
        *(("pixels", f"not judged: {name}") for name in told["suspicious_pixels"]["accepted"]),
        *(("pixels", line) for line in loosened(told["suspicious_pixels"])),
        *(("rules say", said(each)) for each in told["exceptions"]),
        *asked(told["conditions"]),
        *(("but", remark) for remark in told["remarks"]),
    ]


def loosened(pixels: Document) -> list[str]:
    """What no longer holds of the rules about pixels."""
    if not pixels["rules"]:
        return ["no picture is judged: what is burned in goes out"]
    return [f"switched off: {name}" for name in pixels["off"]]


def said(each: Document) -> str:
    """A line of the rules about attributes."""
    return " ".join(filter(None, (each["attributes"], each["action"], each["argument"])))


def asked(told: Document | None) -> list[tuple[str, str]]:
    """The conditions on instances."""
    if told is None:
        return []
    lines = [*(("accept if", each) for each in told["accept_if"])]
    lines += [("withheld if", each) for each in told["withhold_if"]]
    wide = {"instance": "alone", "series": "with its series", "study": "with its study"}[told["aggregate"]]
    return [*lines, ("fails", f"an instance {wide}")]


def _code(each: Document) -> str:
    return f"({each['value']}, {each['scheme']}, {each['meaning']})"


def text(told: Document, one: bool = False) -> str:
    """The document as aligned text; of `one` attribute only its lines."""
    parts = []
    about = told["sop_class"]
    if about and about["withheld"]:
        parts.append(f"instances of {about['name']} are withheld whole")
    if one:
        return "\n".join([*parts, table(*attributes(told))])
    where = f"attributes in {about['name']}" if about else "attributes"
    return "\n".join(
        [
            *parts,
            *(f"{name:12}{value}" for name, value in facts(told)),
            "",
            "actions",
            *(f"{action:12}{words}" for action, words in told["actions"].items()),
            "",
            "codes of Table E.1-1",
            table(*codes(told)),
            "",
            where,
            table(*attributes(told)),
            "",
            "attributes that neither the table nor the rules name",
            table(*by_vr(told)),
            *(["", PIXELS, table(*pixels(told))] if told["suspicious_pixels"]["rules"] else []),
            *(["", CONCEPTS, table(*concepts(told))] if told["concepts"] else []),
        ]
    )
