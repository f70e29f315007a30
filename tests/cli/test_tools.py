"""The scripts behind make: where pip comes from, and what is said when peers are missing."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def venv() -> ModuleType:
    """tools/venv.py as a module."""
    spec = importlib.util.spec_from_file_location("tools_venv", ROOT / "tools" / "venv.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_newest_final_wheel_is_taken(venv: ModuleType) -> None:
    page = (
        '<a href="../../pip-9.0.3-py2.py3-none-any.whl#sha256=0">x</a>'
        '<a href="../../pip-9.0-py3-none-any.whl#sha256=1">x</a>'
        '<a href="../../pip-26.1-py3-none-any.whl#sha256=2">x</a>'
        '<a href="../../pip-26.2b1-py3-none-any.whl#sha256=3">x</a>'
        '<a href="../../pip-26.3.tar.gz#sha256=4">x</a>'
    )
    assert venv.newest_wheel(page) == "../../pip-26.1-py3-none-any.whl#sha256=2"
    with pytest.raises(OSError, match="no pip wheel"):
        venv.newest_wheel("<html></html>")


@pytest.mark.parametrize("right", [True, False])
def test_the_wheel_comes_from_the_configured_index_and_is_checked(
    venv: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    index = tmp_path / "simple" / "pip"
    index.mkdir(parents=True)
    (index / "pip-26.1-py3-none-any.whl").write_bytes(b"wheel")
    digest = hashlib.sha256(b"wheel" if right else b"other").hexdigest()
    link = f'<a href="pip-26.1-py3-none-any.whl#sha256={digest}">pip</a>'
    (index / "index.html").write_text(link)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    if right:
        assert venv.wheel_from_index(tmp_path).read_bytes() == b"wheel"
    else:
        with pytest.raises(OSError, match="digest is wrong"):
            venv.wheel_from_index(tmp_path)


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_missing_peers_are_one_line_and_a_failure_in_ci(tmp_path: Path, ci: str, code: int) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "id").write_text("#!/bin/sh\necho 1000\n")
    (tools / "sudo").write_text("#!/bin/sh\nexit 1\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    script = (ROOT / "tools" / "peers.sh").read_text().replace("$PATH:/usr/sbin:/sbin", "$PATH")
    ended = subprocess.run(
        ["/bin/sh", "-c", script],
        env={**os.environ, "PATH": str(tools), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code
    assert ended.stderr == (
        "the tests need real peers that are not here; run: sudo apt-get install dcmtk orthanc mosquitto dicom3tools\n"
    )


@pytest.mark.parametrize(
    ("on_path", "of_the_system", "chosen"),
    [
        ("fast", "fast", "python3"),
        ("new", "fast", "/python3"),  # built without optimizations: the distribution's is faster
        ("new", "new", "python3"),  # such as a distribution's without pip and ensurepip
        ("new", "old", "python3"),
        ("old", "new", "/python3"),
        ("old", "old", ""),
    ],
)
def test_a_python_that_was_built_to_be_fast_is_taken_first(
    tmp_path: Path, on_path: str, of_the_system: str, chosen: str
) -> None:
    answers = {"fast": "exit 0", "new": 'case "$2" in *optimizations*) exit 1;; esac', "old": "exit 1"}
    for folder, kind in (("path", on_path), ("system", of_the_system)):
        python = tmp_path / folder / "python3"
        python.parent.mkdir()
        python.write_text(f"#!/bin/sh\n{answers[kind]}\n")
        python.chmod(0o755)
    script = (ROOT / "tools" / "python.sh").read_text().replace("/usr/bin/", f"{tmp_path}/system/")
    environment = {**os.environ, "PATH": str(tmp_path / "path")}
    said = subprocess.check_output(["/bin/sh", "-c", script], env=environment, text=True).strip()
    assert said.removeprefix(f"{tmp_path}/system") == chosen


def test_the_python_that_is_chosen_is_new_enough() -> None:
    said = subprocess.check_output(["/bin/sh", ROOT / "tools" / "python.sh"], text=True).strip()
    probe = "import sys; print(sys.version_info >= (3, 11))"
    assert subprocess.check_output([said, "-c", probe], text=True).strip() == "True"
