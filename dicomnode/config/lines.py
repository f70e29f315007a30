"""YAML read so that every key and value knows its line; scalars stay the text that a person wrote.

A subset on purpose: mappings, lists and plain text. Anchors, tags and duplicate keys are errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from dicomnode.errors import ConfigError

LONGEST = 1 << 20
DEEPEST = 20
Path = tuple[str | int, ...]
Value = None | str | list["Value"] | dict[str, "Value"]


@dataclass(slots=True)
class Document:
    """The values of a YAML file; `lines` has the line of each path, counted from 1."""

    name: str
    value: dict[str, Value]
    lines: dict[Path, int] = field(default_factory=dict)

    def error(self, path: Path, what: str, hint: str = "") -> ConfigError:
        """A ConfigError that names the file and the line of a path, or of its nearest parent."""
        return ConfigError(f"{self.name}:{self.line(path)}: {_printable(what)}", hint)

    def line(self, path: Path) -> int:
        """The line of a path, or of the nearest parent that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def _printable(text: str) -> str:
    """What a file says may hold what is no part of one line, and be longer than anybody reads."""
    text = text if len(text) <= 300 else f"{text[:200]}…{text[-80:]}"
    return "".join(character if character.isprintable() else "?" for character in text)


def read(name: str, content: bytes) -> Document:
    """Parse a YAML file; raises ConfigError with one line that names the place."""
    if len(content) > LONGEST:
        raise ConfigError(f"{name}:1: the file is larger than {LONGEST >> 20} MiB")
    document = Document(name, {})
    try:
        text = content.decode("utf-8-sig")
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            _refuse(document, event, depth)
        root = yaml.compose(text, yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: the file is not UTF-8 text", "save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        raise _invalid(name, error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{name}:{line}: not valid YAML: a character that YAML does not allow") from None
    if root is None:
        raise ConfigError(f"{name}:1: the file is empty", "start from config/dicomnode.yaml")
    value = _value(document, root, ())
    if not isinstance(value, dict):
        raise document.error((), "must be sections such as 'node:' and 'peers:'", "start from config/dicomnode.yaml")
    document.value = value
    return document


def _invalid(name: str, error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "unreadable"
    if problem.startswith("but") and error.context:
        problem = f"{error.context}, {problem}"
    began = error.context_mark
    if began and mark and began.line != mark.line and "flow" in (error.context or ""):
        problem = f"{problem}, in what begins in line {began.line + 1}"
    hint = "indent with spaces, not tabs" if "'\\t'" in problem else "check indentation, quotes and brackets"
    hint = "remove the lines ---" if "another document" in problem else hint
    return ConfigError(f"{name}:{mark.line + 1 if mark else 1}: not valid YAML: {' '.join(problem.split())}", hint)


def _refuse(document: Document, event: yaml.Event, depth: int) -> None:
    """Anchors can blow up in memory, tags can name code, depth can exhaust the stack; none is needed here."""
    line = event.start_mark.line + 1 if event.start_mark else 1
    if depth > DEEPEST:
        raise ConfigError(f"{document.name}:{line}: nested too deeply")
    if isinstance(event, yaml.AliasEvent) or (isinstance(event, yaml.NodeEvent) and event.anchor):
        raise ConfigError(f"{document.name}:{line}: anchors and aliases (& and *) are not used here", "write it out")
    if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
        raise ConfigError(f"{document.name}:{line}: tags (!) are not used here", "leave the tag out")


def _value(document: Document, node: yaml.Node, path: Path) -> Value:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return {key: _value(document, value, (*path, key)) for key, value in _pairs(document, node, path)}
    if isinstance(node, yaml.SequenceNode):
        return [_value(document, item, (*path, index)) for index, item in enumerate(node.value)]
    return None if node.tag == "tag:yaml.org,2002:null" else str(node.value)


def _pairs(document: Document, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node]]:
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{document.name}:{line}: a key must be one word")
        name = str(key.value)
        if name in seen:
            raise ConfigError(
                f"{document.name}:{line}: key '{_printable(name)}' is there twice, first in line {seen[name]}",
                "keep one of the two",
            )
        seen[name] = line
        document.lines[(*path, name)] = line
        yield name, value
