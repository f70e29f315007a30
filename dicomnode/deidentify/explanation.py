"""What a plan does and why, asked of the plan itself: row by row of Table E.1-1, by VR, by SOP class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from pydicom._dicom_dict import DicomDictionary

from dicomnode.deidentify import suspicious
from dicomnode.deidentify.concepts import PLAIN, concepts
from dicomnode.deidentify.plan import Action, Plan, Step, Steps, key_of
from dicomnode.deidentify.resolve import DECLARED
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.deidentify.standard.types import Node, iod_of

TYPES = ("1", "1C", "2", "2C", "3")
"""3 stands for Type 3 and for attributes that the IOD does not have."""
WORDS = {
    "KEEP": "the value stays as it came, byte for byte",
    "CHECK": "stays as it came where it can be read as a date or time; otherwise the instance is withheld",
    "RECURSE": "the sequence stays, its items are treated attribute by attribute",
    "REMOVE": "the attribute is removed",
    "EMPTY": "the value becomes empty; a sequence gets no items",
    "DUMMY": "a value takes its place that is valid and says nothing",
    "UID": "each UID becomes a new one, always the same for the same UID",
    "PSEUDONYM": "a pseudonym by the template of the rules takes its place",
    "SHIFT": "moved by the same whole number of days for all of a patient; what cannot be moved withholds the instance",
    "CLEAN": "the words that may tell who it is about are taken out",
    "AGE": "stays up to 089Y, is 090Y above that, and is emptied where it is no age",
    "FORM": "values that are what their VR says stay, others become empty; in group 0028 they withhold the instance",
    "WITHHOLD": "the instance is withheld",
    "PRIVATE": "stays where the standard's list of safe private attributes names it; otherwise it is removed",
    "CONTENT": "the items are content items or graphic annotations: each stays, is cleaned or goes as a whole",
    "HASH": "letters and digits of a keyed hash of the value take its place, always the same for the same value",
    "REPLACE": "a text of the rules takes its place, with the project, the patient's pseudonym or what else is sent",
    "SUBSTITUTE": "what the rules' patterns make of the whole value; what none matches becomes empty",
    "VOCABULARY": "values that the rules list stay, others become empty",
    "ROUND": "rounded: a date to its month or year, a time to its hour, a number or age to a multiple; else emptied",
    "CODE": "the code that the rules' table gives for the value, or the coded item that the rules name; else emptied",
    "OVERLAY": "stays where the overlay plane marks a region of interest; otherwise the attribute is removed",
}
"""The actions of a plan in words."""
NOWHERE = "1.2.840.10008.5.1.4.1.1.2"
"""A SOP class in which to ask about places that no IOD describes: CT Image Storage."""
UNKNOWN_SEQUENCE = 0x00000001
PRIVATE = 0x00091010
UNKNOWN = 0x00189990
"""A tag that is in no dictionary."""


@dataclass(frozen=True, slots=True)
class Place:
    """An attribute at one place of an IOD: the tags of the sequences around it, its Type there, what happens."""

    path: tuple[int, ...]
    type: str
    step: Step


@dataclass(frozen=True, slots=True)
class Explained:
    """What happens to one attribute: `step` where it is Type 3 or not in the IOD, `by_type` for Types that IODs give.

    `basic` is the table's code ("" when the table does not name it), `options` the codes of the chosen options.
    """

    tag: str
    keyword: str
    name: str
    vr: str
    basic: str
    options: Mapping[str, str]
    step: Step
    by_type: Mapping[str, Step]

    @property
    def action(self) -> str:
        """What happens where no Type asks for more."""
        return self.step.action.name.lower()

    @property
    def exceptions(self) -> dict[str, str]:
        """The Types under which something else happens, and what."""
        given = {type_: step.action for type_, step in self.by_type.items()}
        return {type_: action.name.lower() for type_, action in given.items() if action is not self.step.action}

    @property
    def reason(self) -> str:
        """Why; the Type that the step names is left out, as all are told."""
        return self.step.reason.partition("; Type ")[0]


@dataclass(frozen=True, slots=True)
class Concept:
    """A row of Table E.3.4-1: concept name, Value Type, the Basic Profile's code, and what happens to an item."""

    value: str
    scheme: str
    meaning: str
    value_type: str
    basic: str
    done: str


