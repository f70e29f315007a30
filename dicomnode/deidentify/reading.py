"""A YAML file of rules read strictly: nodes that know their lines, errors that name them and the nearest right word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import yaml

from dicomnode.deidentify.standard import dictionary
from dicomnode.errors import RulesError

Node = yaml.Node
VARIABLE = re.compile(r"\{((?:var|func):[^{}]+)\}")
"""A variable: the person who runs the rules gives its value, file by file."""


def nearest(word: str, words: Iterable[str]) -> str:
    """The hint that names the nearest right word, or all of them where there are few."""
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"use one of {', '.join(known)}" if len(known) <= 12 else ""


def _on_one_line(text: str, most: int = 300) -> str:
    """What a file says may be long or hold control characters; an error is one line."""
    printable = "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
    return printable if len(printable) <= most else printable[:most] + "…"


class Missing(Exception):
    """A variable of the rules that has no value; its name."""


class Document:
    """Walks the YAML nodes of one file, which know their lines; `given` is its content where it is no file.

    `variables` are what stands for {var:NAME}. `missing` collects, by attribute, those that have no value.
    """

    def __init__(self, path: Path, given: str | None = None, variables: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._given = given
        self.variables = variables or {}
        self.missing: dict[str, str] = {}

    def variable(self, name: str) -> str:
        """What stands for {var:NAME}; raises Missing."""
        if not (value := self.variables.get(name, "")):
            raise Missing(name)
        return value

    def filled(self, text: str) -> tuple[str, bool]:
        """A text that may be {var:NAME} as a whole, and whether it was; raises Missing."""
        match = VARIABLE.fullmatch(text)
        return (self.variable(match[1]), True) if match else (text, False)

    def wrong(self, line: int, what: str, hint: str = "") -> RulesError:
        """The error that says what is wrong where, and what to do."""
        return RulesError(f"{self._path}:{line}: {_on_one_line(what)}", hint)

    def document(self) -> Node:
        """The root of the file; raises RulesError."""
        try:
            content = self._path.read_bytes() if self._given is None else self._given.encode()
        except FileNotFoundError:
            raise RulesError(f"rules file {self._path} does not exist", _others(self._path)) from None
        except IsADirectoryError:
            raise RulesError(f"rules file {self._path} is a folder", "name a file in it") from None
        except OSError as error:
            raise RulesError(f"rules file {self._path} cannot be read ({type(error).__name__})") from None
        try:
            node = yaml.compose(content.decode("utf-8"), Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            raise self.wrong(
                content.count(b"\n", 0, error.start) + 1, "the file is not UTF-8 text", "save it as UTF-8"
            ) from None
        except RecursionError:
            raise self.wrong(1, "nested too deeply") from None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise self.wrong(line, f"not valid YAML: {error.problem}", "check indentation and quotes") from None
        except yaml.YAMLError:
            raise self.wrong(1, "not valid YAML", "check for control characters") from None
        if node is None:
            raise self.wrong(1, "the file is empty", "add: profile: basic")
        return node

    def mapping(self, node: Node, what: str) -> dict[str, tuple[int, Node]]:
        """The keys of a mapping, each with its line and value; raises RulesError."""
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node.start_mark.line + 1, f"{what} must be keys with values", "write: key: value")
        found: dict[str, tuple[int, Node]] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            text = self.text(key)
            if text in found:
                raise self.wrong(line, f"'{text}' is there twice", "keep one of the two")
            found[text] = (line, value)
        return found

    def text(self, node: Node) -> str:
        """One word or text; raises RulesError."""
        if not isinstance(node, yaml.ScalarNode):
            raise self.wrong(node.start_mark.line + 1, "a single word is expected here")
        return str(node.value)

    def words(self, node: Node, what: str) -> list[tuple[int, str]]:
        """A list of words with their lines; null is an empty one; raises RulesError."""
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self.wrong(node.start_mark.line + 1, f"{what} must be a list", f"write: {what}: [...]")
        return [(item.start_mark.line + 1, self.text(item)) for item in node.value]

    def parts(self, node: Node, what: str) -> list[Node]:
        """The members of a list that is not empty; raises RulesError."""
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.wrong(node.start_mark.line + 1, f"{what} must be a list", f"write: {what}: [...]")
        return list(node.value)

    def tag(self, line: int, word: str) -> int:
        """The attribute of a keyword, or of a tag in parentheses; raises RulesError."""
        match = re.fullmatch(r"\(([0-9A-Fa-f]{4}),\s?([0-9A-Fa-f]{4})\)", word)
        if match:
            return int(match[1] + match[2], 16)
        tag = dictionary.keywords().get(word)
        if tag is None:
            hint = nearest(word, dictionary.keywords()) or "write a DICOM keyword or a tag like (0008,1030) in quotes"
            raise self.wrong(line, f"unknown attribute '{word}'", hint)
        return tag

    def classes(self, given: tuple[int, Node] | None, allowed: Collection[str]) -> frozenset[str]:
        """SOP classes by UID or by keyword (CTImageStorage); raises RulesError."""
        names = {name: uid for uid, name in dictionary.storage_classes().items() if uid in allowed}
        found = set()
        for line, word in self.words(given[1], "the list of SOP classes") if given else ():
            uid = names.get(word, word)
            if uid not in allowed:
                raise self.wrong(line, f"unknown SOP class '{word}'", nearest(word, names))
            found.add(uid)
        return frozenset(found)


def _others(missing: Path) -> str:
    """What to do where a rules file does not exist: the nearest folder that does, and what lies there."""
    folder = next(each for each in missing.absolute().parents if each.is_dir())
    there = sorted(each.name for each in folder.glob("*.yaml"))[:5] if folder == missing.absolute().parent else []
    if there:
        return f"in that folder there is {', '.join(there)}"
    return "copy one from the folder rules of dicomnode, or correct projects.*.rules"
