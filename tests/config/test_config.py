"""The configuration file: what is right loads, what is wrong is one line that names the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dicomnode import config
from dicomnode.config import lines, sections, values
from dicomnode.errors import ConfigError
from dicomnode.model import Peer

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "config" / "dicomnode.yaml"
BAD = sorted((HERE / "bad").glob("*.yaml"))
SMALLEST = """
node: {ae_title: DICOMNODE, bind: 127.0.0.1, port: 11112}
storage: {directory: /var/lib/dicomnode}
peers:
  staging:  {ae_title: STAGING,  host: 127.0.0.1, port: 4242}
  research: {ae_title: RESEARCH, host: 127.0.0.1, port: 4243}
projects:
  default: {rules: rules/basic.yaml, source: staging, destinations: [research], completion: {quiet: 60s}}
"""


def parsed(text: str) -> config.Settings:
    return config.parse(text.encode(), Path("/etc/dicomnode/c.yaml"))


def replaced(old: str, new: str) -> config.Settings:
    assert old in SMALLEST
    return parsed(SMALLEST.replace(old, new, 1))


def test_the_corpus_is_large_enough() -> None:
    assert len(BAD) >= 40


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_file_is_one_line_that_names_the_place(file: Path) -> None:
    content = file.read_bytes()
    expected = content.split(b"\n", 1)[0].decode().removeprefix("# ")
    with pytest.raises(ConfigError) as caught:
        config.parse(content, Path("c.yaml"))
    assert str(caught.value) == expected
    assert "\n" not in expected
    assert expected.startswith("c.yaml:")


def test_the_smallest_configuration() -> None:
    settings = parsed(SMALLEST)
    assert settings.peers["staging"] == Peer("staging", "STAGING", "127.0.0.1", 4242, ("127.0.0.1",))
    assert settings.projects["default"].rules == Path("/etc/dicomnode/rules/basic.yaml")
    assert settings.projects["default"].completion.quiet == 60.0
    assert settings.called("default") == "DICOMNODE"
    assert settings.key_file("default") == Path("/var/lib/dicomnode/keys/default.key")
    assert settings.node.whole == 8 << 20


def test_a_project_can_have_its_own_title_and_key() -> None:
    settings = replaced("source: staging", "ae_title: TRIAL, key_file: k/trial.key")
    assert settings.called("default") == "TRIAL"
    assert settings.key_file("default") == Path("/etc/dicomnode/k/trial.key")
    assert settings.projects["default"].source is None


@pytest.mark.parametrize("title", ["NO", "123", "007", "0x1F", "1e5", "null ", "ON", "A B"])
def test_text_stays_the_text_that_was_written(title: str) -> None:
    assert replaced("ae_title: STAGING", f'ae_title: "{title}"').peers["staging"].ae_title == title.strip()


@pytest.mark.parametrize("title", ["NO", "123", "007", "0x1F", "1e5", "1:30", "2026-01-01"])
def test_unquoted_words_are_text_too(title: str) -> None:
    assert replaced("ae_title: STAGING", f"ae_title: {title}").peers["staging"].ae_title == title


def test_addresses_may_be_networks_and_names() -> None:
    settings = replaced("port: 4242", "port: 4242, addresses: [10.1.2.0/24, '::1', gw.example.org]")
    assert settings.peers["staging"].addresses == ("10.1.2.0/24", "::1", "gw.example.org")


def test_a_section_with_every_key_commented_out_has_its_defaults() -> None:
    assert parsed(SMALLEST + "queue:\n#  bytes: 1GiB\n").queue == sections.QueueSettings()


def test_settings_are_frozen() -> None:
    settings = parsed(SMALLEST)
    with pytest.raises(ValueError, match="frozen"):
        settings.node.port = 1
    with pytest.raises(TypeError):
        settings.peers["more"] = settings.peers["staging"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("given", "meant"), [("60", "60s"), ("60 s", "60s"), ("5min", "5m"), ("2 hours", "2h"), ("10 days", "10d")]
)
def test_a_duration_that_is_almost_right_is_shown_as_it_should_be(given: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {meant}"):
        replaced("quiet: 60s", f"quiet: {given}")


def test_a_bracket_that_is_not_closed_is_told_with_the_line_of_its_beginning() -> None:
    with pytest.raises(ConfigError, match=r"c.yaml:3: not valid YAML: .*, in what begins in line 2; check"):
        replaced("port: 11112}", "port: 11112")


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file; name the configuration with --config FILE"):
        config.load(tmp_path / "none.yaml")


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        config.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "number"), [("500ms", 0.5), ("60s", 60), ("5m", 300), ("2h", 7200), ("1d", 86400), ("1.5s", 1.5), (3, 3)]
)
def test_durations(text: object, number: float) -> None:
    assert values.seconds(text) == number


@pytest.mark.parametrize(
    ("text", "number"), [("12B", 12), ("4KiB", 4096), ("8 MiB", 8 << 20), ("2GiB", 2 << 30), (7, 7), ("131072", 131072)]
)
def test_sizes(text: object, number: int) -> None:
    assert values.size(text) == number


# The example file: every key is there, and what is not marked (required) has its default.


def keys_of(model: type[BaseModel], value: BaseModel, example: Any, where: str = "") -> None:
    assert set(example) == set(model.model_fields), where
    for name, field in model.model_fields.items():
        place = f"{where}{name}"
        mine = getattr(value, name)
        if isinstance(mine, BaseModel):
            keys_of(type(mine), mine, example[name], f"{place}.")
        elif isinstance(mine, dict):
            first = next(iter(mine))
            keys_of(type(mine[first]), mine[first], example[name][first], f"{place}.{first}.")
        elif place not in NOT_DEFAULT and not field.is_required():
            assert mine == field.get_default(call_default_factory=True), place


NOT_DEFAULT = {"projects.default.source"}


def test_the_example_shows_every_key_with_its_default() -> None:
    document = lines.read(str(EXAMPLE), EXAMPLE.read_bytes())
    file = sections.File.model_validate(document.value, context={"base": EXAMPLE.parent})
    keys_of(sections.File, file, document.value)


def test_the_example_loads_and_each_of_its_keys_has_a_comment() -> None:
    config.load(EXAMPLE)
    seen = set()
    for line in EXAMPLE.read_text().splitlines():
        key = line.split("#")[0].strip().partition(":")[0]
        if key and not line.split("#")[0].rstrip().endswith(":"):
            assert "#" in line or key in seen, line
            seen.add(key)


def test_the_example_marks_what_is_required() -> None:
    for model in (sections.NodeSettings, sections.StorageSettings, sections.PeerSettings, sections.ProjectSettings):
        for name, field in model.model_fields.items():
            marked = any(line.strip().startswith(f"{name}:") and "(required)" in line for line in example_lines(model))
            assert marked == field.is_required(), name


def example_lines(model: type[BaseModel]) -> list[str]:
    section = {
        "NodeSettings": "node",
        "StorageSettings": "storage",
        "PeerSettings": "peers",
        "ProjectSettings": "projects",
    }
    text = EXAMPLE.read_text().split(f"\n{section[model.__name__]}:")[1]
    kept = []
    for line in text.splitlines()[1:]:
        if line and not line.startswith(" "):
            break
        kept.append(line)
    return kept


# Text of any kind: an answer or one line, never another exception.


@given(st.text(alphabet="node: peers[]{},'\"#&*!|>-?%@`\n\t \\0x1a\x01é", max_size=200))
def test_any_text_loads_or_is_one_line(text: str) -> None:
    try:
        parsed(text)
    except ConfigError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=100))
def test_any_bytes_load_or_are_one_line(content: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(content, Path("c.yaml"))
    assert "\n" not in str(caught.value)


@given(
    st.sampled_from(["DICOMNODE", "11112", "127.0.0.1", "STAGING", "4242", "rules/basic.yaml", "[research]", "60s"]),
    st.text(alphabet="aZ0 .:[]{},-\\/é'\"&#\n", max_size=20),
)
def test_any_value_loads_or_is_one_line(old: str, new: str) -> None:
    try:
        replaced(old, new)
    except ConfigError as error:
        assert "\n" not in str(error)


def test_deep_nesting_and_size_are_bounded() -> None:
    for text in ("[" * 100_000, "a: " * 1000, "x" * (2 << 20)):
        with pytest.raises(ConfigError):
            parsed(text)