@dataclass(frozen=True, slots=True)
class ByVR:
    """What happens to attributes that neither the table nor the rules name: by action, how many and one of them."""

    vr: str
    known: Mapping[str, tuple[int, str]]
    unknown: str


def table_rows(plan: Plan) -> list[Explained]:
    """All rows of Table E.1-1 in its order of tags, private attributes last."""
    return [_row(plan, row) for _, row in sorted(tables.rows().items())]


def additions(plan: Plan) -> list[Explained]:
    """What is treated beyond the table by name."""
    return [_row(plan, row) for _, row in sorted(tables.additions().items())]


@dataclass(frozen=True, slots=True)
class Said:
    """A line of the rules about attributes: which ones, the action, its argument, and where it stands."""

    attributes: str
    action: str
    argument: str
    where: str


def exceptions(plan: Plan) -> list[Said]:
    """Every line of the rules about attributes, those of the file itself first."""
    lines = plan.exceptions.lines if plan.exceptions else ()
    return [Said(str(selector), treat.word, treat.argument, treat.line) for selector, treat in lines]


def loosened(plan: Plan) -> list[str]:
    """The rules about pixels that hold where nothing is said, and that these rules switch off."""
    held = {rule.name for rule in plan.pixels.rules}
    return [rule.name for rule in suspicious.default().rules if rule.name not in held]


def beyond(plan: Plan) -> list[Explained]:
    """Attributes that the table does not name: the four that declare what was done, and those that the rules name."""
    return [attribute(plan, tag) for tag in sorted({*plan.overrides, *DECLARED}) if tables.row_of(tag) is None]


def attribute(plan: Plan, tag: int) -> Explained:
    """One attribute, whether the table names it or not."""
    row = tables.row_of(tag)
    if row is not None:
        return _explained(plan, tag, f"({tag >> 16:04X},{tag & 0xFFFF:04X})", row)
    name = DicomDictionary[tag][2] if tag in DicomDictionary else ""
    empty = tables.Row("", dictionary.keyword_of(tag), "", "", {}, name, "")
    return _explained(plan, tag, f"({tag >> 16:04X},{tag & 0xFFFF:04X})", empty)


def by_vr(plan: Plan) -> list[ByVR]:
    """Every VR: what the plan does to the dictionary's attributes that nothing names, and to unknown attributes."""
    steps = _anywhere(plan)
    known: dict[str, dict[str, tuple[int, str]]] = {}
    for tag in _attributes():
        vr = dictionary.vr_of(tag)
        step = steps[key_of(tag, vr)]
        if tag in plan.overrides or tag in DECLARED or tables.row_of(tag) is not None:
            continue
        actions = known.setdefault(vr, {})
        count, example = actions.get(_word(step), (0, dictionary.keyword_of(tag)))
        actions[_word(step)] = (count + 1, example)
    vrs = sorted({*known, *dictionary.TEXT, "UN"})
    return [ByVR(vr, known.get(vr, {}), _word(steps[key_of(UNKNOWN, vr)])) for vr in vrs]


def places(plan: Plan, sop_class: str, tag: int) -> list[Place]:
    """The places of a SOP class's IOD that give the attribute a Type, the top level first."""
    vr = _vr(tag)
    found = []
    for path, node, steps in _walk(iod_of(sop_class) or Node(), plan.for_class(sop_class)):
        if tag in node.types or not path:
            found.append(Place(path, node.types.get(tag, "3"), steps[key_of(tag, vr)]))
    return sorted(found, key=lambda place: (len(place.path), place.path))


def concept_rows(plan: Plan) -> list[Concept]:
    """All rows of Table E.3.4-1, where structured content is cleaned; none otherwise."""
    if "clean_structured_content" not in plan.options:
        return []
    rulings = concepts(plan.options)
    found = []
    for row in tables.read("sr_concepts.csv"):
        ruling = rulings.ruling(row["value"], row["scheme"], row["value_type"])
        kept = "the item stays" if ruling == PLAIN else str(ruling.value.value)
        done = "the item goes" if ruling.removed else kept
        found.append(Concept(row["value"], row["scheme"], row["meaning"], row["value_type"], row["basic"], done))
    return found


def withheld(plan: Plan) -> dict[str, str]:
    """The storage SOP classes whose instances are withheld, with the reason; private and unknown ones always are."""
    said = tables.withheld_classes()
    refused = sorted(uid for uid in dictionary.storage_classes() if plan.refuses(uid))
    return {uid: said.get(uid, "the rules withhold it") for uid in refused}


def class_name(sop_class: str) -> str:
    """The keyword of a storage SOP class; its name where it is retired."""
    return dictionary.storage_classes().get(sop_class, sop_class)


def _row(plan: Plan, row: tables.Row) -> Explained:
    if row.tag == "private":
        return _explained(plan, PRIVATE, "private", row)
    group, element = row.tag[:4], row.tag[4:]
    example = int(group.replace("x", "0") + element.replace("xxxx", "0010"), 16)
    return _explained(plan, example, f"({group},{element})", row)


def _explained(plan: Plan, tag: int, written: str, row: tables.Row) -> Explained:
    vr = _vr(tag)
    chosen = {tables.OPTIONS[option]: option for option in plan.options}
    by_type = {}
    for type_ in TYPES[:-1]:
        if type_ in _occurrences().get(tag, {}):
            sop_class, path = _occurrences()[tag][type_]
            by_type[type_] = _inside(plan.for_class(sop_class), path)[key_of(tag, vr)]
    return Explained(
        tag=written,
        keyword=row.keyword,
        name=row.name,
        vr="" if written == "private" else vr,
        basic=row.basic,
        options={chosen[short]: code for short, code in sorted(row.options.items()) if short in chosen},
        step=_anywhere(plan)[key_of(tag, vr)],
        by_type=by_type,
    )


def _anywhere(plan: Plan) -> Steps:
    """The steps at a place that no IOD describes: every attribute is Type 3 there."""
    return plan.for_class(NOWHERE).inside(UNKNOWN_SEQUENCE)


def _inside(steps: Steps, path: Iterable[int]) -> Steps:
    for tag in path:
        steps = steps.inside(tag)
    return steps


def _vr(tag: int) -> str:
    return "UN" if tag >> 16 & 1 else dictionary.vr_of(tag)


def _word(step: Step) -> str:
    return step.action.name.lower()


def _attributes() -> list[int]:
    """Every attribute of the dictionary that a data set can have, repeating groups left out."""
    return sorted(tag for tag in DicomDictionary if 0x00080000 < tag < 0xFFFC0000 and tag & 0xFFFF)


def _walk(root: Node, steps: Steps, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Node, Steps]]:
    yield path, root, steps
    for tag, node in root.sequences.items():
        yield from _walk(node, steps.inside(tag), (*path, tag))


@cache
def _occurrences() -> dict[int, dict[str, tuple[str, tuple[int, ...]]]]:
    """For each attribute and Type one SOP class and path of sequences where it has that Type."""
    found: dict[int, dict[str, tuple[str, tuple[int, ...]]]] = {}
    nothing = Steps(lambda tag, vr: Step(Action.REMOVE), lambda tag: nothing)
    for sop_class in dictionary.storage_classes():
        for path, node, _ in _walk(iod_of(sop_class) or Node(), nothing):
            for tag, type_ in node.types.items():
                found.setdefault(tag, {}).setdefault(type_, (sop_class, path))
    return found
